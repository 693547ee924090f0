"""Point-in-time joins beside the bare engine: hand-written DuckDB ASOF JOINs with dedup, time to live and row order.

    python benchmarks/point_in_time.py [--examples 300000] [--events 900000] [--rounds 5]

The same examples and views for both, in turns; medians, in examples a second. Windows are compared with the usual range
join, on keys with few events each (where that is cheap) and with many (where it is not). Feast takes part when it is
installed in this environment.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable

import duckdb
import pyarrow as pa

from bascule.features import Entity, FeatureSet, FeatureView, build_feature_set, training_rows

VIEWS = ("first", "second", "third")
KEYS = 20_000
CROWDS = 500
DAYS = 30
TTL = 3 * 86_400_000_000
FIELDS = "abc"
ENTITIES = [Entity("user", ("user_id",)), Entity("crowd", ("crowd_id",))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=300_000)
    parser.add_argument("--events", type=int, default=900_000, help="of all three views together")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone='UTC'")
        fill(connection, chosen.examples, chosen.events // len(VIEWS))
        print(f"{chosen.examples:,} examples, {chosen.events:,} events in three views, {KEYS:,} keys; all cores\n")
        compare(connection, chosen.examples, chosen.rounds)
    if importlib.util.find_spec("feast") is None:
        print("\nfeast: not installed in this environment, left out")


def fill(connection: duckdb.DuckDBPyConnection, examples: int, events: int) -> None:
    at = f"make_timestamp(CAST(1.7e15 + hash(i * {{}} + {{}}) % ({DAYS} * 86400000000) AS BIGINT))"
    keys = (
        f"CAST(hash(i * {{0}}) % {KEYS} AS BIGINT) AS user_id, CAST(hash(i * {{0}}) % {CROWDS} AS BIGINT) AS crowd_id"
    )
    connection.execute(
        f"CREATE TABLE spine AS SELECT {keys.format(1)}, {at.format(7, 1)} AS asked_at, "
        f"i % 2 AS label, random() AS amount FROM range({examples}) r(i)"
    )
    for place, view in enumerate(VIEWS):
        connection.execute(
            f"CREATE TABLE {view} AS SELECT {keys.format(3 + place)}, {at.format(13, place)} AS happened, "
            f"random() AS a, CAST(hash(i) % 100 AS INTEGER) AS b, random() AS c FROM range({events}) r(i)"
        )


def compare(connection: duckdb.DuckDBPyConnection, examples: int, rounds: int) -> None:
    rows = bind(connection, [row_view(name) for name in VIEWS])
    few, many = (bind(connection, [window_view(entity)]) for entity in ("user", "crowd"))
    work: dict[str, tuple[Callable[[], pa.Table], Callable[[], pa.Table]]] = {
        "three views, time to live": (
            lambda: joined(connection, rows),
            lambda: table(connection, bare_rows()),
        ),
        "windows 1d, 7d; few events a key": (
            lambda: joined(connection, few),
            lambda: table(connection, bare_windows("user_id")),
        ),
        "windows 1d, 7d; many events a key": (
            lambda: joined(connection, many),
            lambda: table(connection, bare_windows("crowd_id")),
        ),
    }
    print(f"{'work':<36}{'Bascule rows/s':>16}{'bare rows/s':>14}{'time x bare':>13}")
    for name, (ours, bare) in work.items():
        check(ours(), bare())
        taken = medians([ours, bare], rounds)
        print(f"{name:<36}{examples / taken[0]:>16,.0f}{examples / taken[1]:>14,.0f}{taken[0] / taken[1]:>13.2f}")


def row_view(name: str) -> FeatureView:
    sql = f"SELECT user_id, happened, a, b, c FROM {name}"
    return FeatureView(name=name, entity="user", sql=sql, event_time="happened", ttl_us=TTL)


def window_view(entity: str) -> FeatureView:
    return FeatureView(
        name="past",
        entity=entity,
        sql="SELECT * FROM first",
        event_time="happened",
        windows=("1d", "7d"),
        aggregates={"rows": "count(*)", "mean": "mean(b)"},
    )


def bind(connection: duckdb.DuckDBPyConnection, views: list[FeatureView]) -> FeatureSet:
    return build_feature_set(
        connection,
        name="benchmark",
        entities=ENTITIES,
        views=views,
        population="SELECT * FROM spine",
        prediction_time="asked_at",
        features=[view.name for view in views],
    )


def joined(connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet) -> pa.Table:
    return training_rows(connection, feature_set, "SELECT * FROM spine").to_arrow_table()


def table(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    return connection.sql(sql).to_arrow_table()


def bare_rows() -> str:
    """What one writes by hand for the same answer."""
    best = ", ".join(f"{field} DESC NULLS LAST" for field in FIELDS)
    steps = ["s AS MATERIALIZED (SELECT row_number() OVER () AS n, * FROM spine)"]
    columns, joins = ["s.*"], []
    for view in VIEWS:
        steps.append(
            f"{view}_ AS (SELECT * FROM {view} WHERE user_id IS NOT NULL AND happened IS NOT NULL "
            f"QUALIFY row_number() OVER (PARTITION BY user_id, happened ORDER BY {best}) = 1)"
        )
        fresh = f"{view}_.happened >= s.asked_at - INTERVAL {TTL} MICROSECOND"
        columns += [f"CASE WHEN {fresh} THEN {view}_.{field} END AS {view}__{field}" for field in FIELDS]
        joins.append(f"ASOF LEFT JOIN {view}_ ON s.user_id = {view}_.user_id AND s.asked_at >= {view}_.happened")
    return f"WITH {', '.join(steps)} SELECT {', '.join(columns)} FROM s {' '.join(joins)} ORDER BY n"


def bare_windows(key: str) -> str:
    """The usual hand-written way: a range join and a GROUP BY."""
    parts = ", ".join(
        f"count(*) FILTER (e.happened >= s.asked_at - INTERVAL {days} DAY) AS rows_{days}d, "
        f"avg(e.b) FILTER (e.happened >= s.asked_at - INTERVAL {days} DAY) AS mean_{days}d"
        for days in (1, 7)
    )
    return f"""WITH s AS MATERIALIZED (SELECT row_number() OVER () AS n, * FROM spine),
    w AS (SELECT n, {parts} FROM s LEFT JOIN first e ON s.{key} = e.{key} AND e.happened < s.asked_at
      AND e.happened >= s.asked_at - INTERVAL 7 DAY GROUP BY n)
    SELECT s.*, w.* EXCLUDE n FROM s JOIN w USING (n) ORDER BY n"""


def check(ours: pa.Table, bare: pa.Table) -> None:
    """Both must give the same rows, or the comparison means nothing."""
    assert ours.num_rows == bare.num_rows
    for name in set(ours.column_names) & set(bare.column_names):
        assert ours.column(name).null_count == bare.column(name).null_count, name


def medians(work: list[Callable[[], object]], rounds: int) -> list[float]:
    taken: list[list[float]] = [[] for _ in work]
    for _ in range(rounds):
        for place, one in enumerate(work):
            begun = time.perf_counter()
            one()
            taken[place].append(time.perf_counter() - begun)
    return [statistics.median(times) for times in taken]


if __name__ == "__main__":
    main()
