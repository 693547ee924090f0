"""Record tables: every row once, on both databases."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import select

from bascule.catalog.schema import record_segments
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.lake import Lake, RecordTable, engine, objects
from bascule.lake.doctor import check

SCHEMA = pa.schema([("id", pa.string()), ("score", pa.float64())])


def rows(*ids: str) -> pa.Table:
    return pa.table({"id": list(ids), "score": [0.5] * len(ids)}, schema=SCHEMA)


def ids(table: RecordTable) -> list[str]:
    with engine.opened() as connection:
        return sorted(connection.sql(f"SELECT id FROM {table.scan()}").to_arrow_table()["id"].to_pylist())


def test_rows_are_added_and_scanned(workspace: Workspace) -> None:
    table = RecordTable(workspace, "predictions", SCHEMA)
    assert table.object() is None
    assert ids(table) == []
    assert table.append(rows("a", "b")) == 2
    assert table.append(rows("c")) == 1
    assert ids(RecordTable(workspace, "predictions", SCHEMA)) == ["a", "b", "c"]
    value = table.object()
    assert value is not None
    assert value["rows"] == 3
    assert check(workspace, deep=True).ok


def test_a_segment_is_moved_once(workspace: Workspace) -> None:
    table = RecordTable(workspace, "predictions", SCHEMA)
    assert table.move_segment("w-1", rows("a")) == 1
    assert table.move_segment("w-1", rows("a")) is None
    assert RecordTable(workspace, "ground_truth", SCHEMA).move_segment("w-1", rows("x")) == 1
    assert ids(table) == ["a"]
    assert table.segments() == {"w-1"}
    with workspace.catalog.read() as conn:
        assert len(conn.execute(select(record_segments)).all()) == 2


@pytest.mark.slow
def test_a_writer_that_was_overtaken_begins_at_the_newest_state(
    local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = RecordTable(local_workspace, "predictions", SCHEMA)
    table.append(rows("first"))
    old, present = table.object(), RecordTable.object
    table.append(rows("second"))
    for number in range(60):  # until nothing of the first state is left but its rows
        table.append(rows(f"n{number:02}"))
    assert old is not None
    assert not Path(str(objects.document_of(old, local_workspace.lake_folder))).exists()
    slow = iter([*([None] * 2), old])  # what `_land` is told first is what was so long ago

    def overtaken(self: RecordTable) -> Any:
        return next(slow, None) or present(self)

    monkeypatch.setattr(RecordTable, "object", overtaken)
    assert table.move_segment("late", rows("late")) == 1
    monkeypatch.undo()
    assert ids(table) == sorted(["first", "second", "late", *(f"n{number:02}" for number in range(60))])
    assert not check(local_workspace).orphans


@pytest.mark.slow
def test_a_segment_moved_at_once_by_many_is_there_once(workspace: Workspace) -> None:
    RecordTable(workspace, "predictions", SCHEMA).append(rows("first"))
    moved: list[int | None] = []
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            table = RecordTable(workspace, "predictions", SCHEMA)
            moved.append(table.move_segment("shared", rows("s")))
            table.move_segment(f"own-{number}", rows(f"o{number}"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(m or 0 for m in moved) == [0, 0, 0, 1]
    assert ids(RecordTable(workspace, "predictions", SCHEMA)) == ["first", "o0", "o1", "o2", "o3", "s"]
    assert not check(workspace).orphans


def test_a_crash_between_files_and_record_moves_nothing(
    local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = RecordTable(local_workspace, "predictions", SCHEMA)
    table.append(rows("a"))

    def killed(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RecordTable, "swap", killed)
        with pytest.raises(KeyboardInterrupt):
            table.move_segment("s", rows("b"))
    assert ids(table) == ["a"]
    assert table.segments() == set()
    assert table.move_segment("s", rows("b")) == 1
    assert ids(table) == ["a", "b"]


def test_columns_grow_with_the_schema(local_workspace: Workspace) -> None:
    RecordTable(local_workspace, "predictions", SCHEMA).append(rows("a"))
    wider = RecordTable(local_workspace, "predictions", SCHEMA.append(pa.field("arm", pa.string())))
    wider.append(pa.table({"id": ["b"], "score": [1.0], "arm": ["canary"]}))
    wider.append(rows("c"))
    with engine.opened() as connection:
        found = connection.sql(f"FROM {wider.scan()}").to_arrow_table()
    assert found["arm"].to_pylist() == [None, "canary", None]


@pytest.mark.slow
def test_values_that_do_not_fit_are_refused(local_workspace: Workspace) -> None:
    table = RecordTable(local_workspace, "predictions", SCHEMA)
    table.append(rows("a"))
    with pytest.raises(InputError, match="'score'"):
        table.append(pa.table({"id": ["b"], "score": ["high"]}))
    assert ids(table) == ["a"]
    assert not check(local_workspace).orphans


def test_record_tables_are_beside_the_branches(local_workspace: Workspace) -> None:
    RecordTable(local_workspace, "predictions", SCHEMA).append(rows("a"))
    assert local_workspace.history.entries("main", "tables/") == []
    assert Lake(local_workspace).folder.exists()
