"""Reading files: what is right comes without loss, what is wrong is named with file, line, column and value."""

from __future__ import annotations

import datetime as dt
import gzip
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bascule.errors import InputError, NotFound
from bascule.lake import read_source

Reading = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def reading(connection: duckdb.DuckDBPyConnection) -> Reading:
    def rows(source: str | Path, **options: Any) -> list[dict[str, Any]]:
        scan = read_source(source, connection, **options)
        with scan.told(connection):
            return connection.sql(f"FROM {scan.relation}").to_arrow_table().to_pylist()

    return rows


def put(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_types_are_those_of_all_values(tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    head = "n,f,zip,day,moment,yes,nothing,text\n"
    lines = "1,1,01234,2013-01-01,2013-01-01T05:00:00Z,true,NA,a\n" * 30_000
    put(tmp_path, "a.csv", head + lines + "2,1.5,99999,NA,2013-01-01T05:00:00+02:00,false,,\n")
    scan = read_source(tmp_path / "a.csv", connection)
    assert {c.name: c.type for c in scan.columns} == {
        "n": "BIGINT",
        "f": "DOUBLE",  # for the last value's sake
        "zip": "VARCHAR",  # leading zeros are no number's
        "day": "DATE",
        "moment": "TIMESTAMP WITH TIME ZONE",
        "yes": "BOOLEAN",
        "nothing": "VARCHAR",
        "text": "VARCHAR",
    }
    assert scan.rows == 30_001
    last = connection.sql(f"SELECT * FROM {scan.relation} WHERE n = 2").to_arrow_table().to_pylist()[0]
    assert last["f"] == 1.5
    assert last["moment"] == dt.datetime(2013, 1, 1, 3, tzinfo=dt.UTC)
    assert (last["day"], last["nothing"], last["text"]) == (None, None, None)


@pytest.mark.parametrize(
    "text", ["a,b\n1,x\n", "a;b\n1;x\n", "a\tb\n1\tx\n", "a|b\n1|x\n", "\ufeffa,b\r\n1,x\r\n", 'a,"b"\n"1","x"']
)
def test_dialects(tmp_path: Path, reading: Reading, text: str) -> None:
    assert reading(put(tmp_path, "a.csv", text)) == [{"a": 1, "b": "x"}]


def test_a_comma_in_a_text_does_not_win_over_the_delimiter(tmp_path: Path, reading: Reading) -> None:
    text = "name;note\nann;a, b, c\nbob;d\n"
    assert reading(put(tmp_path, "a.csv", text))[0] == {"name": "ann", "note": "a, b, c"}


def test_quoted_text_is_text(tmp_path: Path, reading: Reading) -> None:
    rows = reading(put(tmp_path, "a.csv", 'a,b\n"NA","two\nlines ""quoted"""\nNA,\n'))
    assert rows == [{"a": "NA", "b": 'two\nlines "quoted"'}, {"a": None, "b": None}]


def test_compressed_files_and_other_formats(tmp_path: Path, reading: Reading) -> None:
    put(tmp_path, "a.csv.gz", gzip.compress(b"a,b\n1,x\n"))
    put(tmp_path, "a.jsonl", '{"a":1,"b":"x"}\n')
    put(tmp_path, "a.json", '[{"a":1,"b":"x"}]')
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "a.parquet")
    (tmp_path / "folder").mkdir()
    put(tmp_path, "folder/a.tsv", "a\tb\n1\tx\n")
    put(tmp_path, "folder/notes.txt", "not data")
    for name in ("a.csv.gz", "a.jsonl", "a.json", "a.parquet", "folder", "fold*/*.tsv"):
        assert reading(tmp_path / name) == [{"a": 1, "b": "x"}], name


def test_files_of_one_source_get_one_type(tmp_path: Path, reading: Reading) -> None:
    put(tmp_path, "1.csv", "a,b,c\n1,2013-01-01,\n")
    put(tmp_path, "2.csv", "b,a,c\n2013-01-02 10:00:00,1.5,7\n")
    rows = reading(tmp_path / "*.csv")
    assert rows == [
        {"a": 1.0, "b": dt.datetime(2013, 1, 1), "c": None},
        {"a": 1.5, "b": dt.datetime(2013, 1, 2, 10), "c": 7},  # a column without values has no say
    ]


BAD = {
    "empty": (b"", ":? ?.*is empty"),
    "blank": (b"\n\n", "is empty"),
    "header only": (b"a,b\n", "a header and no rows"),
    "too long": (b"a,b\n1,2\n3,4,5,6\n", r"^[^\n]*:3: the header names 2 columns, this line has 4: 3,4,5,6$"),
    "most too long": (b"a,b\n1,2\n3,4,5,6\n7,8,9,10,11\n", r":3: the header names 2 columns, this line has 4"),
    "latin1": ("a,b\n1,x\n2,caf\xe9\n".encode("latin1"), r":3: this is not UTF-8"),
    "latin1 late": (b"a,b\n" + b"1,x\n" * 100_000 + b"2,caf\xe9\n", r":100002: this is not UTF-8"),
    "latin1 header": (b"a,caf\xe9\n1,2\n", r":1: this is not UTF-8 text \(byte 0xe9\)"),
    "short line": (b'a,b,c\n1,"x\ny",3\n4,5\n', r":4: the header names 3 columns, this line has 2: 4,5"),
    "long line": (b"a,b\n1,2\n3,4,5\n", r":3: the header names 2 columns, this line has 3: 3,4,5"),
    "open quote": (b'a,b\n1,"unterminated\n2,3\n', r":2: a quote in column 'b' is not closed"),
    "no header": (b"1,2\n3,4\n", r":1: the first line does not name the columns: it begins with '1'"),
    "twins": (b"a,b,A\n1,2,3\n", r":1: two columns are named 'A'"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("checked", [True, False])
def test_files_that_are_wrong_are_named(tmp_path: Path, reading: Reading, case: str, checked: bool) -> None:
    data, what = BAD[case]
    if case == "header only" and not checked:
        pytest.skip("rows are counted by the check, or by the ingest")
    path = put(tmp_path, "bad.csv", data)
    with pytest.raises(InputError, match=what) as raised:
        reading(path, checked=checked)
    assert str(path) in raised.value.message
    assert raised.value.hint


def test_an_unnamed_first_column_gets_a_name(tmp_path: Path, reading: Reading) -> None:
    assert reading(put(tmp_path, "a.csv", ",b\n0,x\n")) == [{"column1": 0, "b": "x"}]


EXPECTED = pa.schema(
    [("n", pa.int64()), ("f", pa.float64()), ("day", pa.date32()), ("at", pa.timestamp("us")), ("s", pa.string())]
)
GOOD = "n,f,day,at,s\n1,1.5,2013-01-01,2013-01-01 05:00:00,x\n"


@pytest.mark.parametrize(
    ("line", "column", "value"),
    [
        ("x,1,2013-01-01,2013-01-01,x", "n", "x"),
        ("1.5,1,2013-01-01,2013-01-01,x", "n", "1.5"),
        ("99999999999999999999,1,2013-01-01,2013-01-01,x", "n", "99999999999999999999"),
        ("1,one,2013-01-01,2013-01-01,x", "f", "one"),
        ("1,1,2013-02-30,2013-01-01,x", "day", "2013-02-30"),
        ("1,1,2013-01-01 05:30:00,2013-01-01,x", "day", "2013-01-01 05:30:00"),
        ("1,1,2013-01-01,25 o'clock,x", "at", "25 o'clock"),
        ("1,1,2013-01-01,2013-01-01 25:00:00,x", "at", "2013-01-01 25:00:00"),
    ],
)
def test_a_value_that_does_not_fit_is_named(
    tmp_path: Path, reading: Reading, line: str, column: str, value: str
) -> None:
    path = put(tmp_path, "a.csv", GOOD + f"{line}\n")
    with pytest.raises(InputError) as raised:
        reading(path, expected=EXPECTED)
    assert f"{path}:3: column '{column}' is" in raised.value.message
    assert f"cannot hold {value!r}" in raised.value.message


def test_values_that_fit_are_converted_without_loss(tmp_path: Path, reading: Reading) -> None:
    line = "2.0,7,2013-01-01T00:00:00Z,2013-01-01T05:00:00-05:00,00123\nNA,NA,,,\n"
    rows = reading(put(tmp_path, "a.csv", GOOD + line), expected=EXPECTED)
    assert rows[1] == {"n": 2, "f": 7.0, "day": dt.date(2013, 1, 1), "at": dt.datetime(2013, 1, 1, 10), "s": "00123"}
    assert rows[2] == dict.fromkeys(EXPECTED.names)


def test_a_column_that_was_renamed_is_put_beside_its_old_name(tmp_path: Path, reading: Reading) -> None:
    path = put(tmp_path, "a.csv", GOOD.replace("day", "dya"))
    with pytest.raises(InputError, match="lacks column 'day' and has the new column 'dya'") as raised:
        reading(path, expected=EXPECTED)
    assert "Did you mean 'day'?" in raised.value.hint
    assert "dya" in reading(path, expected=EXPECTED, evolve=True)[0]


def test_one_file_of_a_source_with_other_columns_is_refused(tmp_path: Path, reading: Reading) -> None:
    put(tmp_path, "1.csv", "a,b\n1,2\n")
    put(tmp_path, "2.csv", "a,c\n1,2\n")
    with pytest.raises(InputError, match=r"2\.csv, beside .*1\.csv, lacks column 'b' and has the new column 'c'"):
        reading(tmp_path / "*.csv")


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("a.jsonl", b'{"a":1}\n{"a":\n', r":2: this is not JSON"),
        ("a.jsonl", b'{"a":1}\n{"a":"\xe9"}\n', r":2: this is not UTF-8"),
        ("a.json", b'[{"a":1},\n{"a":}]', r":2: this is not JSON"),
        ("a.json", b"[1,2]", "does not hold objects"),
        ("a.json", b"", "is empty"),
        ("a.parquet", b"not parquet", "cannot be read as Parquet"),
        ("a.xlsx", b"x", "says no known format"),
    ],
)
def test_other_formats_that_are_wrong_are_named(
    tmp_path: Path, reading: Reading, name: str, data: bytes, what: str
) -> None:
    with pytest.raises(InputError, match=what):
        reading(put(tmp_path, name, data))


def test_json_values_are_held_to_the_expected_types(tmp_path: Path, reading: Reading) -> None:
    expected = pa.schema([("n", pa.int64()), ("at", pa.timestamp("us", "UTC"))])
    good = put(tmp_path, "a.jsonl", '{"n":1,"at":"2013-01-01T05:00:00Z"}\n{"n":2.0,"at":null}\n')
    assert reading(good, expected=expected)[0] == {"n": 1, "at": dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC)}
    with pytest.raises(InputError, match=r"column 'n' is BIGINT and cannot hold '1\.5'"):
        reading(put(tmp_path, "b.jsonl", '{"n":1.5,"at":null}\n'), expected=expected)
    with pytest.raises(InputError, match="column 'at' is TIMESTAMP WITH TIME ZONE and cannot hold 'soon'"):
        reading(put(tmp_path, "c.jsonl", '{"n":1,"at":"soon"}\n'), expected=expected)


def test_files_that_are_not_there_are_named_with_the_nearest(tmp_path: Path, reading: Reading) -> None:
    put(tmp_path, "flights.csv", "a\n1\n")
    with pytest.raises(NotFound, match=r"flihgts\.csv") as raised:
        reading(tmp_path / "flihgts.csv")
    assert "flights.csv" in raised.value.hint
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="empty"):
        reading(tmp_path / "empty")
    put(tmp_path, "b.json", "[]")
    with pytest.raises(InputError, match="several formats: csv, json"):
        reading(tmp_path)


def test_mixed_line_ends_are_named(tmp_path: Path, reading: Reading) -> None:
    lines = b"a,b\r\n" + b"1,x\r\n" * 5000 + b"2,y\n"
    with pytest.raises(InputError, match=r"a\.csv:5002: this line does not end as the first one does") as told:
        reading(put(tmp_path, "a.csv", lines))
    assert "sed" in told.value.hint


def test_decimal_commas_where_they_part_no_fields(tmp_path: Path, reading: Reading) -> None:
    rows = reading(put(tmp_path, "a.csv", "preis;menge;wann\n1,5;3;2024-01-01\n-2,25;4;2024-01-02\n7;5;2024-01-03\n"))
    assert [row["preis"] for row in rows] == [1.5, -2.25, 7.0]
    assert rows[0]["wann"] == dt.date(2024, 1, 1)
    # Points and commas together are no numbers: nothing is guessed.
    mixed = reading(put(tmp_path, "b.csv", "a;b\n1,5;2.5\n2,5;3.5\n"))
    assert mixed == [{"a": "1,5", "b": 2.5}, {"a": "2,5", "b": 3.5}]


def test_decimal_commas_of_a_batch_fit_the_table(tmp_path: Path, reading: Reading) -> None:
    wanted = pa.schema([("a", pa.float64()), ("b", pa.int64())])
    assert reading(put(tmp_path, "a.csv", "a;b\n1,5;2\n"), expected=wanted) == [{"a": 1.5, "b": 2}]
    with pytest.raises(InputError, match=r"column 'b' is BIGINT and cannot hold '2,5'"):
        reading(put(tmp_path, "b.csv", "a;b\n1,5;2,5\n"), expected=wanted)


def test_decimal_commas_in_quotes_where_commas_part_the_fields(tmp_path: Path, reading: Reading) -> None:
    assert [row["a"] for row in reading(put(tmp_path, "a.csv", 'a,b\n"1,5",x\n"1,234",y\n7,z\n'))] == [1.5, 1.234, 7.0]
    # A comma that may group thousands is not guessed to be one before decimals.
    assert reading(put(tmp_path, "b.csv", 'a,b\n"1,234",x\n"12,345,678",y\n'))[0] == {"a": "1,234", "b": "x"}
    assert reading(put(tmp_path, "c.csv", 'a,b\n"1,5","1,234"\n"2,5","2,345"\n'))[0] == {"a": "1,5", "b": "1,234"}


JANUARY_31 = dt.datetime(2025, 1, 31, 0, 37)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("01/31/2025 00:37", JANUARY_31),
        ("31/01/2025 00:37:00", JANUARY_31),
        ("01/31/2025 12:37:00 AM", JANUARY_31),
        ("1/31/2025 12:37 AM", JANUARY_31),
        ("31/1/2025 12:37am", JANUARY_31),
        ("31.01.2025 00:37", JANUARY_31),
        ("31-01-2025 00:37:00", JANUARY_31),
        ("31-Jan-2025 00:37", JANUARY_31),
        ("Jan 31 2025 12:37 AM", JANUARY_31),
        ("2025-01-31 12:37:00 AM", JANUARY_31),
        ("2025-01-31 00:37", JANUARY_31),
        ("31/01/25", dt.date(2025, 1, 31)),
        ("01/31/2025 01:14:00 PM", dt.datetime(2025, 1, 31, 13, 14)),
    ],
)
def test_moments_are_read_as_people_write_them(tmp_path: Path, reading: Reading, value: str, moment: object) -> None:
    path = put(tmp_path, "a.csv", f"n,ts,other\n1,{value},2025-02-01 10:00:00\n2,{value},2025-02-02\n3,,\n")
    rows = reading(path)
    assert [row["ts"] for row in rows] == [moment, moment, None]
    assert rows[0]["other"] == dt.datetime(2025, 2, 1, 10)  # each column has a format of its own


def test_the_order_of_day_and_month_is_that_of_the_whole_source(tmp_path: Path, reading: Reading) -> None:
    put(tmp_path, "1.csv", "ts\n01/02/2025 10:00\n")
    put(tmp_path, "2.csv", "ts\n31/02/2025 10:00\n".replace("31/02", "31/03"))
    assert [row["ts"].month for row in reading(tmp_path)] == [2, 3]


def test_other_columns_decide_the_order_that_one_leaves_open(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    scan = read_source(put(tmp_path, "a.csv", "a,b\n01/02/2025,31/01/2025\n"), connection)
    assert (dict(scan.dates.orders), scan.dates.unsure) == ({"a": "day-first", "b": "day-first"}, ())
    found = connection.sql(f"SELECT a FROM {scan.relation}").fetchall()
    assert found == [(dt.date(2025, 2, 1),)]


def test_an_order_that_nothing_shows_is_assumed_and_said(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, reading: Reading
) -> None:
    path = put(tmp_path, "a.csv", "At\n" + "".join(f"{n:02}/01/2025\n" for n in range(1, 13)))
    scan = read_source(path, connection)
    assert scan.dates.unsure == ("At",)
    assert "no value of column 'At' shows whether the day or the month comes first" in scan.dates.assumed[0]
    assert {row["At"].day for row in reading(path)} == {1}
    assert {row["At"].month for row in reading(path, dates="day-first")} == {1}
    assert {row["At"].month for row in reading(path, known={"at": "day-first"})} == {1}
    assert read_source(path, connection, dates="day-first").dates.assumed == ()


@pytest.mark.parametrize("value", ["31/01/2025", "soon", "01/02/2025 10:00"])
def test_a_moment_in_another_order_or_format_is_named(tmp_path: Path, reading: Reading, value: str) -> None:
    path = put(tmp_path, "a.csv", f"ts\n01/02/2025\n02/01/2025\n{value}\n")
    expected = pa.schema([("ts", pa.date32())])
    with pytest.raises(InputError) as raised:
        reading(path, expected=expected, dates="month-first")
    assert f"{path}:4: column 'ts' is DATE and cannot hold '{value}'" in raised.value.message
    assert "with the month first" in raised.value.hint


def test_days_against_the_order_that_was_asked_for_are_no_text(tmp_path: Path, reading: Reading) -> None:
    path = put(tmp_path, "a.csv", "ts\n31/01/2025\n")
    with pytest.raises(InputError, match="cannot hold '31/01/2025'"):
        reading(path, dates="month-first")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("line", [2, 51, 101, 201])
def test_lines_are_counted_whatever_ends_them(tmp_path: Path, reading: Reading, end: str, line: int) -> None:
    rows = [f"{n},{n}" for n in range(2, 302)]
    rows[line - 2] = "x,1"
    path = put(tmp_path, "a.csv", "n,f" + end + end.join(rows) + end)
    with pytest.raises(InputError) as raised:
        reading(path, expected=pa.schema([("n", pa.int64()), ("f", pa.int64())]))
    assert raised.value.message.startswith(f"{path}:{line}: column 'n' is BIGINT and cannot hold 'x'")
    rows[line - 2] = "1"
    put(tmp_path, "a.csv", "n,f" + end + end.join(rows) + end)
    with pytest.raises(InputError) as raised:
        reading(path)
    assert raised.value.message.startswith(f"{path}:{line}: ")


def test_only_data_files_are_named_beside_one_that_is_not_there(tmp_path: Path, reading: Reading) -> None:
    put(tmp_path, "nope.txt", "x")
    with pytest.raises(NotFound) as raised:
        reading(tmp_path / "nope.csv")
    assert raised.value.hint.startswith(f"The folder {tmp_path} holds none of .csv")
    put(tmp_path, "nap.csv", "n\n1\n")
    with pytest.raises(NotFound) as raised:
        reading(tmp_path / "nope.csv")
    assert "nap.csv" in raised.value.hint
    assert "nope.txt" not in raised.value.hint


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["12345678901234567.89", "0.10"], "DECIMAL(38, 2)"),
        (["9007199254740993.0", "1.5"], "DECIMAL(38, 1)"),
        # Doubles that somebody wrote with many digits are doubles.
        (["0.30000000000000004", "0.10000000000000000555", "0.10000000000000001"], "DOUBLE"),
        (["12345678901234567.89", "1e5"], "DOUBLE"),
        (["1" * 41, "2"], "VARCHAR"),
    ],
)
def test_numbers_of_more_digits_than_a_double_has_keep_them(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, values: list[str], kind: str
) -> None:
    put(tmp_path, "a.csv", "n\n" + "".join(f"{value}\n" for value in values))
    put(tmp_path, "b.csv", "n\n0.125\n")
    scan = read_source(tmp_path / "a.csv", connection)
    assert [column.type for column in scan.columns] == [kind]
    if kind.startswith("DECIMAL"):
        found = connection.execute(f"SELECT n FROM {scan.relation}").fetchall()
        assert sorted(n for (n,) in found) == sorted(map(Decimal, values))
        both = read_source([tmp_path / "a.csv", tmp_path / "b.csv"], connection)
        found = connection.execute(f"SELECT n FROM {both.relation}").fetchall()
        assert sorted(n for (n,) in found) == sorted(map(Decimal, [*values, "0.125"]))


def test_numbers_are_held_to_a_decimal_of_the_table(tmp_path: Path, reading: Reading) -> None:
    expected = pa.schema([("n", pa.decimal128(38, 2)), ("m", pa.int64())])
    head = "n;m\n1,50;1\n12345678901234567890123;2\n"
    first, second = reading(put(tmp_path, "a.csv", head), expected=expected)
    assert (first["n"], second["n"]) == (Decimal("1.50"), Decimal("12345678901234567890123.00"))
    for wrong in ("1,125", "1e-3", "1234567890123456789012345678901234567"):
        with pytest.raises(InputError, match=f"a.csv:4: .*cannot hold '{wrong}'"):
            reading(put(tmp_path, "a.csv", f"{head}{wrong};3\n"), expected=expected)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (pa.int64(), "2.0", "2.5"),
        (pa.int64(), '"7"', '"007"'),
        (pa.int64(), '"2.0"', '"2.5"'),
        (pa.decimal128(20, 2), "0.25", "0.125"),
        (pa.decimal128(20, 2), '"0.250"', '"0.125"'),
        (pa.float64(), "7", "9007199254740993"),
        (pa.bool_(), "1", "5"),
        (pa.date32(), '"2025-01-02"', '"2025-01-02 10:00 clock"'),
    ],
)
def test_json_values_that_a_cast_would_round_are_refused_with_their_line(
    tmp_path: Path, reading: Reading, kind: pa.DataType, good: str, bad: str
) -> None:
    expected = pa.schema([("n", kind), ("t", pa.string())])
    lines = [f'{{"n": {value}, "t": "a"}}\n' for value in (good, good, bad, good)]
    assert len(reading(put(tmp_path, "a.jsonl", "".join(lines[:2])), expected=expected)) == 2
    with pytest.raises(InputError, match=r"b\.jsonl:5: column 'n' is .* and cannot hold"):
        reading(put(tmp_path, "b.jsonl", "\n\n" + "".join(lines)), expected=expected)
    document = "[" + ",".join(lines) + "]"
    with pytest.raises(InputError, match=r"c\.json:3: column 'n' is .* and cannot hold"):
        reading(put(tmp_path, "c.json", document), expected=expected)
