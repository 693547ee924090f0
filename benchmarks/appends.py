"""Appending 1,000 rows to a table, again and again: does the 10,000th append cost more than the 10th?

In one run on the same batch: Bascule (data file, manifest, manifest list, metadata, commit, all durable); pyiceberg 0.12
with its SQL catalog; and the limit, the bare data file written durably. Reported are medians of eleven appends, on the
clock and of the processor. The clock is mostly the disk's, so the limit is measured between the appends and the clock is
also given in limits: what the disk does meanwhile for others is in both. Then the table of as many files is read before
and after `compact`, the history of as many commits is asked, and what `gc` leaves is weighed.

    python benchmarks/appends.py [APPENDS [APPENDS_OF_PYICEBERG]]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bascule.catalog import actor
from bascule.history import Workspace
from bascule.lake import Lake, engine
from bascule.lake.maintenance import Retention, Rule, collect, compact, retention

ROWS = 1_000
AROUND = 11
KEPT = 100

# Of each append: milliseconds on the clock, of the processor, and on the clock for the limit beside it.
Times = list[tuple[float, float, float]]


def batch() -> pa.Table:
    """One thousand rows of five columns."""
    chance = np.random.default_rng(7)
    return pa.table(
        {
            "id": np.arange(ROWS),
            "delay": chance.normal(10, 40, ROWS),
            "distance": chance.integers(80, 5000, ROWS),
            "carrier": pa.array(chance.integers(0, 16, ROWS)).cast(pa.string()),
            "at": pa.array(np.arange(ROWS) * 60_000_000, pa.timestamp("us", "UTC")),
        }
    )


def timed(append: Callable[[], object], times: int, limit: Callable[[], object] = lambda: None) -> Times:
    """Run an append many times, each beside the limit."""
    found = []
    for _ in range(times):
        start, processor = time.perf_counter(), time.process_time()
        append()
        wall, cpu = time.perf_counter() - start, time.process_time() - processor
        start = time.perf_counter()
        limit()
        found.append((wall * 1000, cpu * 1000, (time.perf_counter() - start) * 1000))
    return found


def around(times: Times, number: int) -> tuple[float, float, float]:
    """The medians of the appends around one of them."""
    start = max(0, min(number - AROUND // 2 - 1, len(times) - AROUND))
    wall, cpu, limit = zip(*times[start : start + AROUND], strict=True)
    return statistics.median(wall), statistics.median(cpu), statistics.median(limit)


def bare(folder: Path) -> Callable[[], object]:
    """The limit: the same rows as one durable Parquet file."""
    count = iter(range(10**9))

    def append() -> None:
        with open(folder / f"{next(count)}.parquet", "wb") as out:
            pq.write_table(batch(), out, compression="zstd")
            out.flush()
            os.fsync(out.fileno())

    return append


def peer(folder: Path) -> Callable[[], object]:
    """The same table in pyiceberg's own SQL catalog."""
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("peer", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("n")
    table = catalog.create_table("n.t", batch().schema)
    return lambda: table.append(batch())


def weight(folder: Path, part: str) -> tuple[int, float]:
    """How many files, and megabytes, there are below the folders of a name."""
    found = [path.stat().st_size for path in folder.glob(f"*/{part}/*")]
    return len(found), sum(found) / 1e6


def asked(what: Callable[[], object], times: int = 7) -> float:
    """The median of some calls, in milliseconds."""
    return statistics.median(wall for wall, _, _ in timed(what, times))


def curve(name: str, times: Times, marks: Sequence[int]) -> None:
    """Print what the appends around some numbers cost."""
    _, first, _ = around(times, 10)
    for mark in sorted({mark for mark in (10, *marks, len(times)) if mark <= len(times)}):
        wall, cpu, limit = around(times, mark)
        print(f"{name:20}{mark:>8,}{wall:10.1f}{limit:10.1f}{wall / limit:10.1f}{cpu:10.1f}{cpu / first:9.2f}x")


def read(lake: Lake, title: str) -> None:
    """Print how long reading the whole table takes."""
    value = lake.workspace.history.get("main", "tables/t")

    def ask(query: str) -> Callable[[], object]:
        def run() -> None:
            with engine.opened() as connection:
                connection.execute(f"SELECT {query} FROM {lake.scan(value)}").fetchall()

        return run

    count, total = asked(ask("count(*)"), 3), asked(ask("avg(delay), max(distance)"), 3)
    files, size = value["files"], value["bytes"] / 1e6
    print(f"{title:28}{files:>8,} files{size:8.1f} MB{count:10.0f} ms{total:10.0f} ms")


def history(workspace: Workspace) -> None:
    """Print how long it takes to ask the history."""
    fresh = Workspace.open(workspace.folder).history
    cold = asked(lambda: fresh.log("main"), 1)
    told = {
        "resolve main": lambda: fresh.resolve("main"),
        "read a path": lambda: fresh.read("main", "tables/t"),
        "log of 20": lambda: fresh.log("main", 20),
        "whole log": lambda: fresh.log("main"),
    }
    print(", ".join(f"{name} {asked(what):.2f} ms" for name, what in told.items()) + f" ({cold:.0f} ms at first)")


def collected(lake: Lake, data: pa.Table, appends: int) -> None:
    """Print what stays when only the last states are kept and the rest is collected from time to time."""
    retention.save(lake.workspace.catalog, Retention((Rule("main", last=KEPT),)), actor())
    for _ in range(4):
        for _ in range(appends // 4):
            lake.append("t", data)
        began = time.perf_counter()
        gone = collect(lake.workspace, grace=0)
        spent = time.perf_counter() - began
        files, size = weight(lake.folder, "metadata")
        commits = len(lake.workspace.history.log("main"))
        print(
            f"{commits:>8,} commits {files:>8,} files {size:8.2f} MB of metadata; gc took {gone.files:,} in {spent:.1f} s"
        )


def main(appends: int, peer_appends: int) -> None:
    """Run all, and print the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("bare", "peer"):
            (folder / part).mkdir()
        lake, data = Lake(Workspace.create(folder / "w")), batch()
        disk = bare(folder / "bare")
        ours = timed(lambda: lake.append("t", data), appends, disk)
        theirs = timed(peer(folder / "peer"), peer_appends, disk)
        print(f"{'1,000 rows':20}{'append':>8}{'ms':>10}{'limit ms':>10}{'limits':>10}{'cpu ms':>10}{'/ 10th':>10}")
        curve("Bascule", ours, (500, 1_000, 5_000, appends))
        curve("pyiceberg", theirs, (100,))
        mark = min(500, peer_appends, appends)
        mine, other = around(ours, mark), around(theirs, mark)
        ratios = f"{other[0] / mine[0]:.0f}x on the clock, {other[1] / mine[1]:.0f}x of the processor"
        print(f"pyiceberg's {mark}th against Bascule's: {ratios}\n")
        files, size = weight(lake.folder, "metadata")
        catalog = (lake.workspace.folder / "catalog.db").stat().st_size / 1e6
        print(
            f"metadata: {files:,} files, {size:.1f} MB, {size * 1000 / appends:.1f} KB an append; catalog {catalog:.1f} MB"
        )
        history(lake.workspace)
        print(f"\n{'reading all rows':28}{'':14}{'':11}{'count(*)':>13}{'aggregate':>13}")
        read(lake, "before compact")
        began = time.perf_counter()
        compact(lake, "t")
        spent = time.perf_counter() - began
        read(lake, "after compact")
        print(f"compact took {spent:.1f} s\n\nwith the last {KEPT} states kept:")
        collected(Lake(Workspace.create(folder / "kept")), data, max(400, appends // 5))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, int(sys.argv[2]) if len(sys.argv) > 2 else 500)
