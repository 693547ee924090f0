"""Comparing two states of a table of ten million rows, of which one in a hundred was changed, in two of twenty files.

Rows in one run, on the same files: Bascule's whole diff (added, removed and changed rows, what happened to each of the
eight columns, a sample); the limit, a keyed join of the changed files written by hand, that counts and nothing else; the
same join over the whole table, for what it costs not to know the files; and Bascule with every column's figures told of
the whole table, beside a bare aggregate of both states. Each is run in a process of its own, the fastest of several runs
counts, and the peak is what that process held in memory at most, with Python and DuckDB themselves.

    python benchmarks/diff.py [MILLIONS]
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.history import Workspace
from bascule.lake import Lake, engine
from bascule.lake.comparing.changed import changed_files

FILES = 20
RUNS = 5
TABLE = "tables/flights"


def rows(number: int, count: int) -> pa.Table:
    """One file's rows: a key, a time, numbers and texts."""
    chance = np.random.default_rng(number)
    ids = np.arange(number * count, (number + 1) * count)
    return pa.table(
        {
            "id": ids,
            "at": pa.array(ids * 1_000_000, pa.timestamp("us", "UTC")),
            "carrier": pa.array(np.array(["AA", "UA", "DL", "B6", "WN"])[chance.integers(0, 5, count)]),
            "delay": chance.normal(10, 40, count),
            "distance": chance.integers(80, 5000, count),
            "fare": np.round(chance.gamma(2, 100, count), 2),
            "seats": pa.array(chance.integers(20, 400, count), pa.int32()),
            "tail": pa.array(np.char.add("N", chance.integers(10_000, 99_999, count).astype(str))),
        }
    )


def make(folder: Path, millions: int) -> None:
    """Write the table, and a branch on which a tenth of the rows of two files were changed."""
    lake, count = Lake(Workspace.create(folder)), millions * 1_000_000 // FILES
    for number in range(FILES):
        lake.append("flights", rows(number, count), key=["id"])
    lake.workspace.history.create_branch("dev")
    for number in (3, 11):
        low, high = number * count, (number + 1) * count - 1
        lake.delete("flights", f"id % 10 = 0 AND id BETWEEN {low} AND {high}", branch="dev")
        changed = rows(number, count).filter(pa.array(np.arange(low, high + 1) % 10 == 0))
        lake.append("flights", changed.set_column(3, "delay", pc.add(changed["delay"], 5.0)), branch="dev")
    lake.workspace.close()


def by_hand(folder: Path, every_file: bool) -> int:
    """The limit: a keyed join of files, that counts what was added, removed and changed."""
    lake = Lake(Workspace.open(folder))
    before, after = (lake.table(lake.workspace.history.get(ref, TABLE)) for ref in ("main", "dev"))
    files = changed_files(before, after)
    went, came = (before.data_files(), after.data_files()) if every_file else (files.went, files.came)
    old, new = (f"read_parquet({[str(file.path) for file in side]})" for side in (went, came))
    names = [field["name"] for field in after.schema["fields"] if field["name"] != "id"]
    differs = " OR ".join(f"o.{name} IS DISTINCT FROM n.{name}" for name in names)
    kind = f"CASE WHEN o.id IS NULL THEN 'added' WHEN n.id IS NULL THEN 'removed' WHEN {differs} THEN 'changed' END"
    with engine.opened(lake.workspace.temporary_folder) as connection:
        query = f"SELECT {kind} AS kind, count(*) FROM {old} o FULL JOIN {new} n ON o.id = n.id GROUP BY kind"
        counts: dict[Any, int] = dict(connection.execute(query).fetchall())
    lake.workspace.close()
    return counts["changed"]


def bascule(folder: Path, whole: bool) -> int:
    """Everything that `bascule diff` tells of the table."""
    lake = Lake(Workspace.open(folder))
    before, after = (lake.workspace.history.get(ref, TABLE) for ref in ("main", "dev"))
    diff = lake.diff(before, after, 5, whole=whole)
    assert len(diff.values) == 8
    assert len(diff.sample) == 5
    lake.workspace.close()
    return diff.changed


def aggregate(folder: Path) -> int:
    """A bare scan of both states: how many values each column has, from where to where they go, and their means."""
    lake = Lake(Workspace.open(folder))
    names = [field.name for field in lake.schema(lake.workspace.history.get("main", TABLE))]
    numbers = {"delay", "distance", "fare", "seats", "id"}
    told = ", ".join(f'count("{n}"), min("{n}"), max("{n}")' + (f', avg("{n}")' if n in numbers else "") for n in names)
    found = 0
    with engine.opened() as connection:
        for ref in ("main", "dev"):
            source = lake.scan(lake.workspace.history.get(ref, TABLE))
            found = connection.sql(f"SELECT {told} FROM {source}").to_arrow_table().num_rows
    lake.workspace.close()
    return found


def timed(work: Callable[..., int], *arguments: Any) -> tuple[float, float, int]:
    """The fastest run in seconds, the peak of memory in MiB, and what it found; in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_timed, (work, arguments))


def _timed(work: Callable[..., int], arguments: tuple[Any, ...]) -> tuple[float, float, int]:
    spent, found = [], 0
    for _ in range(RUNS):
        start = time.perf_counter()
        found = work(*arguments)
        spent.append(time.perf_counter() - start)
    return min(spent), peak(), found


def peak() -> float:
    """The most memory that this process ever held, in MiB."""
    status = Path("/proc/self/status")  # what getrusage says is the parent's peak too
    if status.exists():
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(millions: int) -> None:
    """Run all of them and print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "w"
        make(folder, millions)
        limit = timed(by_hand, folder, False)
        ours = timed(bascule, folder, False)
        every = timed(by_hand, folder, True)
        scan = timed(aggregate, folder)
        whole = timed(bascule, folder, True)
    assert limit[2] == ours[2] == every[2] == whole[2] == millions * 10_000
    print(
        f"{f'{millions},000,000 rows, {ours[2]:,} changed in 2 of {FILES} files':58}{'seconds':>9}{'ratio':>8}{'peak MiB':>10}"
    )
    for told, (seconds, peak, _), ratio in (
        ("limit: keyed join of the changed files by hand, counts", limit, 1.0),
        ("Bascule: counts, columns' values, shifts, sample", ours, ours[0] / limit[0]),
        ("the same join by hand over all files", every, every[0] / limit[0]),
        ("limit: bare aggregate of both states", scan, 1.0),
        ("Bascule with figures of the whole table", whole, whole[0] / scan[0]),
    ):
        print(f"{told:58}{seconds:9.2f}{ratio:7.2f}×{peak:10,.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
