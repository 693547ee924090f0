"""The whole promise on a year of real flights, in about three minutes: `make demo`.

    python examples/flights/demo.py [--exit] [--folder FOLDER] [--port 7400]

Every step below is a public command or an HTTP request, as a user would type or send it. The project is the one beside
this file (`bascule init --template flights`). `--exit` ends when the story is told; otherwise the page stays up.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

from stage import Story


def main() -> None:
    parser = argparse.ArgumentParser(description="A year of flights, end to end.")
    parser.add_argument("--exit", action="store_true", help="end when the story is told")
    parser.add_argument("--folder", type=Path, help="the project's folder; a temporary one when not given")
    parser.add_argument("--port", type=int, default=7400)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="bascule-flights-"))
    folder.mkdir(parents=True, exist_ok=True)
    story = Story(folder, options.port)
    server = None
    try:
        history(story)
        server = story.start()
        last, retrained = late_labels(story)
        if retrained:
            last = canaries(story)
            roll_back(story)
        proof(story, last)
        print(f"\nWhat happened, in {time.monotonic() - story.begun:.0f} s:\n")
        width = max(len(what) for what, _ in story.told)
        print("\n".join(f"  {what:<{width}}  {result}" for what, result in story.told))
        print(f"\nThe page: http://127.0.0.1:{options.port}    the project: {folder}", flush=True)
        if not options.exit:
            print("Ctrl-C ends it.", flush=True)
            server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        if server is not None:
            server.terminate()
            server.wait(30)
        if options.exit and options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


def history(story: Story) -> None:
    """Reference tables and the first half of the year on a branch; the first model; the merge."""
    story.bascule("init", "--template", "flights", "--into", ".")
    story.run("data.py")
    story.bascule("branch", "first-half")
    story.bascule("run", "--branch", "first-half")
    again = time.monotonic()
    story.bascule("run", "--branch", "first-half")
    story.note("second run", f"nothing to do, {time.monotonic() - again:.1f} s")
    story.bascule("merge", "first-half", "main")
    story.bascule("step", "run", "materialise")
    story.note("first half", "ingested, checked, trained and merged; version 1 serves")


def late_labels(story: Story) -> tuple[str, bool]:
    """July arrives, is asked about, and turns out; monitoring finds the season and starts a retraining."""
    story.bring("incoming", 7)
    last = story.send(7)
    story.bascule("monitor")
    job = story.wait("a retraining", "select id, reason from jobs where kind = 'retrain'")
    print(f"\nA retraining was started: {job['reason']}", flush=True)
    story.note("monitoring", job["reason"])
    ended = story.wait("the retraining's end", "select status from jobs where status in ('done', 'failed')", 240)
    if ended["status"] == "failed":
        story.note("retraining", "refused: its gates were not convinced that July's model is better; main unchanged")
        return last, False
    rolled = story.wait("a canary", "select action from rollouts where action = 'start'")
    story.note("retraining", f"version 2 passed its gates and was merged: canary {rolled['action']}")
    return last, True


def canaries(story: Story) -> str:
    """August goes to a canary that is promoted; September's batch is refused; a forced version is taken back."""
    story.bring("incoming", 8)
    story.send(8)
    story.wait("the promotion", "select action from rollouts where action = 'promote'")
    story.note("canary", "version 2 got 10 %, then all, on its evidence")
    story.bascule("ingest", "flights", "data/incoming/flights-2013-09.csv", fails=1)
    story.note("broken batch", "refused with its failing rows; main unchanged")
    story.bring("repaired", 9)
    text = (story.folder / "bascule.toml").read_text("utf-8")
    (story.folder / "bascule.toml").write_text(text.replace('"lightgbm"', '"sabotage:shuffled"'), encoding="utf-8")
    story.bascule("branch", "shuffled")
    story.bascule("run", "--branch", "shuffled", fails=1)
    story.note("shuffled labels", "refused by the gates")
    story.bascule("run", "--branch", "shuffled", "--force", "to see what the canary does")
    (story.folder / "bascule.toml").write_text(text, encoding="utf-8")
    story.bascule("merge", "shuffled", "main")
    last = story.send(9)
    back = story.wait("the rollback", "select evidence_json from rollouts where action = 'rollback'")
    story.note("forced version", f"rolled back by its canary: {json.loads(back['evidence_json'])['reason'][:80]}")
    return last


def roll_back(story: Story) -> None:
    """One manual rollback, timed to the first answer of the version before."""
    before = story.serving()
    begun = time.monotonic()
    story.post("deployments/delays/rollback", {"reason": "to see how fast it is"})
    while story.serving() == before:
        time.sleep(0.01)
    story.note("manual rollback", f"version {before} to {story.serving()} in {time.monotonic() - begun:.2f} s")


def proof(story: Story, last: str) -> None:
    """The chain of one answer; the version trained again; the audit log; everything looked at."""
    story.bascule("explain", last)
    story.bascule("reproduce", "delays@1")
    story.note("reproduce", "version 1 trained again, byte for byte the same")
    story.bascule("audit", "verify")
    story.bascule("doctor")


if __name__ == "__main__":
    main()
