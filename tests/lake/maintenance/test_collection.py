"""What goes and what stays, case by case; test_model.py asks about all of them at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from sqlalchemy import insert
from tests.lake.maintenance.aging import age, files_below
from tests.lake.samples import everywhere, names_in, people, state

from bascule.catalog import audit, new_id, now, schema
from bascule.durations import DAY
from bascule.errors import Busy, Expired, Held, InputError, NotFound
from bascule.history import Workspace, holding, holds
from bascule.lake import Lake, RecordTable, filesets, forget
from bascule.lake.doctor import check
from bascule.lake.filesets import FileSet
from bascule.lake.maintenance import Collection, Retention, Rule, collect, references, retention
from bascule.tracking import resume

OLD = 2 * DAY


def rule(workspace: Workspace, *rules: Rule) -> None:
    retention.save(workspace.catalog, Retention(rules), "ana")


def aged(workspace: Workspace, span: int = OLD) -> Workspace:
    return age(workspace, span)


@pytest.fixture
def overwritten(local_workspace: Workspace) -> Workspace:
    """Five states of one table, two days old."""
    lake = Lake(local_workspace)
    for name in ("ann", "bob", "cyd", "dee", "eve"):
        lake.overwrite("people", people(name))
    return aged(local_workspace)


def test_without_a_rule_every_state_stays_and_orphans_go_when_they_are_old(local_workspace: Workspace) -> None:
    lake = Lake(local_workspace)
    lake.append("people", people("ann"))
    lake.append("people", people("bob"))
    lake.stage_append(state(lake, "people"), people("nobody"), name="people")
    local_workspace.store.put(b"nobody's")
    (local_workspace.temporary_folder / "spilled").write_bytes(b"xyz")
    young = collect(local_workspace)
    assert (young.files, young.waiting_files) == (0, 6)
    os.utime(local_workspace.temporary_folder / "spilled", (0, 0))
    workspace = aged(local_workspace)
    planned = collect(workspace, dry_run=True)
    assert len(check(workspace).orphans) == 4
    done = collect(workspace)
    assert {(one.kind, one.table): one.files for one in done.collected} == {
        ("data", "people"): 1,
        ("metadata", "people"): 3,
        ("blobs", ""): 1,
        ("unfinished", ""): 1,
    }
    assert done.as_dict() == planned.as_dict() | {"dry_run": False}
    assert (check(workspace).ok, check(workspace).orphans) == (True, ())
    assert names_in(Lake(workspace), state(Lake(workspace), "people", "main~1")) == ["ann"]
    assert [row["action"] for row in audit.last(workspace.catalog, 1)] == ["collect"]
    assert audit.verify(workspace.catalog).ok


def test_an_expired_state_says_so_wherever_it_is_asked_for(overwritten: Workspace) -> None:
    history, lake = overwritten.history, Lake(overwritten)
    rule(overwritten, Rule("main", last=2))
    done = collect(overwritten)
    assert (done.expired_commits, done.expired_objects) == (3, 3)
    assert names_in(lake, state(lake, "people", "main~1")) == ["dee"]
    assert state(lake, "people", "main~3")["rows"] == 1  # what was is told for ever
    for ask in (
        lambda: lake.scan(state(lake, "people", "main~3")),
        lambda: history.create_branch("back", "main~3"),
        lambda: history.tag("v1", "main~3"),
        lambda: history.restore("main", "main~3", ["tables/people"], message="back"),
        lambda: holding.hold(overwritten, history.resolve("main~3").id, "case 7"),
    ):
        with pytest.raises(Expired, match="main keeps the last 2"):
            ask()
    assert {ref.name for ref in history.branches()} == {"main"}
    report = check(overwritten)
    assert (report.ok, report.expired, report.orphans) == (True, 3, ())


@pytest.mark.slow
@everywhere
def test_what_expired_goes_wherever_the_lake_is(lake: Lake) -> None:
    workspace = lake.workspace
    for name in ("ann", "bob", "cyd"):
        lake.overwrite("people", people(name))
    lake.overwrite("other", people("ann"))
    workspace.history.commit("main", {"tables/other": None}, message="drop")
    needed, nobodys = workspace.store.put(b"needed"), workspace.store.put(b"nobody's")
    workspace.history.commit("main", {"things/x": {"kind": "thing", "blob": needed}}, message="thing")
    rule(workspace, Rule("main", last=1))
    planned = collect(workspace, grace=0, dry_run=True)
    done = collect(workspace, grace=0)
    assert done.as_dict() == planned.as_dict() | {"dry_run": False}
    assert {(one.kind, one.table): one.files for one in done.collected} == {
        ("metadata", "people"): 7,
        ("data", "people"): 2,
        ("metadata", "other"): 3,
        ("data", "other"): 1,
        ("blobs", ""): 1,
    }
    assert (workspace.store.has(needed), workspace.store.has(nobodys)) == (True, False)
    assert names_in(lake, state(lake, "people")) == ["cyd"]
    with pytest.raises(Expired):
        lake.scan(state(lake, "people", "main~4"))
    report = check(workspace)
    assert (report.ok, report.orphans) == (True, ())


def test_what_a_revert_would_bring_back_must_be_there(overwritten: Workspace) -> None:
    history, lake = overwritten.history, Lake(overwritten)
    history.create_branch("two", "main~2")
    rule(overwritten, Rule("*", last=1))
    collect(aged(overwritten))
    with pytest.raises(Expired):
        history.revert("two", on="two")
    assert names_in(lake, state(lake, "people", "two")) == ["cyd"]


def test_a_state_is_kept_as_long_after_another_took_its_place(overwritten: Workspace) -> None:
    Lake(overwritten).overwrite("people", people("fay"))
    rule(overwritten, Rule("main", keep=DAY))
    workspace = aged(overwritten, DAY // 2)
    collect(workspace, grace=0)
    lake = Lake(workspace)
    assert names_in(lake, state(lake, "people", "main~1")) == ["eve"]
    with pytest.raises(Expired):
        lake.scan(state(lake, "people", "main~2"))


def test_what_somebody_named_today_stays_although_no_rule_keeps_it(overwritten: Workspace) -> None:
    Lake(overwritten).overwrite("people", people("fay"))
    rule(overwritten, Rule("main", last=1))
    collect(overwritten)
    lake = Lake(overwritten)
    assert names_in(lake, state(lake, "people", "main~1")) == ["eve"]


def test_a_contents_object_comes_back_when_it_is_written_again(local_workspace: Workspace) -> None:
    workspace, blob = local_workspace, local_workspace.store.put(b"content")
    value = {"kind": "thing", "blob": blob}
    workspace.history.commit("main", {"things/x": value}, message="one")
    workspace.history.commit("main", {"things/x": None}, message="none")
    workspace = aged(workspace)
    rule(workspace, Rule("main", last=1))
    assert collect(workspace).expired_objects == 1
    assert not workspace.store.has(blob)
    with pytest.raises(Expired):
        workspace.history.revert("main")
    workspace.store.put(b"content")
    workspace.history.commit("main", {"things/x": value}, message="again")
    workspace = aged(workspace)
    collect(workspace)
    assert workspace.store.get(blob) == b"content"


@pytest.mark.parametrize("subject", ["tables/people", "main~3", "main"])
def test_what_is_held_stays_and_goes_when_it_is_released(overwritten: Workspace, subject: str) -> None:
    commit = overwritten.history.resolve("main~3")
    made = holding.hold(overwritten, commit.id if "~" in subject else subject, "case 7")
    rule(overwritten, Rule("main", last=1))
    workspace = aged(overwritten)
    collect(workspace)
    lake = Lake(workspace)
    assert names_in(lake, workspace.history.get(commit, "tables/people")) == ["bob"]
    with workspace.catalog.write() as conn:
        assert [one.id for one in holds.release(conn, made.subject, "ana")] == [made.id]
    assert collect(workspace).files
    with pytest.raises(Expired):
        lake.scan(workspace.history.get(commit, "tables/people"))
    with workspace.catalog.read() as conn:
        assert (holds.listed(conn), len(holds.listed(conn, released=True))) == ([], 1)


def test_a_hold_needs_something_to_hold_and_a_reason(overwritten: Workspace) -> None:
    with pytest.raises(NotFound, match="tables/poeple") as told:
        holding.hold(overwritten, "tables/poeple", "case 7")
    assert "tables/people" in told.value.hint
    with pytest.raises(InputError, match="reason"):
        holding.hold(overwritten, "main", " ")
    with overwritten.catalog.read() as conn:
        assert holds.listed(conn, released=True) == []


def test_a_held_branch_keeps_its_name(overwritten: Workspace) -> None:
    overwritten.history.create_branch("dev")
    holding.hold(overwritten, "dev", "case 7")
    rule(overwritten, Rule("dev", idle=DAY))
    workspace = aged(overwritten)
    assert collect(workspace).branches == ()
    with pytest.raises(Held, match="case 7"):
        workspace.history.delete_branch("dev", force=True)


def test_a_branch_that_nobody_touches_loses_its_name_and_later_its_states(overwritten: Workspace) -> None:
    history = overwritten.history
    for name in ("dev", "merged", "busy"):
        history.create_branch(name)
        Lake(overwritten).overwrite("people", people(name), branch=name)
    rule(overwritten, Rule("*", idle=3 * DAY))
    workspace = aged(overwritten, 4 * DAY)
    workspace.history.merge("merged", "main")
    Lake(workspace).append("people", people("more"), branch="busy")
    assert collect(workspace, dry_run=True).branches == ("dev",)
    assert collect(workspace).branches == ("dev",)
    assert {ref.name for ref in workspace.history.branches()} == {"main", "merged", "busy"}
    assert collect(workspace).files == 0
    workspace = aged(workspace, 31 * DAY)
    report = collect(workspace)
    assert (report.expired_commits, report.files > 0) == (1, True)


@pytest.mark.parametrize("subject", ["tables/people", "main", "keep", "commit"])
def test_rows_under_hold_are_not_forgotten_without_a_reason(overwritten: Workspace, subject: str) -> None:
    lake = Lake(overwritten)
    lake.append("people", people("sue"))
    commit = overwritten.history.tag("keep", "main~1").head
    holding.hold(overwritten, commit if subject == "commit" else subject, "case 7")
    before = {path: path.read_bytes() for path in files_below(overwritten.lake_folder)}
    with pytest.raises(Held, match="case 7") as told:
        forget(overwritten, "people", {"name": "eve"})
    assert "--despite-hold" in told.value.hint
    assert {path: path.read_bytes() for path in files_below(overwritten.lake_folder)} == before
    if subject in ("keep", "commit"):  # that state has no such row
        assert forget(overwritten, "people", {"name": "sue"}).rows == 1
    assert forget(overwritten, "people", {"name": "eve"}, despite_hold="the court said so").rows == 1
    entry = next(row for row in audit.last(overwritten.catalog, 9) if row["action"] == "despite-hold")
    assert "the court said so" in entry["detail_json"]


def test_a_registered_version_keeps_the_state_that_it_was_trained_on(overwritten: Workspace) -> None:
    history = overwritten.history
    trained, split = history.resolve("main~3"), history.resolve("main~2")
    run, made = new_id("run"), "ab" * 32
    row = {"id": run, "name": "train", "kind": "step", "status": "done", "commit_id": trained.id, "user_name": "ana"}
    data = overwritten.store.put(b"training set")
    entry = {"id": made, "name": "t", "blob": data, "rows": 1, "columns_json": "[]", "spec_json": "{}"}
    with overwritten.catalog.write() as conn:
        conn.execute(insert(schema.runs).values(**row, started_at=now(), environment_json="{}"))
        conn.execute(
            insert(schema.training_sets).values(**entry, split_json="{}", commit_id=split.id, created_at=now())
        )
    model = overwritten.store.put(b"model")
    version = {"artifact": model, "run_id": run, "training_set": made}
    history.commit("main", {"models/m": {"kind": "model", "versions": {"1": version}}}, message="register")
    rule(overwritten, Rule("main", last=1))
    workspace = aged(overwritten)
    assert collect(workspace).expired_commits
    lake = Lake(workspace)
    assert [names_in(lake, workspace.history.get(c, "tables/people")) for c in (trained, split)] == [["bob"], ["cyd"]]
    assert {model, data} <= set(workspace.store.digests())


def test_blobs_that_records_name_stay_and_those_inside_of_a_code_listing(local_workspace: Workspace) -> None:
    text = local_workspace.store.put(b"print(1)")
    listing = local_workspace.store.put(msgspec.json.encode({"train.py": text}))
    printed = local_workspace.store.put(b"1")
    run = new_id("run")
    row = {"id": run, "name": "train", "kind": "track", "status": "done", "user_name": "ana", "code_snapshot": listing}
    with local_workspace.catalog.write() as conn:
        conn.execute(insert(schema.runs).values(**row, started_at=now(), environment_json="{}"))
    resume(local_workspace, run).tags({"output": printed})
    local_workspace.store.put(b"nobody's")
    workspace = aged(local_workspace)
    assert collect(workspace).files == 1
    assert set(workspace.store.digests()) == {text, listing, printed}


def test_a_blob_that_is_put_again_is_young_again(local_workspace: Workspace, tmp_path: Path) -> None:
    name = local_workspace.store.put(b"same")
    workspace = aged(local_workspace)
    workspace.store.put(b"same")
    assert collect(workspace).files == 0
    workspace = aged(workspace)
    (tmp_path / "file").write_bytes(b"same")
    workspace.store.put_file(tmp_path / "file")
    assert not workspace.store.collect(name, now() - DAY)
    assert collect(workspace).files == 0
    assert collect(aged(workspace)).files == 1


def test_a_table_that_no_state_has_goes_with_its_folder(overwritten: Workspace) -> None:
    lake = Lake(overwritten)
    lake.append("other", people("ann"))
    overwritten.history.commit("main", {"tables/other": None}, message="drop")
    rule(overwritten, Rule("main", last=1))
    workspace = aged(overwritten)
    collect(workspace)
    collect(workspace, grace=0)
    assert [path.name.split("-")[0] for path in workspace.lake_folder.iterdir()] == ["people"]


def test_record_tables_stay(local_workspace: Workspace) -> None:
    table = RecordTable(local_workspace, "events", pa.schema([("n", pa.int64())]))
    for number in range(5):
        table.append(pa.table({"n": [number]}))
    before = set(files_below(local_workspace.lake_folder))
    workspace = aged(local_workspace)
    assert collect(workspace).files == 0
    assert set(files_below(workspace.lake_folder)) == before


@pytest.mark.slow
def test_nothing_of_a_damaged_table_goes(overwritten: Workspace) -> None:
    lake = Lake(overwritten)
    place = lake.location(state(lake, "people"))
    place.write_bytes(place.read_bytes()[:100])
    os.utime(place, (0, 0))
    rule(overwritten, Rule("main", last=1))
    before = set(files_below(overwritten.lake_folder))
    report = collect(overwritten)
    assert (report.files, list(report.skipped)) == (0, ["people"])
    assert set(files_below(overwritten.lake_folder)) == before


def test_a_missing_part_of_the_history_stops_it(overwritten: Workspace) -> None:
    with overwritten.catalog.write() as conn:
        conn.execute(schema.nodes.delete().where(schema.nodes.c.hash == overwritten.history.resolve("main~2").root))
    with pytest.raises(NotFound, match="part of the history"):
        collect(overwritten)


def test_two_do_not_collect_at_once(overwritten: Workspace) -> None:
    with overwritten.catalog.locked("gc", exclusive=True), pytest.raises(Busy, match="Another collection"):
        collect(overwritten)


def test_what_a_writer_lands_during_the_sweep_stays(overwritten: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old file that nothing referred to when it was decided, and somebody's commit did when it is swept."""
    lake = Lake(overwritten)
    staged = lake.stage_append(state(lake, "people"), people("late"), name="people")
    lake.stage_append(state(lake, "people"), people("never"), name="people")
    workspace = aged(overwritten)
    landed: list[str] = []

    def tell(message: str, done: int = 0, total: int | None = None) -> None:
        if message.startswith("sweeping people") and not landed:
            landed.append(workspace.history.commit("main", {"tables/people": staged}, message="late").id)

    assert collect(workspace, tell=tell).files == 4
    assert landed
    assert names_in(Lake(workspace), state(Lake(workspace), "people")) == ["eve", "late"]
    assert check(workspace).ok


def test_a_branch_made_during_the_sweep_is_refused_or_whole(overwritten: Workspace) -> None:
    rule(overwritten, Rule("main", last=1))
    seen: list[Any] = []

    def tell(message: str, done: int = 0, total: int | None = None) -> None:
        if message.startswith("reading what states need"):
            with pytest.raises(Expired):
                overwritten.history.create_branch("late", "main~2")
            seen.append(message)

    collect(overwritten, tell=tell)
    assert seen
    assert check(overwritten).ok


def test_rules_are_ordered_by_how_narrow_they_are() -> None:
    rules = Retention()
    for pattern in ("*", "ingest/*", "ingest/orders", "main"):
        rules = rules.with_rule(Rule(pattern, last=len(pattern)))
    found = {name: rules.rule(name).branches for name in ("main", "ingest/orders", "ingest/x", "dev")}
    assert found == {"main": "main", "ingest/orders": "ingest/orders", "ingest/x": "ingest/*", "dev": "*"}
    assert rules.without_rule("*").rule("dev").forever
    with pytest.raises(NotFound, match="mian"):
        rules.without_rule("mian")


@pytest.mark.parametrize(("branches", "keep", "last"), [("", None, None), ("main", "soon", None), ("main", None, 0)])
def test_a_rule_that_nothing_could_follow_is_refused(
    local_workspace: Workspace, branches: str, keep: str | None, last: int | None
) -> None:
    with pytest.raises(InputError):
        retention.change(local_workspace.catalog, branches, keep=keep, last=last)
    with local_workspace.catalog.read() as conn:
        assert retention.load(conn) == Retention()


GC = """
import sys
from bascule.history import Workspace
from bascule.lake.maintenance import collect
collect(Workspace.open(sys.argv[1]), grace=0)
"""


@pytest.mark.slow
def test_it_works_on_postgresql_too(workspace: Workspace) -> None:
    lake = Lake(workspace)
    for name in ("ann", "bob", "cyd"):
        lake.overwrite("people", people(name))
    rule(workspace, Rule("main", last=1))
    report = collect(workspace, grace=0)
    assert isinstance(report, Collection)
    assert (report.expired_commits, report.expired_objects) == (2, 2)
    with pytest.raises(Expired):
        workspace.history.create_branch("back", "main~1")
    subprocess.run([sys.executable, "-c", GC, str(workspace.folder)], check=True)
    assert check(workspace).ok


@pytest.mark.slow
@everywhere
def test_versions_of_file_sets_expire_as_states_of_tables_do(lake: Lake, tmp_path: Path) -> None:
    workspace, folder = lake.workspace, tmp_path / "images"
    folder.mkdir()
    large = bytes(range(256)) * 20_000
    (folder / "large.bin").write_bytes(large)
    for number in range(30):
        (folder / f"{number}.txt").write_text(f"first {number}")
    files = FileSet(workspace, "images")
    files.add(folder)
    for number in range(10):
        (folder / f"{number}.txt").write_text(f"second {number}")
    files.add(folder)
    assert collect(workspace, grace=0).files == 0
    rule(workspace, Rule("main", last=1))
    assert collect(workspace, grace=0).expired_commits
    assert filesets.check(workspace, deep=True).problems == []
    now_there = FileSet(workspace, "images")
    assert now_there.read("large.bin") == large
    assert [now_there.read(f"{n}.txt").decode() for n in (0, 20)] == ["second 0", "first 20"]
    with pytest.raises(Expired):
        list(FileSet(workspace, "images", at="main~1").list())
    for number in range(10):
        (folder / f"{number}.txt").write_text(f"first {number}")
    files.add(folder)
    assert FileSet(workspace, "images").read("0.txt") == b"first 0"
    collect(workspace, grace=0)
    assert filesets.check(workspace, deep=True).problems == []


def packs(store: Any, value: dict[str, Any], seen: set[bytes]) -> Any:
    """What goes through the blobs of the test's own kind: a listing blob names others."""
    yield value["listing"]
    for name in msgspec.json.decode(store.get(value["listing"])):
        if name.encode() not in seen:
            seen.add(name.encode())
            yield name


def test_a_kind_whose_blobs_name_others_says_which(local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(references.WITHIN, "packed", f"{__name__}:packs")
    store, history = local_workspace.store, local_workspace.history
    one, two, three = (store.put(text) for text in (b"one", b"two", b"three"))
    for names in ([one, two], [two, three]):
        listing = store.put(msgspec.json.encode(names))
        history.commit("main", {"things/x": {"kind": "packed", "listing": listing}}, message="packed")
    workspace = aged(local_workspace)
    assert collect(workspace).files == 0
    rule(workspace, Rule("main", last=1))
    report = collect(workspace)
    assert (report.files, report.expired_commits, report.expired_objects) == (2, 1, 1)
    assert set(workspace.store.digests()) == {two, three, listing}
