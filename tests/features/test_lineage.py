"""Which columns of tables make the columns of a query, and which choose its rows."""

from __future__ import annotations

import pytest

from bascule.features.lineage import influence, parts_of_query

TABLES = {"t": {"a": "", "B": "", "c": "", "k": ""}, "u": {"k": "", "x": "", "y": ""}}


def columns(name: str) -> dict[str, str]:
    return TABLES.get(name, {})


@pytest.mark.parametrize(
    ("sql", "made", "rows"),
    [
        ("select a + b as s, c from t where k > 1", {"s": "t.a t.B", "c": "t.c"}, "t.k"),
        ("select * from t", {"a": "t.a", "b": "t.B", "c": "t.c", "k": "t.k"}, ""),
        ("with w as (select a as z, k from t where c) select z, x from w join u on w.k = u.k",
         {"z": "t.a", "x": "u.x"}, "t.c t.k u.k"),
        ("select a as one, one * 2 as two from t", {"one": "t.a", "two": "t.a"}, ""),
        ("select sum(a) over (partition by k order by b) as s from t", {"s": "t.a t.k t.B"}, ""),
        ("select k, max(x) as m from u group by k having min(y) > 0", {"k": "u.k", "m": "u.x"}, "u.k u.y"),
        ("select a as v from t union all select y from u", {"v": "t.a u.y"}, ""),
        ("select a from t where k in (select k from u where x > 0)", {"a": "t.a"}, "t.k u.k u.x"),
        ("select q.* from (select a, c from t) q order by c limit 3", {"a": "t.a", "c": "t.c"}, "t.c"),
    ],
)  # fmt: skip
def test_what_makes_a_query(sql: str, made: dict[str, str], rows: str) -> None:
    found = influence(sql, columns)
    assert found is not None
    shown = {name: {f"{t}.{c}" for t, c in sources} for name, sources in found.outputs.items()}
    assert shown == {name: set(sources.split()) for name, sources in made.items()}
    assert {f"{t}.{c}" for t, c in found.rows} == set(rows.split())


def test_sql_that_is_not_understood() -> None:
    assert influence("select from from", columns) is None
    assert parts_of_query("select from from", "a") is None


def test_the_same_column_of_the_same_query() -> None:
    assert parts_of_query("SELECT A + b AS one FROM T", "one") == parts_of_query("select a+b as two from t", "two")
    assert parts_of_query("select a as x from t", "x") != parts_of_query("select a as x from t where a > 0", "x")


def test_a_query_that_only_passes_a_column_on_is_the_query_that_it_reads() -> None:
    landed = (
        'WITH "features.landed" AS (select k, x > 1 as late from t where y) '
        'SELECT * FROM (select {} from "features.landed")'
    )
    plain = parts_of_query("select k, x > 1 as late from t where y", "late")
    assert plain is not None
    assert parts_of_query(landed.format("k, late"), "late") == plain
    assert parts_of_query(landed.format("late as l, k"), "l") == plain
    assert parts_of_query(landed.format("*"), "late") == plain
    assert parts_of_query(landed.format("not late as late"), "late") != plain
    assert parts_of_query(landed.format("distinct late"), "late") != plain
    assert parts_of_query(landed.format("late, unnest([1, 2]) as n"), "late") != plain
    assert parts_of_query(landed.format("* exclude (late), k as late"), "late") != plain
    assert parts_of_query(landed.format("late") + " where late", "late") != plain
    assert parts_of_query("select b from (select x as a, y as b from t) as s(b, a)", "b") is not None
    swapped = parts_of_query("select b from (select x as a, y as b from t) as s(b, a)", "b")
    assert swapped != parts_of_query("select b from (select x as a, y as b from t) as s", "b")
    two = "WITH a AS (select k, x from {}), b AS (select k, x from a where x > 0) SELECT k, x FROM b"
    assert parts_of_query(two.format("t"), "x") != parts_of_query(two.format("u"), "x")
