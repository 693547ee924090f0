"""Partition transforms against pyiceberg's, over values of every type that each takes."""

from __future__ import annotations

import datetime as dt
import struct
from decimal import Decimal
from typing import Any
from uuid import UUID

import mmh3
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyiceberg import transforms as theirs
from pyiceberg import types as kinds

from bascule.lake.iceberg import transforms, types

INTS, LONGS = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
MICROS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
# Iceberg type, pyiceberg's, values in the form of `transforms.plain`, and the transforms that take it.
COLUMNS: dict[str, tuple[Any, Any, list[str]]] = {
    "int": (kinds.IntegerType(), INTS, ["bucket", "truncate"]),
    "long": (kinds.LongType(), LONGS, ["bucket", "truncate"]),
    "date": (kinds.DateType(), st.integers(-719_162, 2_932_896), ["bucket", "year", "month", "day"]),
    "time": (kinds.TimeType(), st.integers(0, 86_400_000_000 - 1), ["bucket"]),
    "timestamp": (kinds.TimestampType(), MICROS, ["bucket", "year", "month", "day", "hour"]),
    "timestamptz": (kinds.TimestamptzType(), MICROS, ["bucket", "year", "month", "day", "hour"]),
    "string": (kinds.StringType(), st.text(max_size=20), ["bucket", "truncate"]),
    "binary": (kinds.BinaryType(), st.binary(max_size=20), ["bucket", "truncate"]),
    "uuid": (kinds.UUIDType(), st.binary(min_size=16, max_size=16), ["bucket"]),
    "fixed[5]": (kinds.FixedType(5), st.binary(min_size=5, max_size=5), ["bucket"]),
    "decimal(9,2)": (kinds.DecimalType(9, 2), st.decimals(-9_999_999, 9_999_999, places=2), ["bucket", "truncate"]),
}
CASES = [(kind, transform) for kind, (_, _, takes) in COLUMNS.items() for transform in takes]


def column(kind: str, values: list[Any]) -> pa.Array:
    arrow = types.to_arrow(kind)
    if pa.types.is_temporal(arrow):
        return pa.array(values, pa.int32() if arrow.bit_width == 32 else pa.int64()).view(arrow)
    return pa.array(values, arrow)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "transform"), CASES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_values_become_what_pyiceberg_makes_of_them(kind: str, transform: str, data: st.DataObject) -> None:
    source, values, _ = COLUMNS[kind]
    drawn = data.draw(st.lists(st.none() | values, max_size=8))
    text = f"{transform}[{data.draw(st.integers(1, 100))}]" if transform in ("bucket", "truncate") else transform
    peer = theirs.parse_transform(text).transform(source)
    wanted = [None if v is None else peer(UUID(bytes=v) if kind == "uuid" else v) for v in drawn]
    if kind in ("int", "long") and transform == "truncate":
        least = -(2**31) if kind == "int" else -(2**63)
        drawn, wanted = (
            zip(*[p for p in zip(drawn, wanted, strict=True) if p[1] is None or p[1] >= least], strict=True)
            if any(w is None or w >= least for w in wanted)
            else ((), ())
        )
    found = transforms.apply(text, kind, column(kind, list(drawn)))
    assert [transforms.plain(value) for value in found] == list(wanted)
    assert [transforms.of_value(text, kind, value) for value in drawn] == list(wanted)


@given(texts=st.lists(st.binary(max_size=40), min_size=1, max_size=8))
def test_murmur3_is_murmur3(texts: list[bytes]) -> None:
    ends = np.cumsum([0, *map(len, texts)])
    found = transforms.murmur3(np.frombuffer(b"".join(texts), np.uint8), ends)
    assert found.tolist() == [mmh3.hash(text, signed=False) for text in texts]


def test_the_specifications_own_examples() -> None:
    # Appendix B of the table specification.
    hashes = {
        "int": (34, 2017239379),
        "date": ((dt.date(2017, 11, 16) - dt.date(1970, 1, 1)).days, -653330422),
        "string": ("iceberg", 1210000089),
        "decimal(9,2)": (Decimal("14.20"), -500754589),
        "binary": (b"\x00\x01\x02\x03", -188683207),
        "uuid": (UUID("f79c3e09-677c-4bbd-a479-3f349cb785e7").bytes, 1488055340),
    }
    for kind, (value, wanted) in hashes.items():
        bucket = transforms.of_value(f"bucket[{2**31 - 1}]", kind, value)
        assert bucket == (wanted & 0x7FFFFFFF) % (2**31 - 1), kind


@given(
    value=INTS | st.integers(-(2**31), 20 - 2**31),
    low=st.none() | INTS | st.integers(-(2**31), 20 - 2**31),
    high=st.none() | INTS,
    text=st.sampled_from(["identity", "truncate[10]", "bucket[4]"]),
)
@example(value=7 - 2**31, low=None, high=0, text="truncate[10]")
@example(value=2 - 2**31, low=1 - 2**31, high=None, text="truncate[10]")
@example(value=9, low=1 - 2**31, high=None, text="truncate[10]")
def test_no_partition_with_a_wanted_row_is_left_out(value: int, low: int | None, high: int | None, text: str) -> None:
    held = transforms.of_value(text, "int", value)
    wanted = (low is None or low <= value) and (high is None or value <= high)
    assert not wanted or transforms.may_hold(text, "int", held, low, high)


@pytest.mark.parametrize(
    ("text", "held", "low", "high", "holds"),
    [
        ("identity", 5, 6, None, False),
        ("identity", None, 6, None, False),
        ("truncate[10]", 20, 29, 29, True),
        ("truncate[10]", 20, 30, 40, False),
        ("bucket[16]", 3, 34, 34, struct.unpack("<i", struct.pack("<I", 2017239379))[0] % 16 == 3),
        ("bucket[16]", 3, 34, 35, True),
        ("void", None, 6, None, True),
        ("identity", 5, 5.5, None, True),  # a limit that no such column can hold proves nothing
    ],
)
def test_partitions_are_left_out_where_they_cannot_hold_it(
    text: str, held: Any, low: Any, high: Any, holds: bool
) -> None:
    assert transforms.may_hold(text, "int", held, low, high) is holds
