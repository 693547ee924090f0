"""Staging and committing states of tables, comparing and merging them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from tests.lake.samples import everything_in, everywhere, names_in, people, state

from bascule.errors import Conflict, InputError, NotFound
from bascule.history import Workspace
from bascule.lake import Lake, engine
from bascule.lake.doctor import check

Read = Callable[[str], list[dict[str, Any]]]


@pytest.mark.slow
@everywhere
def test_append_makes_the_table_and_adds_to_it(lake: Lake) -> None:
    first = lake.append("people", people("ann", "bob"), key=["id"])
    second = lake.append("people", people("cyd", start=2))
    value = state(lake, "people")
    assert names_in(lake, value) == ["ann", "bob", "cyd"]
    assert (value["rows"], value["files"], value["key"], value["kind"]) == (3, 2, ["id"], "table")
    assert names_in(lake, state(lake, "people", first.id)) == ["ann", "bob"]
    assert second.parents == (first.id,)
    assert len(lake.snapshots(value)) == 2
    assert [f.rows for f in lake.files(value)] == [2, 1]
    assert lake.schema(value).names == ["id", "name", "score"]


def test_staging_shows_nothing_until_it_is_committed(lake: Lake) -> None:
    lake.append("people", people("ann"))
    head = lake.workspace.history.resolve("main").id
    staged = lake.stage_append(state(lake, "people"), people("bob", start=1), name="people")
    assert lake.workspace.history.resolve("main").id == head
    assert names_in(lake, state(lake, "people")) == ["ann"]
    assert names_in(lake, staged) == ["ann", "bob"]


def test_every_kind_of_rows_is_taken(lake: Lake) -> None:
    rows = people("ann")
    with engine.opened() as connection:
        relation = connection.sql("SELECT 1::BIGINT AS id, 'bob' AS name, 3.0::DOUBLE AS score")
        for data in (rows, rows.to_batches()[0], rows.to_reader(), relation):
            lake.append("people", data)
    assert names_in(lake, state(lake, "people")) == ["ann", "ann", "ann", "bob"]
    with pytest.raises(InputError, match="list holds no rows"):
        lake.append("people", [1, 2])


@pytest.mark.slow
@everywhere
def test_a_relation_that_fails_on_the_way_leaves_nothing(lake: Lake) -> None:
    lake.append("people", people("ann"))
    before = everything_in(lake.folder)
    with engine.opened() as connection:
        relation = connection.sql(
            "SELECT range AS id, 'x' AS name, CASE WHEN range > 200000 THEN error('no') END::DOUBLE AS score "
            "FROM range(300000)"
        )
        with pytest.raises(InputError, match=r"The rows cannot be read: .*no"):
            lake.append("people", relation)
    assert everything_in(lake.folder) == before


def test_an_empty_table_has_columns_and_no_rows(lake: Lake, read: Read) -> None:
    value = lake.stage_create("ops.people", people().schema, key=["ID"])
    assert (value["rows"], value["snapshot_id"], value["key"]) == (0, None, ["id"])
    assert read(lake.scan(value)) == []
    assert names_in(lake, lake.stage_append(value, people("ann"), name="ops.people")) == ["ann"]


@pytest.mark.parametrize("name", ["", "1st", "a b", "a/b", "../up", "a..b", "a.b.", "a@b", 'a"b', "é"])
def test_names_that_no_table_has_are_refused(lake: Lake, name: str) -> None:
    with pytest.raises(InputError, match="cannot name a table"):
        lake.append(name, people("ann"))
    assert not lake.folder.exists()


@everywhere
def test_a_key_that_is_no_column_is_refused_and_nothing_is_left(lake: Lake) -> None:
    with pytest.raises(NotFound, match="column named 'nam'") as raised:
        lake.append("people", people("ann"), key=["nam"])
    assert "Did you mean 'name'?" in raised.value.hint
    assert everything_in(lake.folder) == {}


def test_columns_that_differ_are_refused_with_the_nearest_name(lake: Lake) -> None:
    lake.append("people", people("ann"))
    renamed = people("bob").rename_columns(["id", "nmae", "score"])
    with pytest.raises(InputError, match="lack the column 'name' and have the column 'nmae'") as raised:
        lake.append("people", renamed)
    assert "did you mean 'name'" in raised.value.hint
    assert state(lake, "people")["rows"] == 1


def test_columns_may_change_with_the_rows_when_that_is_asked_for(lake: Lake, read: Read) -> None:
    lake.append("people", people("ann"))
    lake.append("people", pa.table({"ID": [7], "born": pa.array([1990], pa.int32())}), evolve=True)
    assert read(lake.scan(state(lake, "people"))) == [
        {"id": 0, "name": "ann", "score": 3.0, "born": None},
        {"id": 7, "name": None, "score": None, "born": 1990},
    ]


@pytest.mark.slow
@everywhere
def test_overwrite_puts_new_rows_in_the_place_of_the_old(lake: Lake) -> None:
    lake.append("people", people("ann", "bob"))
    lake.overwrite("people", people("cyd"))
    assert names_in(lake, state(lake, "people")) == ["cyd"]
    assert names_in(lake, state(lake, "people", "main~1")) == ["ann", "bob"]
    lake.append("people", people("dot"))
    assert names_in(lake, state(lake, "people")) == ["cyd", "dot"]
    assert state(lake, "people")["rows"] == 2


@pytest.mark.slow
@everywhere
def test_overwrite_does_not_win_over_somebody_else(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.append("people", people("ann"))
    stage = Lake.stage_overwrite

    def slow(self: Lake, *args: Any, **named: Any) -> Any:
        staged = stage(self, *args, **named)
        Lake(lake.workspace).append("people", people("bob"))
        return staged

    monkeypatch.setattr(Lake, "stage_overwrite", slow)
    with pytest.raises(Conflict, match="tables/people"):
        lake.overwrite("people", people("cyd"))
    assert names_in(lake, state(lake, "people")) == ["ann", "bob"]
    assert not check(lake.workspace).orphans


@everywhere
def test_a_table_that_two_make_at_once_is_made_by_one(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Lake.stage_append

    def slow(self: Lake, *args: Any, **named: Any) -> Any:
        staged = stage(self, *args, **named)
        monkeypatch.setattr(Lake, "stage_append", stage)
        Lake(lake.workspace).append("people", people("bob"))
        return staged

    monkeypatch.setattr(Lake, "stage_append", slow)
    with pytest.raises(Conflict, match="tables/people"):
        lake.append("people", people("ann"))
    assert names_in(lake, state(lake, "people")) == ["bob"]
    assert not check(lake.workspace).orphans


@pytest.mark.slow
@everywhere
def test_delete_rewrites_only_files_that_hold_such_rows(lake: Lake) -> None:
    for start in (0, 10, 20):
        lake.append("people", people("ann", "bob", "cyd", start=start))
    before = {f.path for f in lake.files(state(lake, "people"))}
    lake.delete("people", "id = 11")
    after = lake.files(state(lake, "people"))
    assert len({f.path for f in after} & before) == 2
    assert [f.rows for f in after] == [3, 3, 2]
    lake.delete("people", "id >= 20 -- the last file as a whole")
    assert [f.rows for f in lake.files(state(lake, "people"))] == [3, 2]
    assert state(lake, "people")["rows"] == 5


def test_delete_keeps_rows_for_which_the_condition_is_null(lake: Lake) -> None:
    lake.append("people", pa.table({"id": [1, None, 3]}))
    lake.delete("people", "id > 1")
    assert names_in(lake, state(lake, "people"), "id") == [1, None]
    head = lake.workspace.history.resolve("main").id
    lake.delete("people", "id = 99")
    assert lake.workspace.history.resolve("main").id == head  # nothing to do is no commit


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("nope = 1", "nope"),
        ("id = 1); DROP TABLE x; --", "is not one condition|syntax"),
        ("id IN (SELECT 1 FROM read_text('/etc/hostname'))", "disabled by configuration"),
    ],
)
def test_a_condition_that_is_none_is_refused(lake: Lake, where: str, what: str) -> None:
    lake.append("people", people("ann"))
    with pytest.raises(InputError, match=what):
        lake.delete("people", where)
    assert state(lake, "people")["rows"] == 1


def test_deleting_from_a_table_that_is_not_there_says_so(lake: Lake) -> None:
    lake.append("people", people("ann"))
    with pytest.raises(NotFound, match="peple") as raised:
        lake.delete("peple", "id = 1")
    assert "Did you mean 'people'?" in raised.value.hint


@pytest.mark.slow
@everywhere
def test_columns_change_without_touching_data(lake: Lake, read: Read) -> None:
    lake.append("people", people("ann"), key=["id"])
    value = lake.stage_columns(
        state(lake, "people"),
        rename={"id": "number", "name": "called"},
        drop=["score"],
        add=[pa.field("x", pa.int32())],
    )
    assert read(lake.scan(value)) == [{"number": 0, "called": "ann", "x": None}]
    assert value["key"] == ["number"]
    assert value["digest"] != state(lake, "people")["digest"]
    value = lake.stage_columns(value, widen={"x": pa.int64()})
    assert lake.schema(value).field("x").type == pa.int64()
    with pytest.raises(NotFound, match="gone"):
        lake.stage_columns(value, drop=["gone"])


@pytest.mark.slow
@everywhere
def test_only_files_within_the_limits_are_read(lake: Lake, read: Read) -> None:
    for start in (0, 10, 20):
        lake.append("people", people("ann", "bob", start=start))
    value = state(lake, "people")
    source = lake.scan(value, between={"id": (10, 11)})
    assert [row["id"] for row in read(source)] == [10, 11]
    assert source.count(".parquet") == 1
    assert read(lake.scan(value, between={"id": (100, None)})) == []
    assert len(read(lake.scan(value, between={"id": (None, 10), "name": ("bob", None)}))) == 1


def test_a_whole_table_is_read_by_one_thread(local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, made = Lake(local_workspace), []
    lake.append("people", people("ann", "bob"))
    connect = engine.connect
    monkeypatch.setattr(engine, "connect", lambda temporary=None: made.append(connect(temporary)) or made[-1])
    reader = lake.read(state(lake, "people"))
    assert made[0].cursor().execute("SELECT current_setting('threads')").fetchone() == (1,)
    assert reader.read_all().num_rows == 2


def test_appends_at_once_are_all_kept(local_workspace: Workspace) -> None:
    Lake(local_workspace).append("people", people("first"))
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for step in range(4):
                Lake(local_workspace).append("people", people(f"w{number}s{step}"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    lake = Lake(local_workspace)
    wanted = {"first", *(f"w{n}s{s}" for n in range(3) for s in range(4))}
    assert set(names_in(lake, state(lake, "people"))) == wanted
    assert state(lake, "people")["rows"] == 13
    assert not check(local_workspace).orphans  # the losers cleaned up behind them


class TestMerge:
    @pytest.fixture
    def forked(self, lake: Lake) -> Lake:
        lake.append("people", people("ann"))
        lake.workspace.history.create_branch("other")
        return lake

    def merge(self, lake: Lake) -> Any:
        def resolve(_: str, base: Any, ours: Any, theirs: Any) -> Any:
            return lake.merge_appends(base, ours, theirs)

        return lake.workspace.history.merge("other", "main", resolve=resolve)

    def test_two_appends_are_both_kept_and_no_data_is_copied(self, forked: Lake) -> None:
        forked.append("people", people("bob"))
        forked.append("people", people("cyd"), branch="other")
        forked.append("people", people("dot"), branch="other")
        files = {f.path for ref in ("main", "other") for f in forked.files(state(forked, "people", ref))}
        self.merge(forked)
        value = state(forked, "people")
        assert names_in(forked, value) == ["ann", "bob", "cyd", "dot"]
        assert {f.path for f in forked.files(value)} == files
        assert value["rows"] == 4

    @pytest.mark.slow
    def test_many_appends_on_both_sides(self, forked: Lake) -> None:
        for number in range(20):
            forked.append("people", people(f"m{number}"))
            forked.append("people", people(f"o{number}"), branch="other")
        self.merge(forked)
        wanted = {"ann", *(f"{side}{n}" for side in "mo" for n in range(20))}
        assert set(names_in(forked, state(forked, "people"))) == wanted

    def test_a_column_that_one_side_added_comes_along(self, forked: Lake) -> None:
        forked.append("people", people("bob"))
        forked.append("people", people("cyd").append_column("x", pa.array([1])), branch="other", evolve=True)
        self.merge(forked)
        assert names_in(forked, state(forked, "people"), "x") == [None, None, 1]

    def test_columns_that_both_changed_are_a_conflict(self, forked: Lake) -> None:
        forked.append("people", people("bob").append_column("y", pa.array([1])), evolve=True)
        forked.append("people", people("cyd").append_column("x", pa.array([1])), branch="other", evolve=True)
        with pytest.raises(Conflict, match="tables/people"):
            self.merge(forked)

    @pytest.mark.parametrize("branch", ["main", "other"])
    def test_anything_but_appends_is_a_conflict(self, forked: Lake, branch: str) -> None:
        forked.append("people", people("bob"))
        forked.append("people", people("cyd"), branch="other")
        forked.delete("people", "name = 'ann'", branch=branch)
        with pytest.raises(Conflict, match="tables/people"):
            self.merge(forked)
        assert check(forked.workspace).ok

    def test_two_tables_made_apart_are_a_conflict(self, forked: Lake) -> None:
        forked.append("new", people("x"))
        forked.append("new", people("x"), branch="other")
        with pytest.raises(Conflict, match="tables/new"):
            self.merge(forked)


class TestDiff:
    def test_new_rows_are_added_rows(self, lake: Lake) -> None:
        lake.append("people", people("ann"), key=["id"])
        before = state(lake, "people")
        lake.append("people", people("bob", "cyd", start=1))
        diff = lake.diff(before, state(lake, "people"), limit=1)
        assert (diff.rows_before, diff.rows_after, diff.added, diff.removed, diff.changed) == (1, 3, 2, 0, 0)
        assert len(diff.sample) == 1
        assert diff.sample[0].after == {"id": 1, "name": "bob", "score": 3.0}
        assert not diff.empty
        assert lake.diff(before, before).empty

    def test_rows_are_matched_by_the_key(self, lake: Lake) -> None:
        lake.append("people", people("ann", "bob", "cyd"), key=["id"])
        lake.append("people", people("far", start=50))
        before = state(lake, "people")
        lake.delete("people", "id < 50")
        lake.append("people", people("ann", "BOB"))
        diff = lake.diff(before, state(lake, "people"))
        assert (diff.added, diff.removed, diff.changed, diff.matched_by) == (0, 1, 1, ("id",))
        kinds = {change.kind: (change.before, change.after) for change in diff.sample}
        assert kinds["changed"][0] == {"id": 1, "name": "bob", "score": 3.0}
        assert kinds["changed"][1] == {"id": 1, "name": "BOB", "score": 3.0}
        assert kinds["removed"][1] is None

    def test_without_a_unique_key_rows_are_a_multiset(self, lake: Lake) -> None:
        lake.append("people", people("ann", "ann", "bob").drop_columns(["id"]))
        before = state(lake, "people")
        after = lake.stage_overwrite(before, people("ann", "cyd").drop_columns(["id"]), name="people")
        diff = lake.diff(before, after)
        assert (diff.added, diff.removed, diff.changed, diff.matched_by) == (1, 2, 0, ())
        assert sorted(c.before["name"] for c in diff.sample if c.before) == ["ann", "bob"]

    def test_a_renamed_and_widened_column_changes_no_row(self, lake: Lake) -> None:
        rows = pa.table({"id": pa.array([1, 2], pa.int32()), "here": ["x", "y"]})
        before = lake.stage_append(None, rows, name="t", key=["id"])
        after = lake.stage_columns(
            before, rename={"here": "there"}, widen={"id": pa.int64()}, add=[pa.field("n", pa.int8())]
        )
        after = lake.stage_delete(after, "id = 2")
        diff = lake.diff(before, after)
        assert (diff.added, diff.removed, diff.changed) == (0, 1, 0)
        kinds = {(c.kind, c.column, c.before, c.after) for c in diff.columns}
        assert kinds == {
            ("renamed", "there", "here", "there"),
            ("widened", "id", "INTEGER", "BIGINT"),
            ("added", "n", "", "INTEGER"),
        }

    def test_a_table_that_came_or_went(self, lake: Lake) -> None:
        value = lake.stage_append(None, people("ann"), name="people")
        came, went = lake.diff(None, value), lake.diff(value, None)
        assert (came.added, came.rows_after, went.removed, went.rows_before) == (1, 1, 1, 1)
        assert [c.kind for c in came.columns] == ["added"] * 3
        assert lake.diff(None, None).empty

    def test_a_replaced_table_is_compared_by_its_columns_names(self, lake: Lake) -> None:
        a = lake.stage_append(None, people("ann", "bob"), name="people", key=["id"])
        b = lake.stage_append(None, people("ann", "eve"), name="people", key=["id"])
        diff = lake.diff(a, b)
        assert (diff.added, diff.removed, diff.changed) == (0, 0, 1)


@everywhere
def test_equal_content_has_one_digest_and_other_content_another(lake: Lake, tmp_path: Any) -> None:
    one = lake.stage_append(None, people("ann"), name="a")
    two = lake.stage_append(None, people("ann"), name="b")
    assert one["digest"] == two["digest"]
    assert lake.stage_append(one, people("bob"), name="a")["digest"] != one["digest"]
    other = Lake(Workspace.create(tmp_path / "elsewhere"))
    assert other.stage_append(None, people("ann"), name="c")["digest"] == one["digest"]
    other.workspace.close()


def test_a_workspace_may_be_moved(lake: Lake, tmp_path: Any) -> None:
    lake.append("people", people("ann"))
    lake.workspace.close()
    lake.workspace.folder.parent.rename(tmp_path / "moved")
    moved = Lake(Workspace.open(tmp_path / "moved"))
    moved.append("people", people("bob"))
    assert names_in(moved, state(moved, "people")) == ["ann", "bob"]
    assert check(moved.workspace, deep=True).ok
    moved.workspace.close()
