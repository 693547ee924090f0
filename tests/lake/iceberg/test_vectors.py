"""Deletion vectors: every shape of bitmap, read as pyroaring reads it, and nothing damaged believed."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap64

from bascule.errors import EnvironmentProblem
from bascule.lake.iceberg.vectors import MAGIC, decode, positions


def blob(rows: list[int], *, runs: bool = False) -> bytes:
    bitmap = BitMap64(rows)
    if runs:
        bitmap.run_optimize()
    body = MAGIC + bitmap.serialize()
    return len(body).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


SHAPES = {
    "none": [],
    "one": [7],
    "few": [0, 1, 5, 65_535, 65_536, 1 << 31],
    "large": [3, (1 << 33) + 5, (1 << 40)],
    "dense": list(range(0, 20_000, 2)),
    "whole": list(range(70_000)),
    "many containers": [number << 16 for number in range(9)],
    "mixed": [*range(10_000), *range(70_000, 90_000, 3), *range(200_000, 300_000), (1 << 34) + 1],
}


@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape: str, runs: bool) -> None:
    assert decode(blob(SHAPES[shape], runs=runs)).tolist() == SHAPES[shape]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 35), st.integers(1, 3000)), max_size=8), st.booleans())
def test_any_bitmap(spans: list[tuple[int, int]], runs: bool) -> None:
    rows = sorted({row for start, length in spans for row in range(start, start + length)})
    assert decode(blob(rows, runs=runs)).tolist() == rows


def test_damage_is_told(tmp_path: Path) -> None:
    path, whole = tmp_path / "x.puffin", blob([1, 2, 900])
    record = {"content_offset": 3, "content_size_in_bytes": len(whole), "record_count": 3}
    path.write_bytes(b"PFA" + whole)
    assert positions(record, path).tolist() == [1, 2, 900]
    with pytest.raises(EnvironmentProblem, match="holds 3 rows, and its manifest says 4"):
        positions({**record, "record_count": 4}, path)
    for place in range(3, len(whole) + 3):
        broken = bytearray(b"PFA" + whole)
        broken[place] ^= 0x41
        path.write_bytes(broken)
        with pytest.raises(EnvironmentProblem, match="cannot be read"):
            positions(record, path)
    path.unlink()
    with pytest.raises(EnvironmentProblem, match="cannot be read"):
        positions(record, path)
