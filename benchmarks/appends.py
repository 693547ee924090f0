"""Appending 1,000 rows to a table, again and again: does the 1,000th append cost more than the 10th?

Three rows in one run on the same batch: Bascule (data file, manifest, manifest list, metadata, commit, all durable);
pyiceberg 0.12 with its SQL catalog; and the limit, the bare data file written durably. Reported is the median of the
appends around the 10th and around the last. pyiceberg stops at its 100th, because its cost grows with each.

    python benchmarks/appends.py [APPENDS]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bascule.history import Workspace
from bascule.lake import Lake

ROWS = 1_000


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


def timed(append: Callable[[], object], times: int) -> list[float]:
    """Milliseconds of each append."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        append()
        found.append((time.perf_counter() - start) * 1000)
    return found


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


def main(appends: int) -> None:
    """Run all three and print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("bare", "peer"):
            (folder / part).mkdir()
        lake = Lake(Workspace.create(folder / "w"))
        data = batch()
        ours = timed(lambda: lake.append("t", data), appends)
        limit = timed(bare(folder / "bare"), 50)
        theirs = timed(peer(folder / "peer"), 100)
    early, late = statistics.median(ours[5:15]), statistics.median(ours[-11:])
    print(f"{'append of 1,000 rows, ms':34}{'10th':>8}{'last':>8}{'last/10th':>11}")
    print(f"{f'Bascule, {appends:,} appends':34}{early:8.1f}{late:8.1f}{late / early:10.2f}×")
    first, last = statistics.median(theirs[5:15]), statistics.median(theirs[-11:])
    print(f"{'pyiceberg, 100 appends':34}{first:8.1f}{last:8.1f}{last / first:10.2f}×")
    print(f"{'limit: one durable Parquet file':34}{statistics.median(limit):8.1f}")
    print(f"Bascule's {appends:,}th against pyiceberg's 100th: {last / late:.1f}× faster")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
