"""The closure and DuckDB say the same, for every function of the language."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bascule.errors import InputError
from bascule.features.expressions import Input, compile_expression, scalars

TYPES = {
    "i": "BIGINT",
    "j": "INTEGER",
    "x": "DOUBLE",
    "y": "FLOAT",
    "b": "BOOLEAN",
    "c": "BOOLEAN",
    "s": "VARCHAR",
    "t": "TIMESTAMP",
    "u": "TIMESTAMP WITH TIME ZONE",
    "d": "DATE",
    "view.n": "INTEGER",
}
COLUMNS = {name: name.replace(".", "__") for name in TYPES}
INPUTS = {name: Input(TYPES[name], n, f'"{COLUMNS[name]}"') for n, name in enumerate(TYPES)}
TEXTS = st.one_of(
    st.sampled_from(
        ["", "12", " 7 ", "1.5", "-2e3", ".5", "1.", "+4", "2013-02-28", "2013-02-30", "2013-01-01 05:00:00.5Z"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
)
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "BIGINT": st.one_of(st.integers(-20, 20), st.integers(-(2**63), 2**63 - 1)),
    "INTEGER": st.integers(-(2**31), 2**31 - 1),
    "DOUBLE": st.one_of(st.sampled_from([0.0, -0.0, 0.5, 1.5, 2.5, -2.5, 1e308, math.nan, math.inf]), st.floats()),
    "FLOAT": st.floats(width=32),
    "BOOLEAN": st.booleans(),
    "VARCHAR": TEXTS,
    "TIMESTAMP": MOMENTS,
    "TIMESTAMP WITH TIME ZONE": MOMENTS.map(lambda t: t.replace(tzinfo=UTC)),
    "DATE": MOMENTS.map(lambda t: t.date()),
}
ROWS = st.tuples(*(st.one_of(st.none(), VALUES[type_name]) for type_name in TYPES.values()))
INTEGERS = st.sampled_from(["i", "j", "view.n", "0", "2", "7", "-3"])
DOUBLES = st.sampled_from(["x", "y", "0.5", "1e3", "-2.0"])
BOOLEANS = st.sampled_from(["b", "c", "true", "false", "null"])
STRINGS = st.sampled_from(["s", "'ab'", "'12'", "'it''s {0}'"])
TIMES = st.sampled_from(["t", "u", "d", "timestamp '2013-03-01 00:00:00'"])


def two(operators: list[str], a: st.SearchStrategy[str], b: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(a, st.sampled_from(operators), b).map(lambda p: f"({p[0]} {p[1]} {p[2]})")


def call(names: list[str], *arguments: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(names), *arguments).map(lambda p: f"{p[0]}({', '.join(p[1:])})")


def integers(inner: Callable[[str], st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    parts = [
        "year",
        "quarter",
        "month",
        "week",
        "day",
        "dayofyear",
        "dow",
        "dayofweek",
        "isodow",
        "hour",
        "minute",
        "second",
    ]
    units = st.sampled_from(["'second'", "'minute'", "'hour'", "'day'", "'month'", "'year'"])
    return st.one_of(
        two(["+", "-", "*", "//", "%"], inner("integer"), inner("integer")),
        call(["abs", "-", "round", "floor", "ceil"], inner("integer")),
        call(["coalesce", "least", "greatest", "nullif"], inner("integer"), inner("integer")),
        call(["if"], inner("boolean"), inner("integer"), st.one_of(inner("integer"), st.just("null"))),
        call(parts, inner("time")),
        call(["date_diff"], units, inner("time"), inner("time")),
        call(["length"], inner("string")),
        st.tuples(st.sampled_from(["x", "y", "b", "s"])).map(lambda p: f"cast({p[0]} as bigint)"),
        inner("time").map(lambda t: f"extract(hour from {t}) + date_part('minute', {t})"),
    )


def doubles(inner: Callable[[str], st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    numbers = st.one_of(inner("integer"), inner("double"))
    return st.one_of(
        two(["+", "-", "*", "%"], inner("double"), numbers),
        two(["/", "**"], numbers, numbers),
        call(["ln", "log", "log2", "log10", "exp", "sqrt"], numbers),
        call(["abs", "-", "floor", "ceil", "round"], inner("double")),
        call(["log", "pow"], numbers, numbers),
        inner("double").map(lambda x: f"round({x}, 2)"),
        call(["coalesce", "least", "greatest", "nullif"], inner("double"), numbers),
        call(["epoch"], inner("time")),
        st.tuples(inner("boolean"), inner("double"), inner("integer")).map(
            lambda p: f"case when {p[0]} then {p[1]} when b then {p[2]} end"
        ),
        st.sampled_from(["i", "b", "s"]).map(lambda name: f"try_cast({name} as double)"),
    )


def booleans(inner: Callable[[str], st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    numbers = st.one_of(inner("integer"), inner("double"))
    comparisons = ["=", "<>", "<", "<=", ">", ">=", "is distinct from", "is not distinct from"]
    return st.one_of(
        two(comparisons, numbers, numbers),
        two(comparisons, inner("string"), inner("string")),
        two(comparisons, inner("time"), inner("time")),
        two(["and", "or"], inner("boolean"), inner("boolean")),
        inner("boolean").map(lambda b: f"(not {b})"),
        st.tuples(numbers, st.sampled_from(["is null", "is not null", "in (1, 2.5, null)", "not in (1, 7)"])).map(
            lambda p: f"({p[0]} {p[1]})"
        ),
        inner("boolean").map(lambda b: f"({b} is true or {b} is not false)"),
        st.tuples(numbers, numbers, numbers).map(lambda p: f"({p[0]} between {p[1]} and {p[2]})"),
        st.sampled_from(["cast(i as boolean)", "cast(x as boolean)", "case i when 1 then true when 2 then false end"]),
    )


def strings(inner: Callable[[str], st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    return st.one_of(
        call(["lower", "upper"], inner("string")),
        call(["concat"], inner("string"), inner("string"), st.just("null")),
        two(["||"], inner("string"), inner("string")),
        call(["coalesce", "least", "greatest"], inner("string"), inner("string")),
        st.sampled_from(["i", "x", "y", "b", "t", "u", "d"]).map(lambda name: f"cast({name} as varchar)"),
    )


BUILDERS = {"integer": integers, "double": doubles, "boolean": booleans, "string": strings}
LEAVES = {"integer": INTEGERS, "double": DOUBLES, "boolean": BOOLEANS, "string": STRINGS, "time": TIMES}


@functools.cache
def expressions(kind: str, depth: int) -> st.SearchStrategy[str]:
    if kind == "time":
        return st.one_of(TIMES, st.just("cast(s as timestamp)"), st.just("coalesce(t, d)"))
    if depth == 0:
        return LEAVES[kind]
    return st.one_of(LEAVES[kind], BUILDERS[kind](lambda k: expressions(k, depth - 1)))


EXPRESSIONS = st.one_of(*(expressions(kind, 3) for kind in BUILDERS))


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone='UTC'")
        yield connection


def by_engine(connection: duckdb.DuckDBPyConnection, sql: str, rows: list[tuple[Any, ...]]) -> tuple[str, list[Any]]:
    columns = ", ".join(f'CAST(${n + 1} AS {TYPES[name]}) AS "{COLUMNS[name]}"' for n, name in enumerate(TYPES))
    answers, type_name = [], ""
    for row in rows:
        found = connection.execute(f"SELECT {sql}, typeof({sql}) FROM (SELECT {columns})", row).fetchone()
        assert found is not None
        answers.append(found[0])
        type_name = found[1]
    return type_name, answers


def same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-12, abs_tol=0) or a == b
    return type(a) is type(b) and bool(a == b)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(EXPRESSIONS, st.lists(ROWS, min_size=1, max_size=4))
@example("round(x, 2)", [(None, None, 1.005, *([None] * 8))])
@example("i // j", [(-7, 2, *([None] * 9)), (-(2**63), -1, *([None] * 9))])
@example("i % j", [(-7, 2, *([None] * 9)), (-(2**63), -1, *([None] * 9))])
def test_the_closure_equals_duckdb(connection: Any, text: str, rows: list[tuple[Any, ...]]) -> None:
    try:
        expression = compile_expression(text, INPUTS, "here")
    except InputError as error:
        assert "always NULL" in str(error), (text, error)  # noqa: PT017
        return
    type_name, expected = by_engine(connection, expression.sql, rows)
    assert type_name == expression.type, text
    for row, value in zip(rows, expected, strict=True):
        found = expression.run(row)
        assert same(found, value), (text, row, found, value)


def run(text: str, **values: Any) -> Any:
    expression = compile_expression(text, INPUTS, "here")
    return expression.run([values.get(name.replace(".", "_")) for name in TYPES])


@pytest.mark.slow
def test_letters_change_case_as_in_duckdb(connection: duckdb.DuckDBPyConnection) -> None:
    letters = [chr(n) for n in range(1, 0x20000) if not 0xD800 <= n <= 0xDFFF]
    rows = connection.execute("SELECT upper(s), lower(s) FROM (SELECT unnest($1) AS s)", [letters]).fetchall()
    assert [(run("upper(s)", s=c), run("lower(s)", s=c)) for c in ("ß", "É", "İ")] == [
        ("ẞ", "ß"),
        ("É", "é"),
        ("İ", "i"),
    ]
    assert [(scalars.upper(c), scalars.lower(c)) for c in letters] == rows


def test_null_semantics() -> None:
    assert run("i + 1") is None
    assert run("b and false") is False
    assert run("b or true") is True
    assert run("b and true") is None
    assert run("i in (1, null)", i=2) is None
    assert run("i in (1, null)", i=1) is True
    assert run("concat('a', s, 'b')") == "ab"
    assert run("'a' || s") is None
    assert run("greatest(i, 3)") == 3


def test_division() -> None:
    assert run("7 / 2") == 3.5
    assert run("7 // 2") == 3
    assert run("-7 // 2") == -3
    assert run("i / 0", i=1) is None
    assert run("i % 0", i=1) is None


def test_dates() -> None:
    sunday = datetime(2013, 6, 30, 23, 59, 59)
    assert run("dow(t)", t=sunday) == 0
    assert run("isodow(t)", t=sunday) == 7
    assert run("date_diff('minute', t, timestamp '2013-07-01')", t=sunday) == 1
    assert run("hour(u)", u=datetime(2013, 6, 30, 5, tzinfo=UTC)) == 5
    assert run("year(d) - view.n", d=date(2013, 6, 30), view_n=1999) == 14


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("median(x)", "median"),
        ("random()", "rand"),
        ("now()", "now"),
        ("(select 1)", "SUBQUERY"),
        ("x[1]", "BRACKET"),
        ("?", "PLACEHOLDER"),
        ("flor(x)", "Did you mean 'floor'?"),
        ("missing + 1", "nothing named 'missing'"),
        ("n + 1", "Did you mean 'view.n'?"),
        ("viw.n", "Did you mean 'view.n'?"),
        ("s + 1", "do not go together"),
        ("t - t", "date_diff"),
        ("t > '2013-01-01'", "do not go together"),
        ("i; drop table x", "not one expression"),
        ("i,", "not an expression"),
        ("", "empty"),
        ("null", "always NULL"),
        ("cast(x as decimal(5, 2))", "CAST to DECIMAL"),
        ("date_diff('fortnight', t, t)", "fortnight"),
        ("round(x, i)", "digits"),
        ("99999999999999999999", "64-bit"),
        ("x as y", "ALIAS"),
    ],
)
def test_what_is_outside_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        compile_expression(text, INPUTS, "[features.request] expressions.it")
    assert says.lower() in f"{caught.value.message} {caught.value.hint}".lower()
    assert caught.value.message.startswith("[features.request] expressions.it")


def test_an_unsupported_function_is_named_with_what_is_supported() -> None:
    with pytest.raises(InputError) as caught:
        compile_expression("regexp_replace(s, 'a', 'b')", INPUTS, "here")
    assert "regexp_replace" in caught.value.message
    assert "coalesce" in caught.value.hint
