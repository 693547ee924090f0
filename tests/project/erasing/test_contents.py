"""Contents of any format without a subject: what names it leaves, and every other byte stays."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bascule.project.erasing.contents import Sought, cleaned
from bascule.project.erasing.values import without

ANN = {"id": 7, "name": "Ann", "town": "Ulm"}
SHORT = Sought({"id": "7"}, [ANN])  # a number that names others elsewhere
MAIL = Sought({"email": "ann@example.org"})


def of(rows: list[dict[str, object]]) -> bytes:
    return json.dumps(rows).encode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (of([ANN, {"id": 8, "name": "Bob", "town": "Ulm"}]), of([{"id": 8, "name": "Bob", "town": "Ulm"}])),
        (of([{"id": 7, "name": "Seven", "town": "Ulm"}]), None),  # another thing that has the number
        (of([{"id": 7}]), None),
        (b'{"id": 7, "name": "Ann"}\n{"id": 8, "name": "Bob"}\n', b'{"id": 8, "name": "Bob"}\n'),
        (b"id;name\r\n7;Ann\r\n8;Bob\r\n", b"id;name\r\n8;Bob\r\n"),
        (b'name,id\n"A\n7",9\nAnn,7\nBob,8', b'name,id\n"A\n7",9\nBob,8'),
        (b"id,size\n7,3\n", None),
        (b"a text about id 7", None),
        (
            b'{"columns": ["id", "town"], "index": [0, 1], "data": [[7, "Ulm"], [8, "Ulm"]]}',
            b'{"columns": ["id", "town"], "index": [0], "data": [[8, "Ulm"]]}',
        ),
        (b"\x00id7\xff", None),
    ],
)
def test_a_short_value_names_its_own_row_alone(before: bytes, after: bytes | None) -> None:
    assert SHORT.may_be_in(before) or after is None
    assert cleaned(before, SHORT) == (before if after is None else after)


def test_parquet_loses_its_rows_and_values_by_the_policy_of_tables() -> None:
    who = ["-", "ann@example.org", None]
    table = pa.table({"id": [7, 8, 7], "name": ["Ann", "Bob", "Seven"], "who": who})
    sink = io.BytesIO()
    pq.write_table(table, sink)

    def read(data: bytes, column: str = "name") -> list[str]:
        return pq.read_table(pa.BufferReader(data)).column(column).to_pylist()

    assert read(cleaned(sink.getvalue(), SHORT)) == ["Bob", "Seven"]
    assert read(cleaned(sink.getvalue(), MAIL), "who") == ["-", "(forgotten)", None]
    assert read(cleaned(sink.getvalue(), Sought(MAIL.key, removes=True))) == ["Ann", "Seven"]
    assert read(cleaned(sink.getvalue(), Sought({"who": "ann@example.org"}))) == ["Ann", "Seven"]
    assert cleaned(sink.getvalue(), Sought({"id": "9"}, [])) == sink.getvalue()
    broken = b"PAR1 no table PAR1"
    assert cleaned(broken, MAIL) == broken


def test_a_distinctive_value_leaves_text_and_bytes() -> None:
    assert cleaned(b"to ann@example.org!", MAIL) == b"to (forgotten)!"
    assert cleaned(b"\x00to ann@example.org!", MAIL) == b"\x00to " + b"*" * 15 + b"!"
    assert cleaned(b"to joann@example.org!", MAIL) == b"to joann@example.org!"


@pytest.mark.parametrize(
    ("value", "text", "after"),
    [
        ("ann@example.org", "copy_of_ann@example.org_2.csv", "copy_of_(forgotten)_2.csv"),
        ("ann@example.org", "joann@example.org", "joann@example.org"),
        ("771043", "account_771043", "account_(forgotten)"),
        ("anna", "anna_karenina, anna", "anna_karenina, (forgotten)"),
    ],
)
def test_where_a_value_ends(value: str, text: str, after: str) -> None:
    assert without(text, {"key": value}) == after
