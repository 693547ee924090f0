"""Point-in-time joins of three views beside Feast's DuckDB store, and of many events in bounded memory.

    python benchmarks/joins.py [--events 100000] [--examples 100000] [--feast PYTHON]
    python benchmarks/joins.py --features 5 --keys 10000 --ttl 30 --feast PYTHON
    python benchmarks/joins.py --events 50000000 --examples 5000000 --memory 4GB [--threads 2]

Both read the same Parquet files. PYTHON is an interpreter of an environment of its own that has Feast 0.67 with its
DuckDB store: `python -m venv V && V/bin/pip install 'feast[duckdb]'`. Feast gives a frame, Bascule an Arrow table; each
runs in a process of its own, so the peak of its memory is its own. With `--memory` DuckDB may hold so much and spills
the rest; the rows are streamed and counted. Processor seconds, because the machine may be busy, and wall seconds.
The first call of a process is measured, with what it imports only then: at 100,000 examples nearly a half of Feast's.
Not a test: nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

VIEWS = ("first", "second", "third")
DAYS = 30
A_KEY = 250  # events of a key in each view, at most
OURS = r"""
import json, resource, sys, time
import duckdb
from bascule.features import Entity, FeatureView, build_feature_set, training_rows
folder, memory, threads, views, fields, ttl = *sys.argv[1:3], int(sys.argv[3]), sys.argv[4].split(","), *sys.argv[5:]
connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
connection.execute(f"SET threads = {threads}")
connection.execute(f"SET temp_directory = '{folder}/spill'")
if memory:
    connection.execute(f"SET memory_limit = '{memory}'")
spine = f"SELECT * FROM read_parquet('{folder}/spine.parquet')"
made = [
    FeatureView(name=name, entity="user", event_time="happened", ttl_us=int(ttl) * 86_400_000_000,
                sql=f"SELECT user_id, happened, {fields} FROM read_parquet('{folder}/{name}.parquet')")
    for name in views
]
begun, wall = time.process_time(), time.perf_counter()
bound = build_feature_set(connection, name="joins", entities=[Entity("user", ("user_id",))], views=made,
                          population=spine, prediction_time="event_timestamp", features=views)
found = training_rows(connection, bound, spine)
if memory:
    rows = total = 0
    for batch in found.to_arrow_reader(65_536):
        rows += batch.num_rows
        total += sum(column.null_count for column in batch.columns)
else:
    table = found.to_arrow_table()
    rows, total = table.num_rows, sum(column.null_count for column in table.columns)
print(json.dumps({"cpu": time.process_time() - begun, "wall": time.perf_counter() - wall, "rows": rows, "nulls": total,
                  "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""
FEAST = r"""
import json, resource, subprocess, sys, time
from pathlib import Path
folder, views, fields, ttl = Path(sys.argv[1]), sys.argv[4].split(","), sys.argv[5].split(","), int(sys.argv[6])
(folder / "feature_store.yaml").write_text(
    "project: bench\nprovider: local\nregistry: registry.db\noffline_store: {type: duckdb}\n"
    "online_store: {type: sqlite, path: online.db}\nentity_key_serialization_version: 3\n"
)
(folder / "repo.py").write_text(f'''
from datetime import timedelta
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int32
user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
made = [
    FeatureView(name=name, entities=[user], ttl=timedelta(days={ttl}),
                schema=[Field(name=field, dtype=Int32 if field == "b" else Float64) for field in {fields}],
                source=FileSource(name=name, path=name + ".parquet", timestamp_field="happened"))
    for name in {views}
]
first, second, third = made
''')
subprocess.run([str(Path(sys.executable).parent / "feast"), "apply"], cwd=folder, check=True, capture_output=True)
import pandas as pd
from feast import FeatureStore
store = FeatureStore(repo_path=str(folder))
spine = pd.read_parquet(folder / "spine.parquet")
begun, wall = time.process_time(), time.perf_counter()
features = [f"{name}:{field}" for name in views for field in fields]
found = store.get_historical_features(entity_df=spine, features=features, full_feature_names=True).to_df()
print(json.dumps({"cpu": time.process_time() - begun, "wall": time.perf_counter() - wall, "rows": len(found),
                  "nulls": int(found.isna().sum().sum()),
                  "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="of each of three views")
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=3, help="of each view")
    parser.add_argument("--keys", type=int, default=0, help="0: so many that each has up to 250 events in a view")
    parser.add_argument("--ttl", type=int, default=3, help="days that a value lives")
    parser.add_argument("--feast", type=Path, help="an interpreter that has Feast")
    parser.add_argument("--memory", default="", help="what DuckDB may hold, as 4GB; the rows are streamed then")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1, help="in turns; medians are told")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, chosen)
        size = sum(path.stat().st_size for path in folder.glob("*.parquet")) / 2**20
        print(f"{chosen.examples:,} examples, {chosen.events:,} events in each of three views, {size:,.0f} MiB")
        print(f"{chosen.features} features a view, {keys_of(chosen):,} keys, time to live {chosen.ttl} days\n")
        print(f"{'who':<10}{'CPU s':>9}{'wall s':>9}{'peak MiB':>10}{'rows':>13}{'nulls':>13}")
        ours, theirs = [], []
        for _ in range(chosen.rounds):
            ours.append(run(Path(sys.executable), OURS, folder, chosen))
            if chosen.feast is not None:
                theirs.append(run(chosen.feast, FEAST, folder, chosen))
        show("Bascule", best := middle(ours))
        if chosen.feast is None:
            print("feast: no interpreter was given, left out")
            return
        show("Feast", other := middle(theirs))
        cpu, wall = other["cpu"] / best["cpu"], other["wall"] / best["wall"]
        print(f"\nFeast takes {cpu:,.1f} x the processor time and {wall:,.1f} x the wall time")


def middle(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def fill(folder: Path, chosen: argparse.Namespace) -> None:
    keys = keys_of(chosen)
    at = f"make_timestamptz(CAST(1.7e15 + hash(i * {{}} + {{}}) % ({DAYS} * 86400000000) AS BIGINT))"
    values = "".join(
        f", CAST(hash(i) % 100 AS INTEGER) AS {field}" if field == "b" else f", hash(i + {place}) / 1e19 AS {field}"
        for place, field in enumerate(fields_of(chosen))
    )
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"COPY (SELECT CAST(hash(i) % {keys} AS BIGINT) AS user_id, {at.format(7, 1)} AS event_timestamp, "
            f"i % 2 AS label FROM range({chosen.examples}) r(i)) TO '{folder}/spine.parquet'"
        )
        for place, view in enumerate(VIEWS):
            connection.execute(
                f"COPY (SELECT CAST(hash(i * {3 + place}) % {keys} AS BIGINT) AS user_id, {at.format(13, place)} AS "
                f"happened{values} FROM range({chosen.events}) r(i)) TO '{folder}/{view}.parquet'"
            )


def keys_of(chosen: argparse.Namespace) -> int:
    return int(chosen.keys or max(chosen.events // A_KEY, 1000))


def fields_of(chosen: argparse.Namespace) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[: chosen.features]


def run(python: Path, script: str, folder: Path, chosen: argparse.Namespace) -> dict[str, float]:
    told = [chosen.memory, str(chosen.threads), ",".join(VIEWS), ",".join(fields_of(chosen)), str(chosen.ttl)]
    command = [str(python), "-c", script, str(folder), *told]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode:
        raise SystemExit(f"It failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(who: str, found: dict[str, float]) -> None:
    cpu, wall, rss = found["cpu"], found["wall"], found["rss"]
    print(f"{who:<10}{cpu:>9.2f}{wall:>9.2f}{rss:>10,.0f}{found['rows']:>13,.0f}{found['nulls']:>13,.0f}", flush=True)


if __name__ == "__main__":
    main()
