"""A table's profile against what a plain look at the same rows says."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.errors import InputError
from bascule.profiles import Source, TableProfile, measure
from bascule.profiles.measuring import limit
from bascule.profiles.source import SAMPLE_TABLE, draw

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        made.execute("set TimeZone = 'UTC'")
        yield made


def profiled(connection: duckdb.DuckDBPyConnection, table: Any, **told: Any) -> TableProfile:
    if isinstance(table, pa.Table):
        connection.register("given", table)
        table = "given"
    rows = connection.execute(f"select count(*) from {table}").fetchall()[0][0]
    source = Source("things", table, rows).of(connection)
    return measure(connection, source, draw(connection, source, told.pop("sample", 100_000)), now=NOW, **told)


def column(found: TableProfile, name: str) -> Any:
    one = found.column(name)
    assert one is not None
    return one


CELLS = st.one_of(
    st.none(), st.integers(-50, 50).map(float), st.sampled_from([math.nan, math.inf, -math.inf, 0.5, 1e300])
)
TEXTS = st.one_of(st.none(), st.sampled_from(["a", "A", " a", "", "b", "ccc"]))


@pytest.mark.slow
@given(st.lists(st.tuples(CELLS, TEXTS), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_figures_are_those_of_a_naive_look(rows: list[tuple[float | None, str | None]]) -> None:
    values, texts = [row[0] for row in rows], [row[1] for row in rows]
    with duckdb.connect() as connection:
        found = profiled(connection, pa.table({"x": pa.array(values, pa.float64()), "t": pa.array(texts, pa.string())}))
    finite = [one for one in values if one is not None and math.isfinite(one)]
    x, t = column(found, "x"), column(found, "t")
    assert x.missing == sum(one is None or math.isnan(one) for one in values)
    assert x.numbers.infinite == sum(one is not None and math.isinf(one) for one in values)
    assert x.numbers.zeros == finite.count(0.0)
    assert x.numbers.negatives == sum(one < 0 for one in finite)
    if finite:
        assert (x.numbers.minimum, x.numbers.maximum) == (min(finite), max(finite))
        assert x.numbers.mean == pytest.approx(statistics.fmean(finite))
        assert dict(x.numbers.quantiles)[0.5] == pytest.approx(statistics.median(finite))
        assert x.histogram is None or sum(one.rows for one in x.histogram.bins) == len(finite)
    known = [one for one in texts if one is not None]
    assert (t.missing, t.distinct, t.distinct_exact) == (texts.count(None), len(set(known)), True)
    if known:
        assert {one.value: one.rows for one in t.top} == dict(Counter(known))
        assert t.texts.empty == known.count("")
        assert t.texts.padded == known.count(" a")
    assert found.missing.cells == x.missing + t.missing
    # DuckDB takes all that is no number for the same, and so does a reader.
    keys = Counter(("nan" if one is not None and math.isnan(one) else one, text) for one, text in rows)
    assert found.duplicates is not None
    assert found.duplicates.copies == len(rows) - len(keys)


@pytest.mark.slow
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300))
@settings(max_examples=60, deadline=None)
def test_a_histogram_holds_every_value_in_its_bin(values: list[float]) -> None:
    with duckdb.connect() as connection:
        found = column(profiled(connection, pa.table({"x": values})), "x")
    for one in found.histogram.bins if found.histogram else ():
        low = -math.inf if one.low is None else one.low
        high = math.inf if one.high is None else one.high
        assert one.rows == sum(low < value <= high for value in values)


def test_numbers_as_far_apart_as_doubles_can_be(connection: duckdb.DuckDBPyConnection) -> None:
    values = [-1.7e308, -1e308, 0.0, 1.0, 1e308, 1.7e308]
    one = column(profiled(connection, pa.table({"x": values})), "x")
    assert sum(each.rows for each in one.histogram.bins) == 6
    assert all(math.isfinite(value) for _, value in one.numbers.quantiles)


def test_outliers_lie_beyond_three_times_the_middle_half(connection: duckdb.DuckDBPyConnection) -> None:
    values = [*range(101), 100_000, 200_000, -90_000]
    numbers = column(profiled(connection, pa.table({"x": values})), "x").numbers
    assert (numbers.outliers.below, numbers.outliers.above) == (1, 2)
    assert numbers.greatest[:2] == (200_000, 100_000)
    assert numbers.least[0] == -90_000


def test_meanings(connection: duckdb.DuckDBPyConnection) -> None:
    rows = 200
    table = pa.table(
        {
            "order_id": list(range(rows)),
            "email": [f"u{k}@shop.org" for k in range(rows)],
            "page": [f"https://shop.org/{k}" for k in range(rows)],
            "country": [("DE", "FR", "US")[k % 3] for k in range(rows)],
            "cur": [("EUR", "USD")[k % 2] for k in range(rows)],
            "price": [k * 1.5 for k in range(rows)],
            "lat": [k / 10 for k in range(rows)],
            "rate": [k / rows for k in range(rows)],
            "paid": [k % 2 == 0 for k in range(rows)],
            "day": [date(2026, 1, 1 + k % 28) for k in range(rows)],
            "note": [
                f"the parcel number {k} came two days late and the box was quite wet on one side of it"
                for k in range(rows)
            ],
            "same": ["x"] * rows,
            "nothing": pa.array([None] * rows, pa.string()),
            "tags": [[k] for k in range(rows)],
            "share": [f"{k} %" for k in range(rows)],
            "cost": [f"€ {k},00" for k in range(rows)],
        }
    )
    found = profiled(connection, table)
    assert {one.name: one.meaning for one in found.columns} == {
        "order_id": "identifier",
        "email": "email",
        "page": "url",
        "country": "country code",
        "cur": "currency code",
        "price": "money",
        "lat": "latitude",
        "rate": "share",
        "paid": "yes or no",
        "day": "date",
        "note": "free text",
        "same": "constant",
        "nothing": "empty",
        "tags": "nested",
        "share": "percent",
        "cost": "money",
    }


def test_no_value_of_a_private_column_is_in_the_profile(connection: duckdb.DuckDBPyConnection) -> None:
    people = [f"Quentin{k} Zabriskie" for k in range(300)]
    cards = [4111111111111111] * 300
    table = pa.table(
        {
            "full_name": people,
            "mail": [f"q{k}@zabriskie.example" for k in range(300)],
            "card": pa.array(cards, pa.int64()),
            "salary_code": [77000 + k for k in range(300)],
            "size": [k % 3 for k in range(300)],
        }
    )
    found = profiled(connection, table, private=["salary_code"])
    assert {one.name for one in found.private} == {"full_name", "mail", "salary_code"}
    text = str(found.as_dict())
    for secret in ("Quentin", "zabriskie", "77000", "77299"):
        assert secret not in text
    assert "card" in {one.name for one in found.columns}


def test_what_is_missing_together_is_told(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "create table t as select i, if(i % 4 = 0, null, i) as a, if(i % 4 = 0, null, 'x' || i % 3) as b, "
        "if(i % 10 = 3, null, 1.5 * i) as c from range(1000) r(i)"
    )
    missing = profiled(connection, "t").missing
    assert missing.cells == 600
    assert missing.columns == 3
    assert {one.columns: one.rows for one in missing.patterns} == {(): 650, ("a", "b"): 250, ("c",): 100}
    assert missing.pairs[0] == ("a", "b", 1.0)


def test_time_and_its_gaps(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "create table t as select make_timestamp(2026, 1, 1, 0, 0, 0) + to_days(i::int) as at, "
        "make_date(2027, 1, 1) as later, strftime(make_date(2026, 1, 1) + to_days(i::int), '%d.%m.%Y') as written "
        "from range(60) r(i) where i not between 20 and 24"
    )
    found = profiled(connection, "t", times={"written": "TRY(strptime(written, '%d.%m.%Y')::timestamptz)"})
    times = column(found, "at").times
    assert (times.minimum, times.maximum, times.unit) == ("2026-01-01", "2026-03-01", "day")
    assert times.empty_periods == 5
    assert [(gap.start, gap.end, gap.periods) for gap in times.gaps] == [("2026-01-21", "2026-01-26", 5)]
    assert column(found, "later").times.future == 55
    assert column(found, "written").times.empty_periods == 5
    assert column(found, "written").meaning == "date and time"


def test_a_business_that_rests_on_sundays_has_no_gaps_there(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "create table t as select make_date(2026, 1, 1) + to_days(i::int) as day from range(100) r(i) "
        "where dayofweek(make_date(2026, 1, 1) + to_days(i::int)) <> 0"
    )
    assert column(profiled(connection, "t"), "day").times.empty_periods == 0


def test_the_sample_of_a_large_table_is_the_same_each_time(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("create table t as select i, i % 7 as k, hash(i) % 1000 / 10 as x from range(50000) r(i)")
    source = Source("t", "t", 50_000, "t", "rowid").of(connection)
    samples = []
    for _ in range(2):
        drawn = draw(connection, source, 2_000)
        samples.append(connection.execute(f'select * from "{SAMPLE_TABLE}"').fetchall())
        assert 1_800 < drawn < 2_200
    assert samples[0] == samples[1]
    found = measure(connection, source, drawn, now=NOW)
    assert found.rows == 50_000
    assert column(found, "i").distinct == 50_000
    assert column(found, "x").histogram is not None
    assert sum(one.rows for one in column(found, "x").histogram.bins) == 50_000
    assert dict(column(found, "i").numbers.quantiles)[0.5] == pytest.approx(25_000, rel=0.1)
    assert "sample" in found.basis["quantiles"]


def test_an_empty_table_and_one_without_values(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("create table t (a int, b varchar, c timestamp, d double, e int[], f decimal(9, 2))")
    found = profiled(connection, "t")
    assert found.rows == 0
    assert [note.text for note in found.notes] == ["the table has no rows"]
    connection.execute("insert into t values (null, null, null, null, null, null)")
    assert {one.meaning for one in profiled(connection, "t").columns} == {"empty"}


def test_odd_names_and_types_are_measured(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        """create table t as select i as "select", 'x"' || i as "a ""b"" c", '<b>' as "<script>",
        i::decimal(38, 0) as big, interval (i) day as lasts, {'k': i} as s, map {'a': i} as m, ('' || i)::blob as raw,
        i::hugeint * 10::hugeint ** 30 as h, time '10:00' + interval (i) minute as clock, uuid() as u,
        'inf'::timestamp as forever, 1e308 * i as huge from range(50) r(i)"""
    )
    found = profiled(connection, "t")
    assert len(found.columns) == 13
    assert column(found, "u").meaning in ("identifier", "uuid")
    assert column(found, "forever").times is None


@pytest.mark.slow
def test_two_hundred_columns(connection: duckdb.DuckDBPyConnection) -> None:
    items = ", ".join(f"(i * {k + 1}) % 97 as c{k}" for k in range(200))
    connection.execute(f"create table t as select {items} from range(500) r(i)")
    found = profiled(connection, "t")
    assert len(found.columns) == 200
    assert found.matrix is not None
    assert len(found.matrix.columns) == 50


def test_rows_that_cannot_be_read_are_told(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    connection.execute(f"copy (select i from range(1000) r(i)) to '{path}' (format parquet)")
    source = Source("t", f"read_parquet('{path}')", 1000).of(connection)
    drawn = draw(connection, source)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="cannot be read"):
        measure(connection, source, drawn)


@pytest.mark.slow
def test_a_table_larger_than_the_memory_it_may_take_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with duckdb.connect() as made:
        items = ", ".join(f"hash(i + {k}) as h{k}" for k in range(6))
        made.execute(
            f"copy (select {items}, 'text ' || hash(i) as s from range(1500000) r(i)) to '{path}' (format parquet)"
        )
    with duckdb.connect() as connection:
        connection.execute(f"set temp_directory = '{tmp_path / 'spill'}'; set threads = 2")
        limit(connection, "150MB")
        source = Source("t", f"read_parquet('{path}')", 1_500_000).of(connection)
        found = measure(connection, source, draw(connection, source, 5_000))
    assert found.rows == 1_500_000
    assert column(found, "s").distinct == 1_500_000  # exact, though its texts alone are larger than the memory
    assert found.duplicates is not None
    assert found.duplicates.copies == 0
