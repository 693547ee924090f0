"""The whole promise on a year of real flights, in about three minutes: `make demo`.

    python examples/flights/demo.py [--exit] [--folder FOLDER] [--port 7400]

Every step below is a public command or an HTTP request, as a user would type or send it. The project is the one beside
this file (`bascule init --template flights`). `--exit` ends when the story is told; otherwise the page stays up.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from traffic import replay

QUERY = """
with population as ({population})
select carrier, origin, dest, tailnum, distance,
    strftime(scheduled_departure, '%Y-%m-%dT%H:%M:%SZ') as scheduled_departure,
    strftime(prediction_time, '%Y-%m-%dT%H:%M:%SZ') as prediction_time,
    strftime(landed_at, '%Y-%m-%dT%H:%M:%SZ') as landed_at, arr_delay > 15 as late
from population where month(scheduled_departure) = {month} and prediction_time is not null
"""


class Story:
    """The project's folder, and the ways to work in it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.told: list[tuple[str, str]] = []
        self.begun = time.monotonic()

    def show(self, command: str) -> None:
        """Print a command as it would be typed, and when."""
        print(f"\n[{time.monotonic() - self.begun:3.0f} s] \033[1m$ bascule {command}\033[0m", flush=True)

    def bascule(self, *arguments: str, fails: int = 0) -> str:
        """Run a command, show it, and return what it printed; `fails` is the exit code that the story expects."""
        self.show(shlex.join(arguments))
        done = self.run("-m", "bascule", *arguments)
        if "--json" not in arguments:
            print((done.stdout + (done.stderr if done.returncode else "")).rstrip()[:3000], flush=True)
        if done.returncode != fails:
            sys.exit(f"That was not in the story (exit {done.returncode}).\n{done.stderr}")
        return done.stdout

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run this interpreter in the project's folder."""
        return subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Ask the server in SQL, as `bascule sql` does without a server."""
        answer = self.post("sql", {"sql": sql})
        return [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send one request to the native API."""
        url = f"http://127.0.0.1:{self.port}/api/bascule/v1/{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return dict(json.load(answer))

    def note(self, what: str, result: str) -> None:
        """Keep a line for the table at the end."""
        self.told.append((what, result))

    def send(self, month: int) -> str:
        """Send a month of requests and outcomes; return the last prediction's id."""
        population = (self.folder / "features" / "population.sql").read_text("utf-8")
        question = QUERY.format(population=population, month=month)
        found = self.run("-m", "bascule", "sql", question, "--json", "--limit", "100000")
        rows = json.loads(found.stdout) if found.returncode == 0 else sys.exit(found.stderr)
        begun = time.monotonic()
        sent = replay(rows, f"http://127.0.0.1:{self.port + 1}", "delays")
        rate = len(rows) / (time.monotonic() - begun)
        shares = ", ".join(f"{n:,} by version {v}" for v, n in sorted(sent.versions.items()))
        print(
            f"\n{len(rows):,} requests of month {month} at {rate:,.0f}/s: {shares}, {len(sent.errors)} errors",
            flush=True,
        )
        if sent.errors:
            sys.exit(f"An answer was refused: {sent.errors[0]}")
        self.note(f"traffic, month {month}", f"{sent.answered:,} answers at {rate:,.0f}/s: {shares}")
        return sent.last

    def wait(self, what: str, sql: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until a query over the records has a row, and return it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if rows := self.ask(sql):
                return rows[0]
            time.sleep(0.5)
        sys.exit(f"Waited {seconds:.0f} s in vain for {what}.")


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
        server = start(story)
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


def start(story: Story) -> subprocess.Popen[str]:
    """Start everything, and wait for its line."""
    story.show(f"up --port {story.port}")
    command = [sys.executable, "-m", "bascule", "up", "--port", str(story.port)]
    server = subprocess.Popen(command, cwd=story.folder, stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline() if server.stdout else ""
    if "http://" not in line:
        sys.exit("The server did not start.")
    print(line, flush=True)
    return server


def late_labels(story: Story) -> tuple[str, bool]:
    """July arrives, is asked about, and turns out; monitoring finds the season and starts a retraining."""
    bring(story, "incoming", 7)
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
    bring(story, "incoming", 8)
    story.send(8)
    story.wait("the promotion", "select action from rollouts where action = 'promote'")
    story.note("canary", "version 2 got 10 %, then all, on its evidence")
    story.bascule("ingest", "flights", "data/incoming/flights-2013-09.csv", fails=1)
    story.note("broken batch", "refused with its failing rows; main unchanged")
    bring(story, "repaired", 9)
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
    before = serving(story)
    begun = time.monotonic()
    story.post("deployments/delays/rollback", {"reason": "to see how fast it is"})
    while serving(story) == before:
        time.sleep(0.01)
    story.note("manual rollback", f"version {before} to {serving(story)} in {time.monotonic() - begun:.2f} s")


def proof(story: Story, last: str) -> None:
    """The chain of one answer; the version trained again; the audit log; everything looked at."""
    story.bascule("explain", last)
    story.bascule("reproduce", "delays@1")
    story.note("reproduce", "version 1 trained again, byte for byte the same")
    story.bascule("audit", "verify")
    story.bascule("doctor")


def serving(story: Story) -> str:
    """Ask about one flight and return the version that answered."""
    flight = ["UA", "EWR", "IAH", "N14228", 1400, "2013-09-20T17:00:00Z", "2013-09-20T15:00:00Z"]
    from traffic import COLUMNS

    inputs = [
        {"name": n, "datatype": t, "shape": [1], "data": [v]} for (n, t), v in zip(COLUMNS.items(), flight, strict=True)
    ]
    url = f"http://127.0.0.1:{story.port + 1}/v2/models/delays/infer"
    with urllib.request.urlopen(urllib.request.Request(url, data=json.dumps({"inputs": inputs}).encode())) as answer:
        return str(json.loads(answer.read())["model_version"])


def bring(story: Story, kind: str, month: int) -> None:
    """A batch arrives: written on a branch of its own, checked, merged; the online store follows."""
    story.bascule("ingest", "flights", f"data/{kind}/flights-2013-{month:02}.csv")
    story.bascule("step", "run", "materialise")


if __name__ == "__main__":
    main()
