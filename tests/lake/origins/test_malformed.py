"""Every malformed file that a vendor ever sent: what can be read rightly is, whatever cannot is refused and named."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bascule.errors import BasculeError, InputError
from bascule.history import Workspace

Rows = Callable[..., list[tuple[Any, ...]]]
UTC = dt.UTC


def put(folder: Path, data: str | bytes, name: str = "a.csv") -> Path:
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder / name


READ: dict[str, tuple[str, bytes, list[tuple[Any, ...]]]] = {
    "a byte order mark": ("a.csv", b"\xef\xbb\xbfn,m\n1,a\n", [(1, "a")]),
    "a byte order mark before JSON": ("a.jsonl", b'\xef\xbb\xbf{"n": 1}\n', [(1,)]),
    "line ends of old Macs": ("a.csv", b"n,m\r1,a\r2,b\r", [(1, "a"), (2, "b")]),
    "line ends of Windows": ("a.csv", b"n,m\r\n1,a\r\n2,b", [(1, "a"), (2, "b")]),
    "NUL in a text": ("a.csv", b"n,m\n1,a\x00b\n", [(1, "a\x00b")]),
    "quotes in quotes": ("a.csv", b'n,m\n1,"he said ""hi"", then\nleft"\n', [(1, 'he said "hi", then\nleft')]),
    "quotes within a text": ("a.csv", b'n,m\n1,say "hi" now\n', [(1, 'say "hi" now')]),
    "decimal commas": ("a.csv", b"n;m\n1,5;a\n2,25;b\n", [(1.5, "a"), (2.25, "b")]),
    # Whether 1,234 is a thousand and more nobody can say: it stays what it is.
    "thousands by commas": ("a.csv", b'n,m\n"1,234",a\n"12,345,678",b\n', [("1,234", "a"), ("12,345,678", "b")]),
    "thousands by points": ("a.csv", b"n;m\n1.234,50;a\n", [("1.234,50", "a")]),
    "epochs in two units": ("a.csv", b"at,n\n1700000000,1\n1700000000000,2\n", [(1700000000, 1), (1700000000000, 2)]),
    "two time zones": (
        "a.csv",
        b"at,n\n2023-01-01T00:00:00+02:00,1\n2023-07-01T00:00:00-05:00,2\n",
        [(dt.datetime(2022, 12, 31, 22, tzinfo=UTC), 1), (dt.datetime(2023, 7, 1, 5, tzinfo=UTC), 2)],
    ),
    "2^63": ("a.csv", b"n,m\n9223372036854775808,1\n2,2\n", [(Decimal(2), 2), (Decimal(2**63), 1)]),
    "2^63 in JSON": ("a.jsonl", b'{"n": 9223372036854775808}\n{"n": 1}\n', [(Decimal(1),), (Decimal(2**63),)]),
    "an empty text is no null": ("a.csv", b'n,m\n1,""\n2,\n3,NA\n4,"NA"\n', [(1, ""), (2, None), (3, None), (4, "NA")]),
    "columns without a name": ("a.csv", b",n,\n1,2,3\n", [(1, 2, 3)]),
    "what turns a terminal's text": ("a.csv", "n,m\n1,\u202ea\x1b[31m\n".encode(), [(1, "\u202ea\x1b[31m")]),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", READ)
def test_what_can_be_read_rightly_is(tmp_path: Path, bring: Any, rows: Rows, case: str) -> None:
    name, data, expected = READ[case]
    bring(put(tmp_path, data, name))
    assert rows() == expected


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "two kinds of line ends": ("a.csv", b"n,m\r\n1,a\n2,b\r\n", r"a\.csv:2: this line does not end as the first one"),
    "text after a quote": ("a.csv", b'n,m\n1,"a" b\n', r"a\.csv:2: a quote in column 'm' is not closed"),
    "an open quote": ("a.csv", b'n,m\n1,"abc\n2,c\n', r"a\.csv:2: a quote in column 'm' is not closed"),
    "fields too few and many": ("a.csv", b"n,m\n1,2\n3\n4,5,6\n", r"a\.csv:3: .* this line has 1(.|\n)*:4: "),
    "beyond a double": ("a.csv", b"n,m\n2.5,1\n1e400,1\n", r"a\.csv:3: column 'n' is DOUBLE and cannot hold '1e400'"),
    "beyond a double in JSON": ("a.jsonl", b'{"n": 1e400}\n{"n": 1.5}\n', "'n' is DOUBLE and has a number"),
    "two columns of a name": ("a.csv", b"n,n\n1,2\n", r"a\.csv:1: two columns are named 'n'"),
    "two but for case": ("a.csv", b"n,N\n1,2\n", r"a\.csv:1: two columns are named 'N'"),
    "two fields of a name": ("a.jsonl", b'{"n": 1, "n": 2}\n', "duplicate key"),
    "two fields but for case": ("a.jsonl", b'{"n": 1, "N": 2}\n', "the fields 'n' and 'N', which tables do not"),
    "no header": ("a.csv", b"1,2\n3,4\n", r"a\.csv:1: the first line does not name the columns"),
    "nothing": ("a.csv", b"", "is empty"),
    "blanks": ("a.csv", b" \n\n", "is empty"),
    "a header alone": ("a.csv", b"n,m\n", "a header and no rows"),
    "no Parquet": ("a.parquet", b"PAR1xxxxPAR1", "cannot be read as Parquet"),
    "a line of megabytes": ("a.csv", b"n,m\n1," + b"x" * 3_000_000 + b"\n", r"a\.csv:2: Maximum line size"),
    "JSON without an end": ("a.json", b'[{"n": 1}, {"n": ', r"a\.json:1: this is not JSON"),
    "JSON that is too deep": ("a.jsonl", b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}\n", "nested too deep"),
    "a truncated gzip": ("a.csv.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "a.csv.gz"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_named_and_leaves_nothing(
    tmp_path: Path, bring: Any, local_workspace: Workspace, case: str
) -> None:
    name, data, words = REFUSED[case]
    with pytest.raises(InputError, match=words):
        bring(put(tmp_path, data, name))
    assert local_workspace.history.read("main", "tables/t") is None
    assert [ref.name for ref in local_workspace.history.branches()] == ["main"]


# A first batch, then one that is of other types.
CHANGED: dict[str, tuple[bytes, bytes, str]] = {
    "fractions for whole numbers": (b"n\n1\n", b"n\n1.5\n", "'n' is BIGINT and cannot hold '1.5'"),
    "texts for numbers": (b"n\n1\n", b"n\nx\n", "'n' is BIGINT and cannot hold 'x'"),
    "2^63 for whole numbers": (b"n\n1\n", b"n\n9223372036854775808\n", "cannot hold '9223372036854775808'"),
    "1e400 for numbers": (b"n\n1.5\n", b"n\n1e400\n", "cannot hold '1e400'"),
    "epochs for times": (b"at\n2023-01-01T00:00:00Z\n", b"at\n1700000000000\n", "cannot hold '1700000000000'"),
    "times for days": (b"at\n2023-01-01\n", b"at\n2023-01-01T10:00:00\n", "is DATE and cannot hold"),
    "thousands for numbers": (b"n;m\n1;a\n", b"n;m\n1,234;a\n", "cannot hold '1,234'"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CHANGED)
def test_types_are_stable_from_batch_to_batch(tmp_path: Path, bring: Any, rows: Rows, case: str) -> None:
    first, second, words = CHANGED[case]
    bring(put(tmp_path, first))
    before = rows()
    with pytest.raises(InputError, match=words):
        bring(put(tmp_path, second, "b.csv"))
    assert rows() == before


def test_numbers_beyond_a_double_can_be_set_aside(tmp_path: Path, bring: Any, rows: Rows, quarantine: Any) -> None:
    bring(put(tmp_path, "n,m\n" + "1.5,a\n" * 50 + "1e400,b\n-1e999,c\n"), tolerate=0.1)
    assert [(one["line"], one["column"]) for one in quarantine()] == [(52, "n"), (53, "n")]
    assert rows("select count(*), max(n) from t") == [(50, 1.5)]


@pytest.mark.slow
def test_headers_that_change_case_and_order(tmp_path: Path, bring: Any, rows: Rows) -> None:
    for name, data in (("a.csv", "Id,Word\n1,a\n"), ("b.csv", "ID,word\n2,b\n"), ("c.csv", "word,iD\nc,3\n")):
        bring(put(tmp_path, data, name))
    assert rows() == [(1, "a"), (2, "b"), (3, "c")]


@pytest.mark.slow
def test_five_thousand_columns(tmp_path: Path, bring: Any, rows: Rows) -> None:
    names = ",".join(f"c{number}" for number in range(5000))
    bring(put(tmp_path, f"{names}\n{','.join(['1'] * 5000)}\n"))
    assert rows("select c0 + c4999 from t") == [(2,)]


@pytest.mark.parametrize("cut", [1, 40, 5_000])
def test_truncated_parquet(tmp_path: Path, bring: Any, local_workspace: Workspace, cut: int) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": list(range(5000))}), path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match=r"a\.parquet cannot be read as Parquet"):
        bring(path)
    assert local_workspace.history.read("main", "tables/t") is None


def test_parquet_that_is_damaged_inside(tmp_path: Path, bring: Any, local_workspace: Workspace) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": [f"text {n}" for n in range(50_000)]}), path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[1000:40_000] = b"\x55" * 39_000
    path.write_bytes(bytes(data))
    with pytest.raises(BasculeError):
        bring(path)
    assert local_workspace.history.read("main", "tables/t") is None
