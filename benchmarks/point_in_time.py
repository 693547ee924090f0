"""Point-in-time joins beside the bare engine, on the same examples and events, in turns.

    python benchmarks/point_in_time.py [--examples 1000000] [--events 5000000] [--rounds 3]

The limit is DuckDB's bare `ASOF JOIN` of each view, which settles no ties, keeps no order and knows no time to live. By
hand is the SQL that one writes for the same answer: deduplicated, masked, in the order of the examples; "ASOF, dedup" is
the least of it, which settles ties alone. A window by hand
is a range join, whose cost grows with the events of a key; so windows are compared on a tenth of the events, with
few for each key and with many. Medians; processor seconds, because the machine may be busy. Feast takes part when it is
installed in this environment. Not a test: nothing here asserts a time.
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
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=5_000_000, help="of each of three views")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone='UTC'")
        fill(connection, "", chosen.examples, chosen.events)
        fill(connection, "few_", chosen.examples // 10, chosen.events // 10)
        print(f"{chosen.examples:,} examples, {chosen.events:,} events in each of three views, {KEYS:,} keys\n")
        compare(connection, chosen.examples, chosen.rounds)
    if importlib.util.find_spec("feast") is None:
        print("\nfeast: not installed in this environment, left out")


def fill(connection: duckdb.DuckDBPyConnection, prefix: str, examples: int, events: int) -> None:
    at = f"make_timestamp(CAST(1.7e15 + hash(i * {{}} + {{}}) % ({DAYS} * 86400000000) AS BIGINT))"
    keys = (
        f"CAST(hash(i * {{0}}) % {KEYS} AS BIGINT) AS user_id, CAST(hash(i * {{0}}) % {CROWDS} AS BIGINT) AS crowd_id"
    )
    connection.execute(
        f"CREATE TABLE {prefix}spine AS SELECT {keys.format(1)}, {at.format(7, 1)} AS asked_at, "
        f"i % 2 AS label, random() AS amount FROM range({examples}) r(i)"
    )
    for place, view in enumerate(VIEWS):
        connection.execute(
            f"CREATE TABLE {prefix}{view} AS SELECT {keys.format(3 + place)}, {at.format(13, place)} AS happened, "
            f"random() AS a, CAST(hash(i) % 100 AS INTEGER) AS b, random() AS c FROM range({events}) r(i)"
        )


def compare(connection: duckdb.DuckDBPyConnection, examples: int, rounds: int) -> None:
    rows = bind(connection, [row_view(name) for name in VIEWS], "spine")
    few, many = (bind(connection, [window_view(entity)], "few_spine") for entity in ("user", "crowd"))
    work: dict[str, tuple[int, dict[str, Callable[[], pa.Table]]]] = {
        "three views, time to live": (
            examples,
            {
                "Bascule": lambda: joined(connection, rows, "spine"),
                "by hand": lambda: table(connection, by_hand()),
                "ASOF, dedup": lambda: table(connection, deduplicated()),
                "ASOF alone": lambda: table(connection, asof_alone()),
            },
        ),
        "windows 1d, 7d; few events a key": (
            examples // 10,
            {
                "Bascule": lambda: joined(connection, few, "few_spine"),
                "by hand": lambda: table(connection, windows_by_hand("user_id")),
            },
        ),
        "windows 1d, 7d; many events a key": (
            examples // 10,
            {
                "Bascule": lambda: joined(connection, many, "few_spine"),
                "by hand": lambda: table(connection, windows_by_hand("crowd_id")),
            },
        ),
    }
    print(f"{'work':<36}{'who':<12}{'rows/s':>12}{'Bascule takes':>15}")
    for name, (count, ways) in work.items():
        check(ways["Bascule"](), ways["by hand"]())
        taken = dict(zip(ways, medians(list(ways.values()), rounds), strict=True))
        for who, seconds in taken.items():
            ratio = "" if who == "Bascule" else f"{taken['Bascule'] / seconds:>13.2f} x"
            print(f"{name:<36}{who:<12}{count / seconds:>12,.0f}{ratio}")


def row_view(name: str) -> FeatureView:
    sql = f"SELECT user_id, happened, a, b, c FROM {name}"
    return FeatureView(name=name, entity="user", sql=sql, event_time="happened", ttl_us=TTL)


def window_view(entity: str) -> FeatureView:
    return FeatureView(
        name="past",
        entity=entity,
        sql="SELECT * FROM few_first",
        event_time="happened",
        windows=("1d", "7d"),
        aggregates={"rows": "count(*)", "mean": "mean(b)"},
    )


def bind(connection: duckdb.DuckDBPyConnection, views: list[FeatureView], spine: str) -> FeatureSet:
    return build_feature_set(
        connection,
        name="benchmark",
        entities=ENTITIES,
        views=views,
        population=f"SELECT * FROM {spine}",
        prediction_time="asked_at",
        features=[view.name for view in views],
    )


def joined(connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet, spine: str) -> pa.Table:
    return training_rows(connection, feature_set, f"SELECT * FROM {spine}").to_arrow_table()


def table(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    return connection.sql(sql).to_arrow_table()


def asof_alone() -> str:
    """The engine's join and nothing else."""
    columns = ", ".join(f"{view}.{field} AS {view}__{field}" for view in VIEWS for field in FIELDS)
    joins = " ".join(
        f"ASOF LEFT JOIN {view} ON s.user_id = {view}.user_id AND s.asked_at >= {view}.happened" for view in VIEWS
    )
    return f"SELECT s.*, {columns} FROM spine s {joins}"


def deduplicated() -> str:
    """The least that one writes by hand for one row an example: ties settled, but no time to live and no order."""
    best = ", ".join(f"{field} DESC NULLS LAST" for field in FIELDS)
    steps, joins = [], []
    for view in VIEWS:
        steps.append(
            f"{view}_ AS (SELECT * FROM {view} "
            f"QUALIFY row_number() OVER (PARTITION BY user_id, happened ORDER BY {best}) = 1)"
        )
        joins.append(f"ASOF LEFT JOIN {view}_ ON s.user_id = {view}_.user_id AND s.asked_at >= {view}_.happened")
    columns = ", ".join(f"{view}_.{field} AS {view}__{field}" for view in VIEWS for field in FIELDS)
    return f"WITH {', '.join(steps)} SELECT s.*, {columns} FROM spine s {' '.join(joins)}"


def by_hand() -> str:
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


def windows_by_hand(key: str) -> str:
    """The usual hand-written way: a range join and a GROUP BY."""
    parts = ", ".join(
        f"count(*) FILTER (e.happened >= s.asked_at - INTERVAL {days} DAY) AS rows_{days}d, "
        f"avg(e.b) FILTER (e.happened >= s.asked_at - INTERVAL {days} DAY) AS mean_{days}d"
        for days in (1, 7)
    )
    return f"""WITH s AS MATERIALIZED (SELECT row_number() OVER () AS n, * FROM few_spine),
    w AS (SELECT n, {parts} FROM s LEFT JOIN few_first e ON s.{key} = e.{key} AND e.happened < s.asked_at
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
            begun = time.process_time()
            one()
            taken[place].append(time.process_time() - begun)
    return [statistics.median(times) for times in taken]


if __name__ == "__main__":
    main()
