"""Data files: the same rows are the same bytes, however they came, and their groups are as large as they are to be."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bascule.lake.iceberg import datafiles, files, rowgroups, schemas
from bascule.lake.iceberg.aligning import aligned

ROWS = 2_500


def rows(letters: int) -> pa.Table:
    """Rows with missing values, also whole stretches without one and of nothing but them, and texts of some length."""
    chance = random.Random(3)

    def some(place: int, value: object) -> object:
        return value if place < 750 or (place < 2_000 and chance.random() < 0.7) else None

    return pa.table(
        {
            "id": range(ROWS),
            "number": [some(i, chance.gauss(0, 1)) for i in range(ROWS)],
            "flag": [some(i, chance.random() < 0.2) for i in range(ROWS)],
            "text": [some(i, "é" * chance.randrange(letters)) for i in range(ROWS)],
            "many": [some(i, list(range(chance.randrange(4)))) for i in range(ROWS)],
            "inner": [some(i, {"x": some(i, i), "y": some(i, "a")}) for i in range(ROWS)],
        }
    )


def cuts() -> dict[str, list[int]]:
    """Sizes of batches, by a name."""
    chance = random.Random(5)
    uneven: list[int] = []
    while sum(uneven) < ROWS:
        uneven.append(min(chance.choice([0, 1, 7, 63, 64, 65, 900]), ROWS - sum(uneven)))
    return {"whole": [ROWS], "single rows": [1] * ROWS, "chunks": [64] * 39 + [4], "uneven": uneven}


@pytest.mark.parametrize(
    ("letters", "group_bytes", "groups"),
    [
        (6, 64 << 20, [512] * 4 + [452]),  # light rows: their number says where to cut
        (400, 20_000, None),  # heavy ones: their bytes do
        (120, 60_000, None),  # in between: it must be looked at
    ],
)
def test_that_where_batches_end_does_not_show(
    letters: int, group_bytes: int, groups: list[int] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rowgroups, "CHUNK", 64)
    monkeypatch.setattr(rowgroups, "ROWS_PER_GROUP", 512)
    monkeypatch.setattr(rowgroups, "GROUP_BYTES", group_bytes)
    given = rows(letters)
    columns, _ = schemas.from_arrow(given.schema)
    told = {}
    for name, sizes in cuts().items():
        (tmp_path / name).mkdir()
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        batches = [b for s, n in zip(starts, sizes, strict=True) for b in given.slice(s, n).to_batches()]
        (record,) = datafiles.write(aligned(iter(batches), schemas.to_arrow(columns), "t"), columns, tmp_path / name)
        path = Path(str(record["file_path"]).removeprefix("file://"))
        footer = pq.read_metadata(path)
        told[name] = (
            datafiles.content_of(record),
            [footer.row_group(i).num_rows for i in range(footer.num_row_groups)],
        )
    assert len({digest for digest, _ in told.values()}) == 1
    found = told["whole"][1]
    assert sum(found) == ROWS
    assert all(size % 64 == 0 for size in found[:-1])
    if groups is not None:
        assert found == groups
    else:
        assert min(found[:-1]) < 512  # some group ended by its bytes
    back = pq.read_table(path)
    assert [back.column(i).to_pylist() for i in range(back.num_columns)] == [c.to_pylist() for c in given.columns]


def test_that_one_row_group_at_a_time_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowgroups, "ROWS_PER_GROUP", 32 * rowgroups.CHUNK)
    columns, _ = schemas.from_arrow(pa.schema([("x", pa.float64())]))
    arrow, values, held = schemas.to_arrow(columns), np.zeros(24 * rowgroups.CHUNK), []
    group = 32 * rowgroups.CHUNK * 8
    before = pa.total_allocated_bytes()

    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(20):
            held.append(pa.total_allocated_bytes() - before)
            yield pa.record_batch([pa.array(values)], schema=arrow)  # numpy's own memory

    datafiles.write(batches(), columns, tmp_path)
    assert max(held) < group, held


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is told by Linux")
def test_that_a_file_is_not_in_memory_while_it_is_digested(tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as out:
        out.truncate(100 << 20)

    def told(name: str) -> int:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1])

    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the peak begins anew
    before = told("VmRSS")
    files.digest(tmp_path / "large")
    assert told("VmHWM") - before < 50_000  # kB
