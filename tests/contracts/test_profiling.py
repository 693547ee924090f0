from __future__ import annotations

import math

import duckdb
import msgspec
import pytest

from bascule.contracts import Profile, profile
from bascule.errors import InputError

ROWS = """(SELECT * FROM (VALUES
    (1, 1.5, 'a', true, TIMESTAMP '2013-01-01 10:00', [1]),
    (2, 'nan'::DOUBLE, 'bb', false, NULL, NULL),
    (2, 'inf'::DOUBLE, NULL, true, TIMESTAMP '2013-01-03 10:00', [1, 2]),
    (NULL, NULL, 'a', NULL, NULL, [])) AS v(i, x, s, b, t, l))"""


def test_every_kind_of_column(connection: duckdb.DuckDBPyConnection) -> None:
    found = profile(connection, ROWS)
    assert found.rows == 4
    assert [(column.name, column.family, column.missing, column.distinct) for column in found.columns] == [
        ("i", "integer", 1, 2),
        ("x", "number", 2, 1),
        ("s", "string", 1, 2),
        ("b", "boolean", 1, 2),
        ("t", "timestamp", 2, 2),
        ("l", "array", 1, None),
    ]
    i, x, s, _, t, _ = found.columns
    assert (i.minimum, i.maximum, i.mean, i.top) == (1, 2, pytest.approx(5 / 3), (("2", 2), ("1", 1)))
    assert i.std == pytest.approx(math.sqrt(1 / 3))
    assert (x.infinite, x.minimum, x.maximum, x.mean, x.std) == (1, 1.5, 1.5, 1.5, None)
    assert (s.shortest, s.longest, s.minimum, s.maximum, s.top) == (1, 2, "a", "bb", (("a", 2), ("bb", 1)))
    assert (t.minimum, t.maximum) == ("2013-01-01 10:00:00", "2013-01-03 10:00:00")
    assert found.missing_share("x") == 0.5


def test_quantiles_are_near_the_true_ones(connection: duckdb.DuckDBPyConnection) -> None:
    column = profile(connection, "(SELECT range AS x FROM range(100001))").column("x")
    assert column is not None
    assert column.quantile(0.05) == pytest.approx(5_000, rel=0.02)
    assert column.quantile(0.5) == pytest.approx(50_000, rel=0.01)
    assert column.distinct == pytest.approx(100_001, rel=0.1)
    assert column.top == ()


def test_an_empty_relation_has_a_profile(connection: duckdb.DuckDBPyConnection) -> None:
    found = profile(connection, f"(SELECT * FROM {ROWS} WHERE false)")
    assert found.rows == 0
    assert {column.missing for column in found.columns} == {0}
    assert found.missing_share("i") == 0


def test_wide_relations_are_profiled_in_parts(connection: duckdb.DuckDBPyConnection) -> None:
    columns = ", ".join(f"range + {i} AS c{i}" for i in range(150))
    found = profile(connection, f"(SELECT {columns} FROM range(10))", top=0)
    assert [column.minimum for column in found.columns] == list(range(150))
    assert {column.top for column in found.columns} == {()}


def test_a_profile_is_json(connection: duckdb.DuckDBPyConnection) -> None:
    found = profile(connection, ROWS)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Profile) == found


def test_odd_names_and_types(connection: duckdb.DuckDBPyConnection) -> None:
    rows = """(SELECT 1 AS "a b", uuid() AS "u""v", '1'::BLOB AS g, NULL AS n, '{}'::JSON AS j, 1::DECIMAL(9, 2) AS d,
        1::HUGEINT AS h, INTERVAL 1 DAY AS y, {'k': 1} AS r, TIME '10:00' AS o, DATE '2013-01-01' AS e)"""
    found = profile(connection, rows)
    assert [column.missing for column in found.columns] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert [column.family for column in found.columns][2:4] == ["binary", "empty"]


def test_what_cannot_be_read_is_told(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        profile(connection, "nothing_here")
