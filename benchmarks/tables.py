"""Writing and reading a table of a million rows: what does Bascule add to the Parquet file and to DuckDB?

Append: Bascule (data file, manifest, metadata, commit, all durable) against the limit, the same rows written by pyarrow
as one durable Parquet file with the same settings. Read: aggregate, point lookup and full read to Arrow through
`Session.sql` against DuckDB on the same files and on a connection that is open: `read_parquet` of the same engine, which
is the stricter limit, and `iceberg_scan` where PEER is the Python of an environment with duckdb, duckdb-extension-avro and
duckdb-extension-iceberg of one release (there is none for the release that Bascule stands on). Five files; medians; the
ways take turns. A session and a connection that are opened for the one query are compared too.

    python benchmarks/tables.py [ROWS] [PEER]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bascule.history import Workspace
from bascule.lake import Lake, Session

TIMES = 9
FILES = 5
QUERIES = {
    "aggregate": "SELECT carrier, count(*), avg(delay), max(distance) FROM {} GROUP BY carrier",
    "point lookup": "SELECT * FROM {} WHERE id = {}",
    "full read": "SELECT * FROM {}",
}


def batch(rows: int, start: int = 0) -> pa.Table:
    """Rows of eight columns."""
    chance = np.random.default_rng(start + 7)
    return pa.table(
        {
            "id": np.arange(start, start + rows),
            "delay": chance.normal(10, 40, rows),
            "distance": chance.integers(80, 5000, rows),
            "carrier": pa.array(chance.integers(0, 16, rows)).cast(pa.string()),
            "tail": pa.array(chance.integers(0, 4000, rows)).cast(pa.string()),
            "at": pa.array(np.arange(rows) * 60_000_000, pa.timestamp("us", "UTC")),
            "cancelled": chance.random(rows) < 0.02,
            "fare": chance.gamma(2, 120, rows).astype(np.float32),
        }
    )


def turns(ways: dict[str, Callable[[], object]], times: int = TIMES) -> dict[str, float]:
    """Median milliseconds of each way; they take turns, so that a noisy moment meets all."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(times):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            found[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(times) for name, times in found.items()}


def writing(folder: Path, rows: int) -> dict[str, float]:
    """Append and the bare file."""
    lake, data = Lake(Workspace.create(folder / "w")), batch(rows)
    lake.append("t", data.slice(0, 1))
    count = iter(range(10**9))

    def bare() -> None:
        with open(folder / f"{next(count)}.parquet", "wb") as out:
            pq.write_table(data, out, compression="zstd", compression_level=3, row_group_size=122_880, version="2.6")
            out.flush()
            os.fsync(out.fileno())

    return turns({"Bascule": lambda: lake.append("t", data), "limit: one Parquet file": bare})


def reading(folder: Path, rows: int, peer: str) -> dict[str, dict[str, float]]:
    """Each query by each way."""
    workspace = Workspace.create(folder / "r")
    lake = Lake(workspace)
    for number in range(FILES):
        lake.append("t", batch(rows // FILES, number * (rows // FILES)))
    value = workspace.history.get("main", "tables/t")
    paths = ", ".join(f"'{file.path}'" for file in lake.files(value))
    plain = duckdb.connect()
    ways = {"read_parquet": (plain, f"read_parquet([{paths}])")}
    found = {}
    for name, query in QUERIES.items():
        wanted = rows // 2 + 3

        def ask(connection: duckdb.DuckDBPyConnection, source: str, query: str = query) -> Any:
            return connection.sql(query.format(source, rows // 2 + 3)).to_arrow_table()

        def connected(query: str = query, wanted: int = wanted) -> Any:
            with duckdb.connect() as connection:
                return connection.sql(query.format(ways["read_parquet"][1], wanted)).to_arrow_table()

        def fresh(query: str = query, wanted: int = wanted) -> Any:
            with Session(workspace) as session:
                return session.arrow(query.format("t", wanted))

        with Session(workspace) as session:
            named: dict[str, Callable[[], object]] = {
                "Bascule": lambda session=session, query=query: session.arrow(query.format("t", rows // 2 + 3)),
                "Bascule, new session": fresh,
            }
            named["read_parquet, new connection"] = connected
            named |= {way: lambda told=told, ask=ask: ask(*told) for way, told in ways.items()}
            for way in named.values():
                way()
            found[name] = turns(named)
            if peer:
                found[name]["iceberg_scan, 1.5"] = scanned(
                    peer, query.format(f"iceberg_scan('{lake.location(value)}')", wanted)
                )
    return found


PEER = """
import statistics, sys, time
import duckdb
from importlib.util import find_spec
from pathlib import Path

query, times, arrow = sys.argv[1], int(sys.argv[2]), sys.argv[3]
connection = duckdb.connect()
for name in ("avro", "iceberg"):
    folder = Path(find_spec(f"duckdb_extension_{name}").origin).parent / "extensions"
    connection.execute(f"LOAD '{next(folder.glob(f'v*/{name}.duckdb_extension'))}'")
connection.execute("SET unsafe_enable_version_guessing = true")
sys.path.append(arrow)
import pyarrow
took = []
for _ in range(times + 1):
    start = time.perf_counter()
    connection.sql(query).to_arrow_table()
    took.append((time.perf_counter() - start) * 1000)
print(statistics.median(took[1:]))
"""


def scanned(peer: str, query: str) -> float:
    """Median milliseconds of a query in the peer's DuckDB; Arrow is this environment's."""
    command = [peer, "-c", PEER, query, str(TIMES), str(Path(pa.__file__).parent.parent)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(rows: int, peer: str) -> None:
    """Run all and print the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = writing(folder, rows)
        limit = written["limit: one Parquet file"]
        print(f"{f'append of {rows:,} rows':34}{'ms':>8}{'ratio':>9}")
        for way, took in written.items():
            print(f"{way:34}{took:8.0f}{took / limit:8.2f}×")
        for query, ways in reading(folder, rows, peer).items():
            limits = [way for way in ways if not way.startswith("Bascule")]
            print(f"\n{f'{query}, {FILES} files':34}{'ms':>8}" + "".join(f"{f'/ {way}':>32}" for way in limits))
            for way in ("Bascule", "Bascule, new session", *limits):
                print(f"{way:34}{ways[way]:8.1f}" + "".join(f"{ways[way] / ways[one]:31.2f}×" for one in limits))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, sys.argv[2] if len(sys.argv) > 2 else "")
