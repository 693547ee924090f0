"""Files that a WHERE excludes are not opened; what comes out is what would come out if all were."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from bascule.history import Workspace
from bascule.lake import Lake, Session, session
from bascule.lake.iceberg import scans

FILES, ROWS = 12, 5
Read = Callable[..., tuple[list[dict[str, Any]], int]]


def part(number: int) -> pa.Table:
    """Rows whose values grow from file to file, with nulls, NaN and text that is cut in bounds."""
    ids = list(range(number * ROWS, number * ROWS + ROWS))
    day = dt.datetime(2024, 3, 1, tzinfo=dt.UTC) + dt.timedelta(days=number)
    return pa.table(
        {
            "id": pa.array([*ids[:-1], None], pa.int64()),
            "small": pa.array(ids, pa.int32()),
            "s": [f"a long text to be cut {n:03d}" if n % 2 else f"{n:03d}" for n in ids],
            "x": [float("nan") if n % 5 == 2 else float(n) for n in ids],
            "d": pa.array([day.date()] * ROWS),
            "at": pa.array([day + dt.timedelta(hours=n) for n in range(ROWS)], pa.timestamp("us", "UTC")),
            "ts": pa.array([(day + dt.timedelta(hours=n)).replace(tzinfo=None) for n in range(ROWS)]),
        }
    )


@pytest.fixture
def read(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Runs a query twice: told which files are needed, and not; gives the rows, and how many files were named."""
    named: list[int] = []
    scan = scans.scan

    def counted(table: Any, *, only: Any, **more: Any) -> str:
        named.append(len(only))
        return scan(table, only=only, **more)

    monkeypatch.setattr(session.scans, "scan", counted)

    def run(query: str, params: Any = None) -> tuple[list[dict[str, Any]], int]:
        found = []
        for few in (10**6, 1):
            monkeypatch.setattr(session, "FEW_FILES", few)
            with Session(lake.workspace) as opened:
                rows = opened.arrow(query, params).to_pylist()
            found.append(sorted(rows, key=repr))
        assert repr(found[0]) == repr(found[1])
        return found[1], named[-1]

    return run


@pytest.fixture(
    params=[(), ("bucket(4, small)", "day(at)"), ("truncate(3, s)", "d")], ids=["plain", "by day", "by text"]
)
def table(lake: Lake, request: pytest.FixtureRequest) -> None:
    value = lake.stage_create("t", part(0).schema, partition_by=list(request.param))
    for number in range(FILES):
        value = lake.stage_append(value, part(number), name="t")
    value = lake.stage_delete(value, "small = 17")
    lake.workspace.history.commit("main", {"tables/t": value}, message="Fill")


SURE = [
    ("id = 7", None),
    ("7 = id AND s <> 'x'", None),
    ("id BETWEEN 12 AND 13", None),
    ("id > 57 AND small < 100", None),
    ("56 < id AND t.id <= 58", None),
    ("small = 99999999999", None),
    ("small = -1", None),
    ("id = ?", [31]),
    ("id = $2 AND s >= $1", ["0", 31]),
    ("id = $number", {"number": 31}),
    ("d = '2024-03-05'", None),
    ("d < DATE '2024-03-02'", None),
    ("at >= '2024-03-12 02:00:00'", None),
    ("at < TIMESTAMPTZ '2024-03-01 03:00'", None),
    ("ts = TIMESTAMP '2024-03-05 01:00:00'", None),
    ("ts = CAST('2024-03-05' AS DATE)", None),
]
NOT_SURE = [
    "SELECT * FROM t WHERE x > 50",
    "SELECT * FROM t WHERE NOT id = 7",
    "SELECT * FROM t WHERE id IS NULL",
    "SELECT * FROM t WHERE id = 7 OR id IS NULL",
    "SELECT * FROM t WHERE id::VARCHAR = '7'",
    "SELECT * FROM t WHERE id = 7.0",
    "SELECT * FROM t WHERE id = '7'",
    "SELECT count(*) AS n FROM t HAVING n = 7",
    "SELECT id + 50 AS y FROM t WHERE y = 57",
    "SELECT * FROM t AS a(b, c) WHERE b = 7",
    "SELECT * FROM t JOIN t AS u ON t.id = u.id WHERE t.id = 7",
    "SELECT * FROM t WHERE id = 7 AND (SELECT count(*) FROM t) = 59",
    "SELECT * FROM t WHERE id = 7 UNION ALL SELECT * FROM t WHERE id = 8",
    "WITH u AS (SELECT * FROM t WHERE id > 3) SELECT * FROM u WHERE id = 7",
    "SELECT count(*) AS n FROM (SELECT * FROM t) AS u WHERE id = 7",
    "SELECT count(*) AS n FROM t TABLESAMPLE 100 PERCENT WHERE id = 7",
]
UNSURE = [
    ("ID BETWEEN 12 AND 13 OR false", None),
    ("s = '004'", None),
    ("s > 'a long text to be cut 05'", None),
    ("d = TIMESTAMP '2024-03-05 00:00'", None),
    ("ts = CAST('2024-03-05 01:00:00' AS DATE)", None),
    ("x > 50", None),
    ("id IS NULL", None),
]


@pytest.mark.slow
def test_rows_are_the_same_and_files_fewer(table: None, read: Read) -> None:
    whole = read("SELECT * FROM t")[1]
    for where, params in SURE:
        rows, named = read(f"SELECT * FROM t WHERE {where}", params)
        assert bool(rows) != where.startswith("small = "), where
        assert named < whole / 2, where
    for where, params in UNSURE:
        assert read(f"SELECT * FROM t WHERE {where}", params)[0], where


@pytest.mark.slow
def test_what_is_not_sure_narrows_nothing(table: None, read: Read) -> None:
    whole = read("SELECT * FROM t")[1]
    for query in NOT_SURE:
        assert read(query)[1] == whole, query


@pytest.mark.slow
def test_one_session_asks_one_thing_after_the_other(table: None, lake: Lake) -> None:
    with Session(lake.workspace) as opened:
        for query, wanted in [
            ("id = 7", 1),
            ("id = 8", 1),
            ("true", 59),
            ("id = 7", 1),
            ("id < 0", 0),
            ("id >= 0", 47),
        ]:
            for name in ("t", "t@main", "T"):
                assert opened.arrow(f"SELECT count(*) AS n FROM {name} WHERE {query}")["n"].to_pylist() == [wanted]


def test_nan_is_greater_than_every_number(local_workspace: Workspace) -> None:
    lake = Lake(local_workspace)
    nan = float("nan")
    rows = {"x": [1.0, nan, -0.0], "f": pa.array([nan, 1.0, None], pa.float32()), "s": [{"y": nan}, {"y": 2.0}, None]}
    lake.append("t", pa.table(rows))
    for number in range(12):
        more = {"x": [float(number)], "f": pa.array([1.0], pa.float32()), "s": [{"y": 1.0}]}
        lake.append("t", pa.table(more))
    wanted = {"x > 50": 1, "x >= 11": 2, "x = 0": 2, "x < 1": 2, "f > 1.5": 1, "f <= 1": 13, "s.y > 50": 1, "x > 1": 11}
    with Session(local_workspace) as session:
        found = {text: session.arrow(f"select count(*) n from t where {text}")["n"][0].as_py() for text in wanted}
    assert found == wanted
    record = lake.files(local_workspace.history.get("main", "tables/t"))[0].record
    assert {one["key"]: one["value"] for one in record["nan_value_counts"]} == {1: 1, 2: 1}
    assert {one["key"]: one["value"] for one in record["null_value_counts"]}[2] == 1
