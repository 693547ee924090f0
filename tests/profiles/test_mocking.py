"""Rows that are made up."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from bascule.errors import InputError
from bascule.profiles import Source, TableProfile, measure, mock_rows
from bascule.profiles.mocking import Reference
from bascule.profiles.source import draw

NOW = datetime(2026, 6, 1, tzinfo=UTC)
QUERY = """
    select i as id, 'C-' || lpad((i % 40)::text, 4, '0') as code, if(i % 5 = 0, null, exp(x)) as amount,
        (['red', 'green', 'blue'])[1 + (i % 10 >= 5)::int + (i % 10 = 9)::int] as color,
        x > 0.6 as late, 3 * x + 1 as twin,
        make_timestamp(2026, 1, 1, 0, 0, 0) + to_hours((i % 720)::int) as at, round(100 * x, 2)::decimal(9, 2) as price,
        make_date(2026, 1, 1) + (i % 90)::int as day, 'person' || i || '@secret.example' as email, [i] as tags
    from (select i, (hash(i) % 10000) / 10000.0 as x from range(4000) r(i))
"""


@pytest.fixture(scope="module")
def real() -> tuple[TableProfile, pa.Schema]:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"create table t as {QUERY}")
        source = Source("t", "t", 4_000, "t", "rowid").of(connection)
        found = measure(connection, source, draw(connection, source), now=NOW)
        return found, connection.sql("select * from t limit 0").to_arrow_table().schema


def test_types_nulls_distributions_and_categories(real: tuple[TableProfile, pa.Schema]) -> None:
    found, schema = real
    made = mock_rows(found, schema, 5_000, 1, key=["id"])
    assert made.schema == schema
    rows = {name: made.column(name).to_pylist() for name in made.column_names}
    assert sum(one is None for one in rows["amount"]) / 5_000 == pytest.approx(0.2, abs=0.03)
    amounts = np.array([one for one in rows["amount"] if one is not None])
    assert 1 <= amounts.min() <= amounts.max() <= math.e
    assert np.median(amounts) == pytest.approx(math.exp(0.5), rel=0.05)
    assert {one: rows["color"].count(one) / 5_000 for one in ("red", "green", "blue")} == {
        "red": pytest.approx(0.5, abs=0.03),
        "green": pytest.approx(0.4, abs=0.03),
        "blue": pytest.approx(0.1, abs=0.02),
    }
    assert sum(rows["late"]) / 5_000 == pytest.approx(0.4, abs=0.03)
    assert all(datetime(2026, 1, 1) <= one <= datetime(2026, 1, 31) for one in rows["at"])
    assert all(one.year == 2026 for one in rows["day"])
    price, twin = np.array(rows["price"], dtype=float), np.array(rows["twin"])
    assert np.corrcoef(price, twin)[0, 1] > 0.95  # they go together in the real table


def test_keys_are_unique_and_the_seed_decides(real: tuple[TableProfile, pa.Schema]) -> None:
    found, schema = real
    made = mock_rows(found, schema, 3_000, 7, key=["id"])
    assert len(set(made.column("id").to_pylist())) == 3_000
    assert made.equals(mock_rows(found, schema, 3_000, 7, key=["id"]))
    assert not made.equals(mock_rows(found, schema, 3_000, 8, key=["id"]))
    both = mock_rows(found, schema, 2_000, 7, key=["code", "day"])
    assert len({(row["code"], row["day"]) for row in both.select(["code", "day"]).to_pylist()}) == 2_000
    with pytest.raises(InputError, match="cannot all be told apart by color, late"):
        mock_rows(found, schema, 100, 7, key=["color", "late"])


def test_no_private_value_is_copied(real: tuple[TableProfile, pa.Schema]) -> None:
    found, schema = real
    made = mock_rows(found, schema, 2_000, 1, private=["code"])
    assert not any("secret" in one for one in made.column("email").to_pylist())
    assert all("@" in one for one in made.column("email").to_pylist())
    real_codes = {f"C-{k:04d}" for k in range(40)}
    assert len(real_codes & set(made.column("code").to_pylist())) < 40  # by chance a few are written alike
    assert len(set(made.column("code").to_pylist())) > 100


def test_texts_that_few_rows_share_are_not_copied() -> None:
    with duckdb.connect() as connection:
        connection.execute(
            "create table t as select 'rare ' || i as word from range(400) r(i) "
            "union all select 'often' from range(600)"
        )
        source = Source("t", "t", 1_000, "t", "rowid").of(connection)
        found = measure(connection, source, draw(connection, source), now=NOW)
        schema = connection.sql("select * from t limit 0").to_arrow_table().schema
    words = mock_rows(found, schema, 1_000, 1).column("word").to_pylist()
    assert words.count("often") == pytest.approx(600, abs=60)
    assert len({one for one in words if one.startswith("rare ")}) < 40


def test_references_are_valid(real: tuple[TableProfile, pa.Schema]) -> None:
    found, schema = real
    codes = Reference(("code",), (["X1", "X2", "C-0003"],))
    made = mock_rows(found, schema, 500, 1, key=["id"], references=[codes])
    assert set(made.column("code").to_pylist()) <= {"X1", "X2", "C-0003"}
    with pytest.raises(InputError, match="only 3 rows can be referred to"):
        mock_rows(found, schema, 500, 1, key=["code"], references=[codes])
    alone = mock_rows(found, schema, 3, 1, key=["code"], references=[codes])
    assert sorted(alone.column("code").to_pylist()) == ["C-0003", "X1", "X2"]
    with pytest.raises(InputError, match="a table without rows"):
        mock_rows(found, schema, 5, 1, references=[Reference(("code",), ([],))])


def test_the_ends_of_what_types_hold() -> None:
    query = """
        select * from (values (1.7e308::double, 9223372036854775807, date '12000-01-01'),
            (-1.7e308, -5, date 'infinity'),
            ('nan', 7, '-infinity'), ('inf', 8, '2020-01-01')) t(x, n, day)"""
    with duckdb.connect() as connection:
        connection.execute(f"create table t as {query}")
        source = Source("t", "t", 4, "t", "rowid").of(connection)
        found = measure(connection, source, draw(connection, source), now=NOW)
        made = mock_rows(found, connection.sql("from t limit 0").to_arrow_table().schema, 50, 1)
    assert {value for value in made["x"].to_pylist() if value is not None} <= {1.7e308, -1.7e308}
    assert set(made["n"].to_pylist()) <= {9223372036854775807, -5, 7, 8}
    assert all(1 <= value.year <= 9999 for value in made["day"].to_pylist() if value is not None)


def test_one_row(real: tuple[TableProfile, pa.Schema]) -> None:
    found, schema = real
    assert mock_rows(found, schema, 1, 0, key=["id"]).num_rows == 1
