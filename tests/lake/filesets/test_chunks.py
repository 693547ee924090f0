"""Cuts depend on content alone."""

from __future__ import annotations

import io
import random

import pytest

from bascule.lake.filesets.chunks import LARGEST, SMALLEST, chunks
from bascule.store import digest_of


def cut(data: bytes) -> list[bytes]:
    return list(chunks(io.BytesIO(data)))


def test_chunks_are_the_file() -> None:
    for size in (0, 1, SMALLEST, 40_000_001):
        data = random.Random(size).randbytes(size)
        parts = cut(data)
        assert b"".join(parts) == data
        assert all(SMALLEST <= len(part) <= LARGEST for part in parts[:-1])


@pytest.mark.slow
def test_a_change_moves_no_other_cut() -> None:
    data = random.Random(3).randbytes(40_000_000)
    known = {digest_of(part) for part in cut(data)}
    for changed in (
        data[:17_000_000] + b"inserted" + data[17_000_000:],
        data[:9_000_000] + data[9_000_500:],
        b"x" + data,
        data + b"x",
    ):
        fresh = [part for part in cut(changed) if digest_of(part) not in known]
        assert 0 < sum(map(len, fresh)) < 5_000_000


def test_runs_of_equal_bytes_are_cut_at_the_largest_size() -> None:
    for data in (bytes(30_000_000), b"abcdefgh" * 4_000_000, b"\x5a" * 20_000_000):
        assert all(len(part) == LARGEST for part in cut(data)[:-1])
