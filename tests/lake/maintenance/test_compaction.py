"""Compaction: the same rows in the same order, in fewer files; nobody's work beside it is lost."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.table import StaticTable
from tests.lake.iceberg.test_engine import delete_file, with_deletes
from tests.lake.samples import everywhere, names_in, people, state

from bascule.errors import Conflict, EnvironmentProblem, Expired, InputError, NotFound
from bascule.history import Workspace
from bascule.lake import Lake, engine, forget
from bascule.lake.doctor import check
from bascule.lake.iceberg import files, manifests, metadata
from bascule.lake.iceberg.tables import Table
from bascule.lake.maintenance import Retention, Rule, collect, compact, compact_tables, retention


def rows_in(lake: Lake, value: dict[str, Any]) -> list[dict[str, Any]]:
    """All rows in scan order."""
    with engine.opened() as connection:
        return connection.sql(f"SELECT * FROM {lake.scan(value)}").to_arrow_table().to_pylist()


@pytest.fixture
def small(lake: Lake) -> Lake:
    """A table of twenty files."""
    for number in range(20):
        lake.append("people", people(f"n{number}", f"m{number}", start=number * 2))
    return lake


def merged(lake: Lake, source: str, into: str = "main") -> None:
    lake.workspace.history.merge(source, into, resolve=lambda path, b, o, t: lake.merge_appends(b, o, t))


@pytest.mark.slow
def test_small_files_become_one_and_nothing_else_changes(small: Lake) -> None:
    before = state(small, "people")
    rows = rows_in(small, before)
    planned = compact(small, "people", dry_run=True)
    assert (planned.files_before, planned.files_after, planned.commit) == (20, 1, "")
    assert state(small, "people") == before
    done = compact(small, "people", author="ana")
    after = state(small, "people")
    assert (done.files_after, after["files"], after["rows"]) == (1, 1, 40)
    assert rows_in(small, after) == rows
    assert after["digest"] == before["digest"]
    assert rows_in(small, state(small, "people", "main~1")) == rows
    commit = small.workspace.history.resolve("main")
    assert (commit.id, commit.author, commit.meta) == (done.commit, "ana", {"compacts": 20})
    assert small.diff(before, after).empty
    assert check(small.workspace, deep=True).ok
    table = StaticTable.from_metadata(str(small.location(after)))
    assert table.scan().to_arrow().to_pylist() == rows
    assert compact(small, "people").commit == ""


def test_files_that_are_large_already_stay_and_rows_keep_their_order(lake: Lake) -> None:
    large = people(*(f"{number:x}" * 40 for number in range(3000)))
    for number in range(3):
        lake.append("people", people(f"a{number}"))
    lake.append("people", large)
    for number in range(3):
        lake.append("people", people(f"b{number}"))
    before = state(lake, "people")
    kept = max(lake.files(before), key=lambda file: file.bytes)
    done = compact(lake, "people", target=kept.bytes)
    after = state(lake, "people")
    assert (done.rewritten_files, after["files"]) == (6, 3)
    assert kept.path in {file.path for file in lake.files(after)}
    assert rows_in(lake, after) == rows_in(lake, before)
    assert names_in(lake, after)[:3] == ["a0", "a1", "a2"]
    assert names_in(lake, after)[-3:] == ["b0", "b1", "b2"]


def test_a_target_cuts_the_result_into_several_files(small: Lake) -> None:
    size = small.files(state(small, "people"))[0].bytes
    done = compact(small, "people", target=size * 5)
    assert 1 < done.files_after < 20
    assert len(names_in(small, state(small, "people"))) == 40


@pytest.mark.slow
@everywhere
def test_columns_are_those_of_today(lake: Lake) -> None:
    lake.append("t", pa.table({"a": pa.array([1], pa.int32()), "b": ["x"], "gone": [1.5]}))
    history, path = lake.workspace.history, "tables/t"
    change = lake.stage_columns(
        history.get("main", path),
        rename={"b": "c"},
        drop=["gone"],
        widen={"a": pa.int64()},
        add=[pa.field("d", pa.date32())],
    )
    history.commit("main", {path: change}, message="columns")
    lake.append("t", pa.table({"a": [2], "c": ["y"], "d": pa.array([0], pa.date32())}))
    before = state(lake, "t")
    rows = rows_in(lake, before)
    compact(lake, "t")
    after = state(lake, "t")
    assert (after["files"], after["digest"]) == (1, before["digest"])
    assert rows_in(lake, after) == rows
    assert pq.read_schema(files.readable(lake.files(after)[0].path)).names == ["a", "c", "d"]


def test_every_type_comes_through(lake: Lake) -> None:
    rows = pa.table(
        {
            "t": pa.array([1, None], pa.time64("us")),
            "z": pa.array([1, 2], pa.timestamp("us", "UTC")),
            "d": pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)),
            "f": pa.array([b"abcd", None], pa.binary(4)),
            "n": pa.array([float("nan"), None], pa.float32()),
            "s": [{"x": 1, "y": ["a", None]}, None],
            "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        }
    )
    for _ in range(3):
        lake.append("t", rows)
    before = repr(rows_in(lake, state(lake, "t")))
    compact(lake, "t")
    assert repr(rows_in(lake, state(lake, "t"))) == before
    assert check(lake.workspace, deep=True).ok


@pytest.mark.slow
def test_deleted_rows_leave_the_files(small: Lake) -> None:
    value = state(small, "people")
    table = small.table(value, "people")
    data = table.data_files()
    gone = [(str(data[3].path), 0), (str(data[3].path), 1), (str(data[7].path), 1)]
    deleted = adopted(small, with_deletes(table, delete_file(table, gone)))
    rows = sorted(rows_in(small, deleted), key=repr)
    assert len(rows) == 37
    done = compact(small, "people")
    after = state(small, "people")
    assert (done.deletes, after["rows"], after["files"], after["digest"]) == (1, 37, 1, deleted["digest"])
    assert sorted(rows_in(small, after), key=repr) == rows
    assert small.table(after).summary["total-delete-files"] == "0"
    assert not [m for m in small.table(after).manifests() if m["content"] == manifests.DELETES]
    names = names_in(small, after)
    assert names.index("n7") < names.index("n8")
    assert check(small.workspace).ok


def adopted(lake: Lake, table: Table) -> dict[str, Any]:
    """Commit a state that another engine made of `people`."""
    value = lake.adopt(table.path, "people")
    lake.workspace.history.commit("main", {"tables/people": value}, message="from another engine")
    return value


class Meanwhile:
    """Does something once, while rows are rewritten."""

    def __init__(self, work: Any) -> None:
        self.work = work

    def __call__(self, message: str, done: int = 0, total: int | None = None) -> None:
        work, self.work = self.work, None
        if work:
            work()


@pytest.mark.slow
@everywhere
def test_rows_that_are_appended_meanwhile_stay(small: Lake) -> None:
    done = compact(small, "people", tell=Meanwhile(lambda: small.append("people", people("late"))))
    assert (done.rewritten_files, state(small, "people")["files"]) == (20, 2)
    assert names_in(small, state(small, "people"))[-1] == "late"
    assert state(small, "people")["rows"] == 41


def test_rows_that_are_deleted_meanwhile_do_not_come_back(small: Lake) -> None:
    size = small.files(state(small, "people"))[0].bytes

    def delete() -> None:
        small.delete("people", "name = 'n3'")

    done = compact(small, "people", target=size * 5, tell=Meanwhile(delete))
    assert 0 < done.rewritten_files < 20
    assert "n3" not in names_in(small, state(small, "people"))
    assert state(small, "people")["rows"] == 39
    assert check(small.workspace).orphans == ()


@pytest.mark.slow
def test_when_all_was_replaced_meanwhile_there_is_nothing_to_do(small: Lake) -> None:
    done = compact(small, "people", tell=Meanwhile(lambda: small.overwrite("people", people("new"))))
    assert (done.commit, done.rewritten_files) == ("", 0)
    assert names_in(small, state(small, "people")) == ["new"]
    assert check(small.workspace).orphans == ()


def test_what_fails_on_the_way_leaves_nothing(small: Lake) -> None:
    def fail(message: str, done: int = 0, total: int | None = None) -> None:
        raise KeyboardInterrupt

    before = state(small, "people")
    with pytest.raises(KeyboardInterrupt):
        compact(small, "people", tell=fail)
    assert state(small, "people") == before
    assert check(small.workspace).orphans == ()


def test_a_damaged_data_file_is_named(small: Lake) -> None:
    path = small.files(state(small, "people"))[3].path
    before = state(small, "people")
    for damage in (lambda: path.write_bytes(b"junk"), path.unlink):
        damage()
        with pytest.raises(EnvironmentProblem, match=f"The data file .*{path.name} cannot be read") as caught:
            compact(small, "people")
        assert "doctor --deep" in caught.value.hint
        assert state(small, "people") == before


@pytest.mark.slow
@pytest.mark.parametrize("compacted", ["main", "dev"])
def test_a_branch_that_appended_merges_with_one_that_was_compacted(small: Lake, compacted: str) -> None:
    small.workspace.history.create_branch("dev")
    small.append("people", people("ours"))
    small.append("people", people("theirs"), branch="dev")
    compact(small, "people", branch=compacted)
    merged(small, "dev")
    names = names_in(small, state(small, "people"))
    assert sorted(names[-2:]) == ["ours", "theirs"]
    assert (len(names), len(set(names))) == (42, 42)


@pytest.mark.slow
def test_a_compacted_branch_that_lost_rows_does_not_merge(small: Lake) -> None:
    small.workspace.history.create_branch("dev")
    small.append("people", people("theirs"), branch="dev")
    compact(small, "people")
    small.delete("people", "name = 'n3'")
    with pytest.raises(Conflict, match="tables/people"):
        merged(small, "dev")


@pytest.mark.slow
def test_what_was_picked_and_compacted_does_not_come_a_second_time(small: Lake) -> None:
    history = small.workspace.history
    history.create_branch("dev")
    small.append("people", people("picked"), branch="dev")
    picked = history.resolve("dev")
    small.append("people", people("theirs"), branch="dev")

    def resolve(path: str, base: Any, ours: Any, theirs: Any) -> Any:
        return small.pick_appends(base, ours, theirs)

    small.append("people", people("ours"))
    history.cherry_pick(picked.id, "main", resolve=resolve)
    compact(small, "people")
    history.cherry_pick(picked.id, "main", resolve=resolve)
    merged(small, "dev")
    names = names_in(small, state(small, "people"))
    assert sorted(names[40:]) == ["ours", "picked", "theirs"]
    small.delete("people", "name = 'picked'")
    with pytest.raises(Conflict):  # whether it is there, nobody can tell any more
        history.cherry_pick(picked.id, "main", resolve=resolve)


def test_a_compaction_is_taken_back_by_a_revert(small: Lake) -> None:
    before = state(small, "people")
    done = compact(small, "people")
    small.workspace.history.revert(done.commit)
    assert state(small, "people") == before


@pytest.mark.slow
def test_a_subject_is_forgotten_in_compacted_files_too(small: Lake) -> None:
    compact(small, "people")
    report = forget(small.workspace, "people", {"name": "n3"})
    assert report.rows == 2
    assert "n3" not in names_in(small, state(small, "people"))
    assert check(small.workspace).ok


@pytest.mark.slow
def test_old_files_go_when_no_state_needs_them(small: Lake) -> None:
    compact(small, "people")
    retention.save(small.workspace.catalog, Retention((Rule("main", last=1),)), "ana")
    collect(small.workspace, grace=0)
    assert len(list(small.table(state(small, "people")).folder.glob("data/*.parquet"))) == 1
    assert len(names_in(small, state(small, "people"))) == 40
    with pytest.raises(Expired):
        small.scan(state(small, "people", "main~1"))
    small.append("people", people("more"))
    merged_again = compact(small, "people")
    assert merged_again.files_after == 1
    assert check(small.workspace, deep=True).ok


def test_all_tables_of_a_branch_and_what_cannot_be_rewritten(small: Lake) -> None:
    small.append("other", people("ann"))
    small.append("other", people("bob"))
    history, path = small.workspace.history, "tables/other"
    table = small.table(history.get("main", path))
    document = metadata.with_properties(table.metadata, {})
    odd = table.written({**document, "format-version": 3, "next-row-id": 0})
    history.commit("main", {path: small.adopt(odd.path, "other")}, message="another engine's")
    done = {one.table: one for one in compact_tables(small, [], "main")}
    assert done["people"].files_after == 1
    assert "format version 3" in done["other"].skipped
    with pytest.raises(InputError, match="format version 3"):
        compact_tables(small, ["other"], "main")
    with pytest.raises(NotFound, match="nobody"):
        compact_tables(small, ["nobody"], "main")
    with pytest.raises(InputError, match="0 bytes"):
        compact(small, "people", target=0)


def test_ingested_sources_stay_known(local_workspace: Workspace, tmp_path: Path) -> None:
    from bascule.lake import ingest

    lake = Lake(local_workspace)
    for number in range(4):
        (tmp_path / f"{number}.csv").write_text(f"a\n{number}\n")
        ingest(lake, "t", tmp_path / f"{number}.csv")
    compact(lake, "t")
    report = ingest(lake, "t", tmp_path / "*.csv")
    assert not report.changed
    assert names_in(lake, state(lake, "t"), "a") == [0, 1, 2, 3]


STEPS = st.lists(st.sampled_from(["append", "append", "delete", "compact", "column", "overwrite"]), max_size=12)


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, target=st.sampled_from([1500, 4000, 10**7]))
def test_whatever_comes_before_and_after_the_rows_are_those_of_a_table_that_was_never_compacted(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], target: int
) -> None:
    lake = Lake(Workspace.create(tmp_path_factory.mktemp("w")))
    names = numbers()
    for table in ("plain", "squeezed"):
        lake.append(table, people("first"))
    for step in steps:
        number = next(names)
        for table in ("plain", "squeezed"):
            if step == "append":
                lake.append(table, people(f"a{number}", f"b{number}", start=number), evolve=True)
            elif step == "delete":
                lake.delete(table, f"id % 3 = {number % 3}")
            elif step == "overwrite" and number % 4 == 0:
                lake.overwrite(table, people(f"o{number}", f"p{number}", start=number))
            elif step == "column":
                value = lake.stage_columns(state(lake, table), add=[pa.field(f"c{number}", pa.int64())])
                lake.workspace.history.commit("main", {f"tables/{table}": value}, message="column")
        if step == "compact":
            before = state(lake, "squeezed")
            compact(lake, "squeezed", target=target)
            after = state(lake, "squeezed")
            assert after["digest"] == before["digest"]
            assert rows_in(lake, after) == rows_in(lake, before)
        sides = [sorted(map(repr, rows_in(lake, state(lake, table)))) for table in ("plain", "squeezed")]
        assert sides[0] == sides[1]
        assert state(lake, "squeezed")["rows"] == state(lake, "plain")["rows"]
    assert check(lake.workspace, deep=True).ok
    lake.workspace.close()


def numbers() -> Iterator[int]:
    """0, 1, 2, …"""
    return iter(range(10**6))


@pytest.mark.slow
@everywhere
def test_files_of_one_partition_become_one(lake: Lake, client: dict[str, str]) -> None:
    value = lake.stage_append(None, people("ann", "bob"), name="people")
    value = lake.stage_layout(value, partition_by=["truncate(1, name)"])
    for start in (2, 4, 6):
        value = lake.stage_append(value, people("ann", "bob", start=start), name="people")
    lake.workspace.history.commit("main", {"tables/people": value}, message="m")
    done = compact(lake, "people")
    after = state(lake, "people")
    assert (done.files_before, done.files_after) == (7, 3)
    held = {(f.record["spec-id"], *f.record["partition"].values()): f.rows for f in lake.files(after)}
    assert held == {(0,): 2, (1, "a"): 3, (1, "b"): 3}
    assert after["digest"] == value["digest"]
    assert sorted(map(repr, rows_in(lake, after))) == sorted(map(repr, rows_in(lake, value)))
    theirs = StaticTable.from_metadata(str(lake.location(after)), client).scan(row_filter="name = 'bob'").to_arrow()
    assert sorted(theirs["id"].to_pylist()) == [1, 3, 5, 7]
    assert check(lake.workspace).ok
