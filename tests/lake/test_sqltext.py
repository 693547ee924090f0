"""Telling NAME@REF apart from every other @ in SQL."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import InputError
from bascule.lake.sqltext import parse, with_refs_quoted


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("from flights@v1", 'from "flights@v1"'),
        ("from flights@v1.2;", 'from "flights@v1.2";'),
        ("from flights@main~3 f", 'from "flights@main~3" f'),
        ("from ops.flights@main,x", 'from "ops.flights@main",x'),
        ('from "ops"."my t"@"feat/x y"', 'from "ops.my t@feat/x y"'),
        ("from t@'feat/x'", 'from "t@feat/x"'),
        ("(from t@feat/a-b)", '(from "t@feat/a-b")'),
        ("from t@main@2026-03-01T00:00Z)", 'from "t@main@2026-03-01T00:00Z")'),
        ("from t@main@2026-03-01T00:00:00+02:00 x", 'from "t@main@2026-03-01T00:00:00+02:00" x'),
        ("from t@v1--note", 'from "t@v1"--note'),
        ("from t@v1/*note*/", 'from "t@v1"/*note*/'),
        ("from t@3f9ab2c1\njoin u@v1", 'from "t@3f9ab2c1"\njoin "u@v1"'),
        ("select at, a.at, max(at) from t", 'select "at", a."at", max("at") from t'),
        ("select x at time zone 'UTC', y AT  TIME ZONE z", "select x at time zone 'UTC', y AT  TIME ZONE z"),
    ],
)
def test_a_ref_becomes_part_of_the_name(written: str, meant: str) -> None:
    assert with_refs_quoted(written) == meant


@pytest.mark.parametrize(
    "text",
    [
        "select 'a@b', \"c@d\"",
        "select 'it''s a@b'",
        "select E'it\\'s a@b'",
        "select $$ a@b $$, $x$ a@b $x$",
        "select 1 -- a@b",
        "select 1 /* a@b */",
        "select @x, @ y, a @> b, a@>b, 1@x",
        "select a from t where x = @y",
    ],
)
def test_any_other_at_stays(text: str) -> None:
    assert with_refs_quoted(text) == text


@given(st.text(alphabet="ab.'\"$@ -/*\n;E\\1(", max_size=30))
def test_no_text_breaks_it(text: str) -> None:
    once = with_refs_quoted(text)
    if "@" not in text:
        assert once == text


@given(st.text(alphabet="a'\"$@ -/*\n", max_size=12).filter(lambda s: "\x00" not in s))
def test_what_stands_in_a_string_stays(inner: str) -> None:
    literal = "'" + inner.replace("'", "''") + "'"
    assert with_refs_quoted(f"select {literal}") == f"select {literal}"


def test_tables_are_found_wherever_they_stand() -> None:
    with duckdb.connect() as connection:
        statement = parse(
            connection,
            "with w as (select * from a) select (select max(x) from b.c), * from w join d@v1 using (k) "
            "where exists (from e) union all select * from (values (1)) v",
        )
    assert {t.text for t in statement.tables} == {"a", "b.c", "w", "d@v1", "e"}
    assert statement.defined == {"w"}


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("", "holds nothing"),
        ("select 1; select 2", "holds 2 statements"),
        ("drop table t", "something else than read"),
        ("insert into t values (1)", "something else than read"),
        ("copy t to 'x.csv'", "something else than read"),
        ("attach 'x.db'", "something else than read"),
        ("set threads = 1", "something else than read"),
        ("create table x as select 1", "something else than read"),
        ("explain drop table t", "something else than read"),
        ("selec 1", "syntax error"),
        ("select * from read_csv('/etc/passwd')", "read_csv"),
        ("select (select a from read_text('/etc/passwd'))", "read_text"),
        ("with x as (from glob('*')) from x", "glob"),
        ("from query('drop table t')", "query"),
        ("from duckdb_settings()", "duckdb_settings"),
    ],
)
def test_what_does_not_only_read_tables_is_refused(query: str, what: str) -> None:
    with duckdb.connect() as connection, pytest.raises(InputError, match=what):
        parse(connection, query)
