"""The doctor sees what is missing, damaged or left over."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from tests.lake.samples import everywhere, people, state

from bascule.lake import Lake, RecordTable
from bascule.lake.doctor import check


@pytest.fixture
def filled(lake: Lake) -> Lake:
    lake.append("people", people("ann", "bob"))
    lake.workspace.history.create_branch("dev")
    lake.append("people", people("cyd"), branch="dev")
    RecordTable(lake.workspace, "predictions", pa.schema([("id", pa.string())])).append(pa.table({"id": ["x"]}))
    return lake


@pytest.mark.slow
@everywhere
def test_a_whole_lake_has_no_problems(filled: Lake) -> None:
    report = check(filled.workspace, deep=True)
    assert (report.ok, report.states, report.orphans) == (True, 3, ())
    assert report.files > 8
    assert report.bytes > 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern", ["data/*.parquet", "metadata/*.metadata.json", "metadata/snap-*.avro", "metadata/*-m0.avro"]
)
@everywhere
def test_a_missing_file_is_found(filled: Lake, pattern: str) -> None:
    folder = filled.table(state(filled, "people")).folder
    for path in folder.glob(pattern):
        path.unlink()
    problems = check(filled.workspace).problems
    assert problems
    assert all(p.table == "people" for p in problems)


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern", ["data/*.parquet", "metadata/*.metadata.json", "metadata/snap-*.avro", "metadata/*-m0.avro"]
)
@everywhere
def test_a_damaged_file_is_found(filled: Lake, pattern: str) -> None:
    folder = filled.table(state(filled, "people")).folder
    path = sorted(folder.glob(pattern))[-1]
    path.write_bytes(path.read_bytes()[:40])
    report = check(filled.workspace)
    assert report.problems
    assert not report.orphans  # what a damaged document led to is no garbage


def test_a_missing_file_of_a_record_table_is_found(filled: Lake) -> None:
    folder = next(path for path in filled.folder.iterdir() if path.name.startswith("records."))
    for path in folder.glob("data/*.parquet"):
        path.unlink()
    assert [p.table for p in check(filled.workspace).problems] == ["predictions"]


@pytest.mark.slow
@everywhere
def test_a_changed_byte_is_found_by_a_deep_look(filled: Lake) -> None:
    path = filled.files(state(filled, "people"))[0].path
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(bytes(data))
    assert check(filled.workspace).ok
    problems = check(filled.workspace, deep=True).problems
    assert [Path(p.path).name for p in problems] == [path.name]


@pytest.mark.slow
@everywhere
def test_what_nothing_refers_to_is_listed(filled: Lake) -> None:
    filled.stage_append(state(filled, "people"), people("eve"), name="people")
    report = check(filled.workspace)
    assert report.ok
    assert sorted(Path(o.path).suffix for o in report.orphans) == [".avro", ".avro", ".json", ".parquet"]
    assert all(o.bytes > 0 for o in report.orphans)
