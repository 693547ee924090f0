"""Branch, commit, merge, rollback and read at 10, 1,000 and 100,000 paths, beside a bare SQLite transaction; and reads
of a history of 10,000 commits.

    python benchmarks/history.py

A commit is durable when it returns (fsync), so the limit is what one durable transaction costs on this disk.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from bascule.history import History, Workspace

SIZES = (10, 1_000, 100_000)
ROUNDS = 40
COMMITS = 10_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        limit, unsynced = bare_transaction(Path(folder), "FULL"), bare_transaction(Path(folder), "NORMAL")
        print(f"limit: one durable SQLite transaction that inserts one row: {limit:.2f} ms (median of {ROUNDS})")
        print(f"the same without waiting for the disk (synchronous=NORMAL): {unsynced:.2f} ms\n")
        print(f"{'paths':>8}  {'work':<10}{'median ms':>10}{'x limit':>9}")
        for size in SIZES:
            for name, taken in measure(Path(folder) / str(size), size).items():
                print(f"{size:>8,}  {name:<10}{taken:>10.2f}{taken / limit:>9.1f}")
        print(f"\nafter {COMMITS:,} commits")
        for name, taken in deep(Path(folder) / "deep").items():
            print(f"{'':>8}  {name:<34}{taken:>10.2f}{taken / limit:>9.1f}")


def measure(folder: Path, size: int) -> dict[str, float]:
    workspace = Workspace.create(folder)
    h = workspace.history
    paths = [f"tables/space{n % 97}.table{n}" for n in range(size)]
    h.commit("main", {path: entry(0) for path in paths}, message="fill")
    picked = [paths[n * 7919 % size] for n in range(ROUNDS)]
    taken = {
        "branch": median(lambda n: h.create_branch(f"b{n}")),
        "commit": median(lambda n: h.commit("main", {picked[n]: entry(n + 1)}, message="one table")),
        "read": median(lambda n: h.read("main", picked[n])),
    }
    for n in range(ROUNDS):
        h.commit(f"b{n}", {f"tables/new{n}": entry(n)}, message="one table")
    taken["merge"] = median(lambda n: h.merge(f"b{n}", "main"))
    before = h.resolve("main~1")
    # What a rollback of a deployment is to the history: one path gets an earlier object back.
    taken["rollback"] = median(lambda n: h.restore("main", before if n % 2 else "main~1", [picked[n]], message="back"))
    workspace.close()
    return taken


def deep(folder: Path) -> dict[str, float]:
    """Reads of a long history, each by a workspace that was just opened and so remembers nothing."""
    with closing(Workspace.create(folder)) as workspace:
        h = workspace.history
        h.create_branch("old")
        for n in range(COMMITS):
            h.commit("main", {f"tables/t{n % 100}": entry(n)}, message="one table")
        halfway = h.log("main", COMMITS // 2)[-1].short
        h.commit("old", {"tables/new": entry(0)}, message="one table")

    def fresh(work: Callable[[History], object]) -> float:
        with_it = []
        for _ in range(ROUNDS // 4):
            with closing(Workspace.open(folder)) as opened:
                opened.history.resolve("old")  # opens the catalog
                with_it.append(timed(lambda h=opened.history: work(h)))  # type: ignore[misc]
        return statistics.median(with_it)

    return {
        "read a path of main": fresh(lambda h: h.read("main", "tables/t7")),
        "read a path, halfway back by id": fresh(lambda h: h.read(halfway, "tables/t7")),
        "log, the newest 20": fresh(lambda h: h.log("main", 20)),
        "diff over the newest 100": fresh(lambda h: h.diff("main~100", "main")),
        "merge a branch from the beginning": timed(lambda: merge(folder)),
    }


def merge(folder: Path) -> None:
    with closing(Workspace.open(folder)) as opened:
        opened.history.merge("old", "main")


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1e3


def bare_transaction(folder: Path, synchronous: str) -> float:
    db = sqlite3.connect(folder / f"bare-{synchronous}.db", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute(f"PRAGMA synchronous={synchronous}")
    db.execute("CREATE TABLE t (x)")

    def transaction(n: int) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO t VALUES (?)", (n,))
        db.execute("COMMIT")

    taken = median(transaction)
    db.close()
    return taken


def entry(rows: int) -> dict[str, object]:
    return {"kind": "table", "metadata_location": f"lake/t/metadata/{rows}.json", "snapshot_id": rows, "rows": rows}


def median(work: Callable[[int], object]) -> float:
    taken = []
    for n in range(ROUNDS):
        taken.append(timed(lambda n=n: work(n)))  # type: ignore[misc]
    return statistics.median(taken)


if __name__ == "__main__":
    main()
