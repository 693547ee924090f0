"""Events a second on one core, with features over five windows, everything durable.

One process bound to one core reads JSON events of a file that grows (six columns, 10,000 users in no even shares), checks
them, writes them to the log, counts them in the tiles of a view with five windows and four aggregates, and lands them in
the lake. The limit is a bare loop that only parses the same lines and sums one number for each user; the same with an
fsync for each batch of as many events stands beside it. Medians of three runs, taken in turn, in one process each.

    python benchmarks/streams.py [EVENTS]
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

RUNS = 3
WINDOWS = ("5m", "30m", "2h", "6h", "1d")
PROJECT = f"""
[project]
name = "shop"
[entity.user]
keys = ["user"]
[stream.clicks]
path = "clicks.jsonl"
columns = {{ user = "text", amount = "number", page = "text", item = "integer", mobile = "boolean", clicked_at = "time" }}
time = "clicked_at"
lateness = "1d"
[features.spending]
sql = "spending.sql"
entity = "user"
event_time = "clicked_at"
windows = {list(WINDOWS)}
hop = "1m"
aggregates = {{ clicks = "count(*)", spent = "sum(amount)", mean = "mean(amount)", dear = "max(amount)" }}
"""


def write(folder: Path, events: int) -> None:
    """A project, and its events: a thousand a second, some out of order."""
    from bascule.history import Workspace

    (folder / "bascule.toml").write_text(PROJECT)
    (folder / "spending.sql").write_text("select user, amount, clicked_at from clicks")
    Workspace.create(folder).close()
    chance, begin = random.Random(7), datetime.now(UTC) - timedelta(milliseconds=events)
    with open(folder / "clicks.jsonl", "w") as out:
        for n in range(events):
            at = begin + timedelta(milliseconds=n - chance.random() * 5_000)
            event = {
                "user": f"u{int(chance.paretovariate(1.2)) * 7919 % 10_000}",
                "amount": round(chance.expovariate(0.05), 2),
                "page": f"/item/{chance.randrange(500)}",
                "item": chance.randrange(10**6),
                "mobile": chance.random() < 0.6,
                "clicked_at": at.isoformat(),
            }
            out.write(json.dumps(event) + "\n")


def limit(path: Path, durable: bool) -> float:
    """Seconds to parse all lines and to sum one number for each user."""
    import msgspec

    decode, totals, count = msgspec.json.Decoder().decode, {}, 0
    began = time.perf_counter()
    with open(path, "rb") as lines, tempfile.TemporaryFile(dir=path.parent) as log:
        for line in lines:
            event = decode(line)
            user = event["user"]
            totals[user] = totals.get(user, 0.0) + event["amount"]
            count += 1
            if durable:
                log.write(line)
                if count % 50_000 == 0:
                    log.flush()
                    os.fsync(log.fileno())
    return time.perf_counter() - began


def ours(folder: Path) -> tuple[float, float]:
    """Seconds until everything is counted, and until it is in the lake too."""
    from bascule.features.streams.consuming import Consumer
    from bascule.project.place import Place
    from bascule.project.streaming.assembling import open_stream

    place = Place(folder)
    consumer = Consumer(open_stream(place.file, place.workspace, "clicks", "main"))
    consumer._apply()
    began = time.perf_counter()
    while consumer._poll():
        consumer._apply()
    counted = time.perf_counter() - began
    consumer._land_all()
    return counted, time.perf_counter() - began


def child(what: str, folder: Path) -> None:
    """One measurement, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if what == "ours":
        print(json.dumps(ours(folder)))
    else:
        print(json.dumps([limit(folder / "clicks.jsonl", what == "durable")] * 2))


def main(events: int) -> None:
    """Run all in turn, and print the table."""
    found: dict[str, list[list[float]]] = {"limit": [], "durable": [], "ours": []}
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), events)
            for what, times in found.items():
                command = [sys.executable, __file__, "--child", what, name]
                times.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    names = {"limit": "parse and sum", "durable": "the same, and fsync", "ours": "Bascule"}
    print(f"{events:,} events, 5 windows, one core{'events/s':>24}{'of the limit':>14}")
    for what, times in found.items():
        counted, landed = (statistics.median(one[place] for one in times) for place in (0, 1))
        of = statistics.median(a[0] / b[0] for a, b in zip(found["limit"], times, strict=True))
        print(f"{names[what]:36}{events / counted:>20,.0f}{of:>13.0%}")
        if what == "ours":
            of = statistics.median(a[0] / b[1] for a, b in zip(found["limit"], times, strict=True))
            print(f"{'  … and landed in the lake':36}{events / landed:>20,.0f}{of:>13.0%}")


if __name__ == "__main__":
    if "--child" in sys.argv:
        child(sys.argv[2], Path(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 500_000)
