"""Reading once, by a sample: what comes out is what a whole look before any reading gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from bascule.errors import InputError
from bascule.history import Workspace
from bascule.lake import Lake, guessing, ingest
from bascule.lake.ingested import IngestReport
from bascule.lake.ingestion import stage_ingest
from bascule.lake.sources import csvfiles
from bascule.lake.sources.exact import Exact, Misfit
from bascule.lake.sources.scan import NULL_VALUES

BASES = {
    "whole": "12",
    "zero": "0",
    "double": "1.5",
    "truth": "true",
    "day": "2023-01-02",
    "naive": "2023-01-02 10:00:00",
    "zoned": "2023-01-02 10:00:00+02:00",
    "clock": "10:00:00",
}
TEXTS = """12|-3|+4|007|-01|-007.5|0|-0|00|0.5|00.5|-0.5|1.0|1.5|1e3|1E5|1e400|-1e400|9223372036854775807
9223372036854775808|0x1F|1_000|12 | 12|nan|inf|-inf|Infinity|true|false|TRUE|t|f|yes|no|1|2023-01-02
2023-1-2|2023/01/02|20230102|2023-01-02 00:00:00|2023-01-02 10:00|2023-01-02 10|2023-01-02 1000
2023-01-02T10:00:00|2023-01-02T10:00:00Z|2023-01-02 10:00:00+02|2023-01-02 10:00:00+02:30
2023-01-02 10:00:00.5-02:30|2023-01-02 10:00Z|2023-01-02 10:00:00 UTC|2023-01-02 24:00:00
2023-01-02 10:00:00.123456|2023-01-02 10:00:00.123456789|epoch|infinity|10:00|25:00:00|abc|02/03/2023
2023-02-30|0001-01-01|12345-01-01|5.|.5|-.5|1d|1f|0b11|1e-400|-|''|'12'
12345678901234567.89|0.30000000000000004""".replace("\n", "|").split("|")


@pytest.mark.slow
@pytest.mark.parametrize("quoted", [False, True])
def test_a_text_that_passes_is_one_that_a_whole_look_takes_for_the_same_type_and_value(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, quoted: bool
) -> None:
    path, passed = tmp_path / "a.csv", 0
    for text in TEXTS:
        last = f'"{text}"' if quoted else text
        rows = [",".join(BASES.values())] * 40 + [",".join([last] * len(BASES))]
        path.write_text("\n".join([",".join(BASES), *rows]) + "\n")
        types = csvfiles.look(connection, path, NULL_VALUES).types
        path.write_text("\n".join([",".join(BASES), *rows[:-1]]) + "\n")
        for name, kind in csvfiles.look(connection, path, NULL_VALUES).types.items():
            if kind == "TIME":
                continue  # is always looked at as a whole
            try:
                value = Exact(name, kind).values(pa.array([text]))
            except Misfit:
                continue
            passed += 1
            assert types[name] == kind, (name, text)
            alone = connection.sql(f"SELECT $${text}$$::{kind} AS v").to_arrow_table()["v"][0]
            assert value[0] == alone, (name, text)
    assert passed > 40


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let files of any size be guessed at by two rows, and count the whole looks."""
    looks: list[int] = []
    monkeypatch.setattr(guessing, "LEAST_BYTES", 0)
    monkeypatch.setattr(guessing, "SAMPLE", 2_048)
    whole = guessing.by_guess

    def counted(paths: Any, read: Any, work: Any, connection: Any, temporary: Path) -> Any:
        def look(connection: Any, *, sample: int = 0) -> Any:
            looks.append(1) if not sample else None
            return read(connection, sample=sample)

        return whole(paths, look, work, connection, temporary)

    monkeypatch.setattr("bascule.lake.ingestion.by_guess", counted)
    return looks


HEAD = "id,value,day,word,empty\n"


def lines(last: str = "") -> str:
    return HEAD + "".join(f"{n},{n}.5,2023-01-0{n % 9 + 1},w{n % 3},\n" for n in range(6_000)) + last


def taken(folder: Path, text: str, **asked: Any) -> tuple[list[Any], dict[str, str], IngestReport]:
    path = folder / "rows.csv"
    path.write_text(text)
    lake = Lake(Workspace.create(folder / "workspace"))
    report = stage_ingest(lake, None, "t", path, **asked)
    rows = duckdb.connect().sql(f"FROM {lake.scan(report.value)} ORDER BY id").to_arrow_table()
    return rows.to_pylist(), {f.name: str(f.type) for f in rows.schema}, report


def test_rows_that_are_all_alike_are_read_once(tmp_path: Path, small: list[int]) -> None:
    rows, types, report = taken(tmp_path, lines())
    assert not small
    assert len(rows) == 6_000
    assert types["id"] == "int64"
    assert report.columns == ("id", "value", "day", "word", "empty")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "column", "kind"),
    [
        ("6001,7,2023-01-01,w,\n", "value", "double"),  # a whole number is a double too
        ("6001.5,7,2023-01-01,w,\n", "id", "double"),
        ("007,7,2023-01-01,w,\n", "id", "string"),
        ("6001,x,2023-01-01,w,\n", "value", "string"),
        ("6001,7,2023-01-01 10:00:00,w,\n", "day", "timestamp[us]"),
        ("6001,7,2023-01-01,w,5\n", "empty", "int64"),
    ],
)
def test_what_only_a_late_row_shows_counts(
    tmp_path: Path, small: list[int], monkeypatch: pytest.MonkeyPatch, last: str, column: str, kind: str
) -> None:
    rows, types, _ = taken(tmp_path, lines(last))
    assert types[column] == kind
    assert len(small) == (1 if (column, kind) != ("value", "double") else 0)
    monkeypatch.setattr(guessing, "LEAST_BYTES", 1 << 60)
    (tmp_path / "whole").mkdir()
    assert taken(tmp_path / "whole", lines(last))[:2] == (rows, types)


@pytest.mark.slow
def test_bad_records_are_refused_and_set_aside_as_ever(tmp_path: Path, small: list[int]) -> None:
    bad = lines("6001,1,2023-01-01\n6002,oh,2023-01-01,w,\n")
    path = tmp_path / "bad.csv"
    path.write_text(bad)
    with pytest.raises(InputError, match=r"bad.csv:6002: the header names 5 columns, this line has 3"):
        ingest(Lake(Workspace.create(tmp_path / "w")), "t", path)
    rows, types, report = taken(tmp_path, bad, tolerate=0.01)
    assert len(rows) == 6_000
    assert types["value"] == "double"
    assert [(one.line, one.column) for one in report.rejected] == [(6002, "word"), (6003, "value")]
    assert not list((tmp_path / "w").rglob("*.parquet"))  # what the first attempt wrote is gone


@pytest.mark.slow
def test_a_table_holds_later_files_to_its_types(tmp_path: Path, small: list[int]) -> None:
    lake = Lake(Workspace.create(tmp_path / "w"))
    path = tmp_path / "a.csv"
    path.write_text(lines())
    ingest(lake, "t", path)
    path.write_text(lines("6001,8,2023-01-01,w,\n"))  # `empty` is text now, `id` whole
    ingest(lake, "t", path)
    assert not small
    path.write_text(HEAD + "".join(f"{n},{n},2023-01-01,7,\n" for n in range(3_000)))  # narrower than the table
    ingest(lake, "t", path)
    assert not small
    path.write_text(lines("6001.5,8,2023-01-01,w,\n"))
    with pytest.raises(InputError, match=r"a.csv:6002: column 'id' is BIGINT and cannot hold '6001.5'"):
        ingest(lake, "t", path)
    value = lake.workspace.history.read("main", "tables/t")
    assert value is not None
    assert duckdb.sql(f"SELECT count(*), count(DISTINCT word) FROM {lake.scan(value)}").fetchall() == [(15_001, 5)]


@pytest.mark.parametrize("ends", ["\r\n", "\n"])
def test_line_ends_of_two_kinds_refuse_the_file(tmp_path: Path, small: list[int], ends: str) -> None:
    path = tmp_path / "a.csv"
    other = "\n" if ends == "\r\n" else "\r\n"
    path.write_bytes((lines().replace("\n", ends) + f"6001,8,2023-01-01,w,x{other}6002,8,,w,{ends}").encode())
    with pytest.raises(InputError, match=r"a.csv:6002: this line does not end as the first one does"):
        ingest(Lake(Workspace.create(tmp_path / "w")), "t", path)
