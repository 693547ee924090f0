"""Online reads beside bare LMDB gets: 100 entities and one, 20 features.

    python benchmarks/online.py [--keys 20000] [--rounds 300]

The limit reads one value for each entity by its exact key, and unpacks nothing. Bascule finds the newest values as of a
time, subtracts windows and gives typed rows. `features.py` has Feast beside it.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import duckdb
import lmdb

from bascule.features import (
    Entity,
    FeatureSet,
    FeatureView,
    LmdbStore,
    OnlineReader,
    build_feature_set,
    materialise,
)

EVENTS_A_KEY = 10
NOW = 1_702_592_000_000_000
ENTITY = Entity("user", ("user_id",))
SQL = "SELECT * FROM events"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=300)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute("SET TimeZone='UTC'")
        fields = ", ".join(f"random() AS f{n}" for n in range(20))
        connection.execute(
            f"CREATE TABLE events AS SELECT i % {chosen.keys} AS user_id, i % 100 AS paid, {fields}, "
            f"make_timestamp(CAST({NOW} - hash(i) % 2592000000000 AS BIGINT)) AS happened "
            f"FROM range({chosen.keys * EVENTS_A_KEY}) r(i)"
        )
        sets = {"20 fields of one view": rows(connection), "20 window features of one view": windows(connection)}
        store = LmdbStore(Path(folder) / "online")
        for name, feature_set in sets.items():
            report = materialise(connection, feature_set, store)
            taken = sum(view.seconds for view in report.views)
            print(f"materialised {name}: {report.written:,} entries in {taken:.2f} s, {report.written / taken:,.0f}/s")
        bare = bare_gets(Path(folder) / "bare", chosen.keys, 160)
        print(f"\n{'work':<42}{'p50 µs':>9}{'p99 µs':>9}{'x bare':>8}")
        for count in (1, 100):
            picked = [random.Random(n).sample(range(chosen.keys), count) for n in range(chosen.rounds)]
            limit = show(f"bare LMDB gets, {count} entities", [partial(bare, keys) for keys in picked], None)
            for name, feature_set in sets.items():
                reader = OnlineReader(feature_set, store)
                show(f"{name}, {count} entities", [partial(read, reader, keys) for keys in picked], limit)


def rows(connection: duckdb.DuckDBPyConnection) -> FeatureSet:
    fields = tuple(f"f{n}" for n in range(20))
    return bind(connection, FeatureView(name="rows", entity="user", sql=SQL, event_time="happened", fields=fields))


def windows(connection: duckdb.DuckDBPyConnection) -> FeatureSet:
    aggregates = {"rows": "count(*)", "paid": "sum(paid)", "mean": "mean(paid)", "f0": "mean(f0)"}
    lengths = ("1h", "6h", "1d", "7d", "14d")
    view = FeatureView(
        name="past", entity="user", sql=SQL, event_time="happened", windows=lengths, aggregates=aggregates
    )
    return bind(connection, view)


def bind(connection: duckdb.DuckDBPyConnection, view: FeatureView) -> FeatureSet:
    return build_feature_set(
        connection,
        name="benchmark",
        entities=[ENTITY],
        views=[view],
        population="SELECT user_id, happened AS asked_at FROM events",
        prediction_time="asked_at",
        features=[view.name],
    )


def read(reader: OnlineReader, keys: list[int]) -> None:
    found = reader.read([{"user_id": key} for key in keys], [NOW] * len(keys))
    assert len(found[0]) == 20


def bare_gets(folder: Path, keys: int, size: int) -> Callable[[list[int]], list[bytes]]:
    """Return what gets values of `size` bytes with nothing but LMDB."""
    env = lmdb.open(str(folder), map_size=1 << 30)
    with env.begin(write=True) as transaction:
        for key in range(keys):
            transaction.put(key.to_bytes(8, "big"), b"x" * size)

    def gets(picked: list[int]) -> list[bytes]:
        with env.begin() as transaction:
            return [transaction.get(key.to_bytes(8, "big")) for key in picked]

    return gets


def show(name: str, work: Sequence[Callable[[], object]], limit: float | None) -> float:
    taken = []
    for one in work:
        begun = time.perf_counter()
        one()
        taken.append((time.perf_counter() - begun) * 1e6)
    middle = statistics.median(taken)
    last = sorted(taken)[int(len(taken) * 0.99)]
    print(f"{name:<42}{middle:>9.1f}{last:>9.1f}{'' if limit is None else f'{middle / limit:>8.1f}'}")
    return middle


if __name__ == "__main__":
    main()
