"""Reading and writing tables in object storage: how far from the same lake on disk?

    python benchmarks/storage.py [--rounds 5] [--delay 0]

An S3 server runs as a process of its own on loopback (moto: slow, so requests count), with `--delay` milliseconds added to
each request to stand for a network. The same table of 5 × 500,000 rows and one of 40 × 1,000 rows is read by DuckDB

- from local files: the limit;
- from object storage with an empty cache of blocks, and with a full one (each in a new connection: nothing is in memory);
- from object storage through Arrow's file system alone, which asks for every range anew: the peer (one thread);
- from whole files that are fetched first, all at once, and read then: the other way that was tried.

Then 1,000 rows are appended, on disk and in object storage. Medians. Not a test: nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from bascule.history import Workspace
from bascule.lake import Lake, engine
from bascule.store import ObjectPath

SERVER = """
import sys, time
from moto.server import ThreadedMotoServer
from moto.moto_server import werkzeug_app
delay = float(sys.argv[1]) / 1000
made = werkzeug_app.DomainDispatcherApplication.__call__
def slowly(self, *args):
    time.sleep(delay)
    return made(self, *args)
werkzeug_app.DomainDispatcherApplication.__call__ = slowly
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
QUERIES = {
    "one column of 2.5 M rows": ("big", "select sum(x) from {}"),
    "all columns of 2.5 M rows": ("big", "select sum(x), max(s), sum(d), sum(id) from {}"),
    "one row of 2.5 M": ("big", "select * from {} where id = 77"),
    "one column of 40 small files": ("small", "select sum(x) from {}"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delay", type=float, default=0.0, help="milliseconds added to each request")
    options = parser.parse_args()
    os.environ.update(AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret", AWS_DEFAULT_REGION="us-east-1")
    command = [sys.executable, "-c", SERVER, str(options.delay)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as server, tempfile.TemporaryDirectory() as scratch:
        port = next((line.strip() for line in server.stdout if line.strip().isdigit()), "")
        if not port:
            sys.exit("skipped: moto's S3 server is not installed (pip install 'moto[server]')")
        measure(f"http://127.0.0.1:{port}", Path(scratch), options.rounds)
        server.stdin.close()


def measure(endpoint: str, folder: Path, rounds: int) -> None:
    import boto3

    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="lake")
    url = f"s3://lake/w?endpoint_override={endpoint}&region=us-east-1"
    lakes = {"disk": Lake(Workspace.create(folder / "disk")), "s3": Lake(Workspace.create(folder / "s3", storage=url))}
    for lake in lakes.values():
        chance = np.random.default_rng(7)
        for _ in range(5):
            lake.append("big", rows(500_000, chance))
        for _ in range(40):
            lake.append("small", rows(1_000, chance))
    print(f"{'':30}{'disk ms':>9}{'full':>8}{'empty':>8}{'ranges':>8}{'whole':>8}")
    for title, (table, query) in QUERIES.items():
        times = [statistics.median(way(table, query, rounds)) for way in ways(lakes)]
        print(f"{title:30}{times[0]:9.0f}" + "".join(f"{t / times[0]:7.1f}×" for t in times[1:]))
    one = rows(1_000, np.random.default_rng(1))
    taken = {name: statistics.median(timed(partial(lake.append, "new", one), 30)) for name, lake in lakes.items()}
    print(f"append of 1,000 rows: {taken['disk']:.0f} ms on disk, {taken['s3'] / taken['disk']:.1f}× in object storage")


def ways(lakes: dict[str, Lake]) -> list[Callable[[str, str, int], list[float]]]:
    remote = lakes["s3"]

    def cached(lake: Lake, empty: bool) -> Callable[[str, str, int], list[float]]:
        def run(table: str, query: str, rounds: int) -> list[float]:
            ask(lake, table, query)
            taken = []
            for _ in range(rounds):
                asked = lake
                if empty:
                    shutil.rmtree(lake.workspace.cache_folder)
                    asked = Lake(Workspace.open(lake.workspace.folder))
                taken += timed(lambda asked=asked: ask(asked, table, query), 1)
            return taken

        return run

    def ranges(table: str, query: str, rounds: int) -> list[float]:
        from fsspec.implementations.arrow import ArrowFSWrapper

        wrapper = type("Ranges", (ArrowFSWrapper,), {"protocol": "s3", "cachable": False})
        source = remote.scan(state(remote, table))

        def once() -> None:
            with duckdb.connect() as connection:
                connection.execute("set threads = 1")  # with more it answers wrong: see docs/decisions
                connection.register_filesystem(wrapper(remote.folder.shelf.bucket._files))
                connection.execute(query.format(source)).fetchall()

        return timed(once, rounds)

    def whole(table: str, query: str, rounds: int) -> list[float]:
        paths = [file.path for file in remote.files(state(remote, table))]

        def once() -> None:
            with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(16) as readers:
                list(readers.map(lambda path: fetched(path, Path(place)), paths))
                with duckdb.connect() as connection:
                    connection.execute(query.format(f"read_parquet('{place}/*.parquet')")).fetchall()

        return timed(once, rounds)

    return [cached(lakes["disk"], False), cached(remote, False), cached(remote, True), ranges, whole]


def fetched(path: ObjectPath, place: Path) -> None:
    (place / path.name).write_bytes(path.read_bytes())


def ask(lake: Lake, table: str, query: str) -> None:
    with engine.opened() as connection:
        connection.execute(query.format(lake.scan(state(lake, table)))).fetchall()


def state(lake: Lake, table: str) -> dict:
    return lake.workspace.history.get("main", f"tables/{table}")


def rows(count: int, chance: np.random.Generator) -> pa.Table:
    return pa.table(
        {
            "id": np.arange(count),
            "x": chance.normal(size=count),
            "d": chance.integers(0, 9, count),
            "s": pa.array(chance.integers(0, 1000, count)).cast(pa.string()),
        }
    )


def timed(work: Callable[[], object], times: int) -> list[float]:
    """Milliseconds of each time."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append((time.perf_counter() - start) * 1000)
    return found


if __name__ == "__main__":
    main()
