"""Versions of models are deleted, restored, and at last purged: then their files are gone, and it is said why."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from bascule.catalog import audit, now
from bascule.catalog.schema import commits, model_deletions, ref_log, refs, run_io, runs, step_cache
from bascule.delivery.traffic import planned
from bascule.durations import DAY
from bascule.errors import CheckFailed, Expired, InputError, NotFound
from bascule.history import Workspace, holding
from bascule.lake import views
from bascule.lake.maintenance import retention
from bascule.naming import model_path
from bascule.project import publishing, reverting
from bascule.project.caring import examine
from bascule.project.collecting import collect
from bascule.project.deleting import delete, restore
from bascule.registry import external, get_version, list_versions, merge_models, register, set_alias
from bascule.registry.bundles import packed
from bascule.registry.deletions import deleted
from bascule.registry.runtimes import set_runtime
from bascule.serving.case import CRASHED
from bascule.serving.incidents import Incidents, incidents_of
from bascule.tracking import remote, vouching
from bascule.tracking.tracker import Tracker
from tests.project.conftest import Bascule

MODEL = "models/delays"
PASSED = {"passed": True, "gates": []}
SPAN = 31 * DAY


def add(ws: Workspace, data: bytes, branch: str = "main", model: str = "delays") -> str:
    """Register a version as a run of the pipeline does, and return its bundle's digest."""
    digest = ws.store.put(data)
    register(
        ws,
        branch,
        model,
        artifact=digest,
        format="lightgbm",
        signature={},
        training_set="t",
        evaluation=PASSED,
        card=lambda number: f"The card of {model} {number}, made of {data!r}",
        contract="schema: []",
        author="ada",
    )
    return digest


@pytest.fixture(params=["disk", *(pytest.param(one, marks=pytest.mark.slow) for one in ("s3", "postgresql"))])
def ws(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    storage = request.getfixturevalue("s3") if request.param == "s3" else ""
    catalog = request.getfixturevalue("migrated_database") if request.param == "postgresql" else ""
    with closing(Workspace.create(tmp_path / "ws", storage=storage, catalog=catalog)) as made:
        add(made, b"first")
        add(made, b"second")
        add(made, b"third")
        yield made


def wait(ws: Workspace, span: int = SPAN) -> None:
    """Let time go by: whatever happened was so much earlier."""
    with ws.catalog.write() as conn:
        conn.execute(update(commits).values(created_at=commits.c.created_at - span))
        conn.execute(update(ref_log).values(at=ref_log.c.at - span))
        conn.execute(update(refs).values(updated_at=refs.c.updated_at - span))
        conn.execute(update(model_deletions).values(at=model_deletions.c.at - span))
        conn.execute(update(runs).where(runs.c.deleted_at.is_not(None)).values(deleted_at=runs.c.deleted_at - span))
    ws.history._commits.clear()


def blobs(ws: Workspace, number: int) -> list[str]:
    """Return what only that version has in the store."""
    version = get_version(ws, "main", "delays", number)
    return [version.artifact, version.card or ""]


def entries(ws: Workspace, action: str) -> list[dict[str, Any]]:
    return [one for one in audit.last(ws.catalog, 1000) if one["action"] == action]


def damage(ws: Workspace) -> list[str]:
    return [one.message for one in examine(ws, deep=True) if one.level == "damage"]


def test_what_was_deleted_is_gone_from_lists_and_comes_back_as_it_was(ws: Workspace) -> None:
    runtime = {"recipe": {"stages": []}, "evidence": ws.store.put(b"evidence")}
    set_runtime(ws, "main", "delays", 2, runtime, message="Choose")
    before = get_version(ws, "main", "delays", 2)
    done = delete(ws, "main", "delays@2", reason=" wrong rows ", who="bo")
    assert (done.versions, done.reason, done.elsewhere) == ((2,), "wrong rows", {})
    assert [one.version for one in list_versions(ws, "main", "delays")] == [3, 1]
    assert "runtimes" not in ws.history.get("main", MODEL)
    with pytest.raises(NotFound, match=r"delays@2 was deleted on 20.* by bo: wrong rows") as told:
        get_version(ws, "main", "delays", 2)
    assert told.value.hint == "Bring it back with: bascule model restore delays@2"
    (one,) = deleted(ws, "main")
    assert (one.name, one.actor, one.reason, one.branch) == ("delays@2", "bo", "wrong rows", "main")
    assert entries(ws, "delete-version")[0]["subject"] == "models/delays@2"
    assert "wrong rows" in entries(ws, "delete-version")[0]["detail_json"]
    with pytest.raises(InputError, match="delays@3 is there"):
        restore(ws, "main", "delays@3")
    with pytest.raises(NotFound):
        restore(ws, "main", "delays@7")
    back = restore(ws, "main", "delays@2", reason="it was right", who="cy")
    assert (back.versions, back.aliases) == ((2,), {})
    assert get_version(ws, "main", "delays", 2) == before
    assert deleted(ws, "main") == []
    assert "it was right" in entries(ws, "restore-version")[0]["detail_json"]
    assert add(ws, b"fourth")
    assert list_versions(ws, "main", "delays")[0].version == 4  # a number is never used again
    assert audit.verify(ws.catalog).ok


def test_a_whole_model_goes_and_comes_back(ws: Workspace) -> None:
    set_alias(ws, "main", "delays", "champion", 1)
    with pytest.raises(InputError, match="the alias champion on main points to it"):
        delete(ws, "main", "delays", reason="old")
    set_alias(ws, "main", "delays", "champion", None)
    delete(ws, "main", "delays@1", reason="older")
    assert delete(ws, "main", "delays", reason="old").versions == (3, 2)
    assert ws.history.digest("main", MODEL) is None
    assert [one.name for one in deleted(ws, "main")] == ["delays@3", "delays@2", "delays@1"]
    assert restore(ws, "main", "delays").versions == (3, 2)  # what went together
    assert restore(ws, "main", "delays", 1).versions == (1,)
    assert len(list_versions(ws, "main", "delays")) == 3


def serving(model: str = "delays", **more: Any) -> dict[str, Any]:
    made = planned("late", model, "canary", {})
    return {**made, "traffic": [{"version": 3, "weight": 100}], **more}


CANARY = {"stable": 3, "canary": 2, "strategy": "canary", "steps": [10, 100], "step": 0}
SHARED = [{"version": 3, "weight": 90}, {"version": 2, "weight": 10}]


@pytest.mark.parametrize(
    ("held", "branch", "words"),
    [
        (serving(traffic=[{"version": 2, "weight": 100}]), "main", "late on main serves it with 100 %"),
        (serving(traffic=[{"version": 2, "weight": 100}]), "dev", "bascule deploy late VERSION --branch dev"),
        (serving(rollout=CANARY, traffic=SHARED), "main", "late on main tries it by canary with 10 %"),
        (serving(rollout={**CANARY, "strategy": "shadow"}), "main", "tries it by shadow; end that: bascule rollback"),
        (serving(waits=2), "main", "waits to bring it into service, as soon as its gates and approvals let it"),
        (
            serving(trail=[{"traffic": [{"version": 2, "weight": 100}], "revision": 1}]),
            "main",
            "goes back to it by bascule rollback late",
        ),
    ],
)
def test_what_is_used_is_not_deleted(ws: Workspace, held: dict[str, Any], branch: str, words: str) -> None:
    ws.history.create_branch("dev", "main")
    ws.history.commit(branch, {"deployments/late": held}, message="Deploy")
    head = ws.history.resolve("main")
    with pytest.raises(InputError) as refused:
        delete(ws, "main", "delays@2", reason="x")
    assert words in refused.value.message
    assert ws.history.resolve("main") == head
    assert delete(ws, "main", "delays@1", reason="x").elsewhere == {1: ("branch dev",)}


def test_who_renames_a_model_renames_what_was_deleted_of_it(ws: Workspace) -> None:
    ws.history.create_branch("elsewhere")
    delete(ws, "main", "delays@2", reason="old")
    delete(ws, "main", "delays@1", reason="older")
    before = ws.history.resolve("main")
    made = external.rename_model(ws, "main", "delays", "late", author="bo")
    assert [one.name for one in deleted(ws, "main")] == ["late@1", "late@2"]
    assert [one.name for one in deleted(ws, before)] == ["delays@1", "delays@2"]
    assert deleted(ws, "elsewhere") == deleted(ws, "main", "delays") == []
    with pytest.raises(NotFound) as told:
        restore(ws, "main", "delays@2")
    assert "it is late@2 now" in (told.value.hint or "")
    add(ws, b"another")  # the name is free: it is another model's now
    assert restore(ws, "main", "late").versions == (1,)  # they were deleted one by one
    assert restore(ws, "main", "late@2").model == "late"
    assert [one.version for one in list_versions(ws, "main", "late")] == [3, 2, 1]
    assert [one.version for one in list_versions(ws, "main", "delays")] == [4]
    assert (made["name"], deleted(ws, "main")) == ("late", [])


def test_what_broke_follows_a_model_that_is_renamed_and_goes_by_any_deployment(ws: Workspace) -> None:
    ws.history.create_branch("elsewhere")
    one = get_version(ws, "main", "delays", 2)
    broken = Incidents(ws)
    broken.case("delays", 2, one.artifact).note(CRASHED, "SIGSEGV")
    broken.case("delays", 2, "f" * 64).note(CRASHED, "another branch's version 2")
    broken.close()

    def told(state: str, model: str) -> list[list[tuple[str, int, str]]]:
        both = [{"name": name, "model": model} for name in ("before", "renamed")]
        return [[(each.model, each.version, each.text) for each in found] for found in incidents_of(ws, state, both)]

    external.rename_model(ws, "main", "delays", "late", author="bo")
    assert told("main", "late") == [[("late", 2, "SIGSEGV")]] * 2
    assert told("main", "delays") == [[], []]
    assert told("elsewhere", "delays") == [[("delays", 2, "SIGSEGV")]] * 2
    external.rename_model(ws, "main", "late", "delays", author="bo")  # back: it is there once
    external.rename_model(ws, "main", "delays", "late", author="bo")
    assert told("main", "late") == [[("late", 2, "SIGSEGV")]] * 2


def test_a_renaming_that_is_reverted_takes_no_deleted_version_along(ws: Workspace) -> None:
    delete(ws, "main", "delays@2", reason="old")
    external.rename_model(ws, "main", "delays", "late", author="bo")
    ws.history.revert(ws.history.resolve("main").id, author="bo")
    assert restore(ws, "main", "delays@2").model == "delays"
    assert [one.version for one in list_versions(ws, "main", "delays")] == [3, 2, 1]


def test_the_doctor_gives_deleted_versions_the_name_that_an_earlier_release_left_out(ws: Workspace) -> None:
    delete(ws, "main", "delays@2", reason="old")
    external.rename_model(ws, "main", "delays", "late", author="bo")
    delete(ws, "main", "late@1", reason="older")
    external.rename_model(ws, "main", "late", "later", author="bo")
    whole = deleted(ws, "main")
    with ws.catalog.write() as conn:  # as these renamings were recorded then
        renamings = select(ref_log.c.after).where(ref_log.c.action == "rename")
        conn.execute(model_deletions.delete().where(model_deletions.c.commit_id.in_(renamings)))
    assert [one.name for one in deleted(ws, "main")] == ["late@1", "delays@2"]
    notes = [one.message for one in examine(ws) if one.subject == "models"]
    assert notes == [
        "deleted versions have the name again that their model was given: later@2, later@1;"
        " `bascule model restore` brings one back"
    ]
    assert [one.name for one in deleted(ws, "main")] == [one.name for one in whole] == ["later@1", "later@2"]
    assert [one for one in examine(ws) if one.subject == "models"] == []
    assert restore(ws, "main", "later@2").model == "later"
    assert [one.version for one in list_versions(ws, "main", "later")] == [3, 2]


def test_a_hold_of_a_models_earlier_name_keeps_what_was_deleted_of_it(ws: Workspace) -> None:
    delete(ws, "main", "delays@2", reason="old")
    holding.hold(ws, MODEL, "case 4711")
    external.rename_model(ws, "main", "delays", "late", author="bo")
    wait(ws)
    assert collect(ws, grace=0).staying == {"late@2": f"{MODEL} is under legal hold"}


def test_a_reason_is_needed(ws: Workspace) -> None:
    with pytest.raises(InputError, match="needs a reason"):
        delete(ws, "main", "delays@1", reason=" ")


def test_once_its_time_is_over_its_files_are_gone_and_it_is_said_why(ws: Workspace) -> None:
    gone, old = blobs(ws, 2), ws.history.resolve("main")
    version = get_version(ws, "main", "delays", 2)
    run = remote.create_run(Tracker(ws), 0, user="ada", name="fit", started_at=1, tags={})
    with ws.catalog.write() as conn:  # what a pipeline remembers of it does not hold it
        row = {"key": "k", "step": "train", "terms_json": "{}", "receipt_json": f'"{gone[0]}"', "run_id": run}
        conn.execute(insert(step_cache).values(**row, created_at=now()))
        conn.execute(insert(run_io).values(run_id=run, direction="out", path=f"blobs/{gone[0]}", version=gone[0]))
    done = delete(ws, "main", "delays@2", reason="wrong rows", who="bo")
    wait(ws, 29 * DAY)
    assert collect(ws, grace=0).versions == ()
    wait(ws, 2 * DAY)
    told = collect(ws, dry_run=True, grace=0)
    assert (told.versions, told.bytes) == (("delays@2",), sum(ws.store.size(one) for one in gone))
    assert all(ws.store.has(one) for one in gone)
    assert deleted(ws, "main")
    assert (now_it := collect(ws, grace=0)).versions == ("delays@2",)
    assert now_it.bytes == told.bytes
    assert not any(ws.store.has(one) for one in gone)
    assert ws.store.has(version.contract or "")  # the others have it, too
    assert all(ws.store.has(one) for number in (1, 3) for one in blobs(ws, number))
    assert damage(ws) == []
    why = r"delays@2 was deleted on 20.* by bo: wrong rows\. Its files are gone since 20"
    for ask in (
        lambda: restore(ws, "main", "delays@2"),
        lambda: packed(ws, gone[0]),
        lambda: vouching.safety(ws, get_version(ws, old, "delays", 2)),
        lambda: vouching.sign(ws, get_version(ws, old, "delays", 2)),
        lambda: reverting.revert(ws, done.commit, "main"),
        lambda: publishing.restore(ws, [MODEL], old.id, "main"),
    ):
        with pytest.raises(Expired, match=why):
            ask()
    with pytest.raises(NotFound, match=why):
        get_version(ws, "main", "delays", 2)
    found = vouching.verify(ws, get_version(ws, old, "delays", 2))
    assert not found.holds
    assert "was deleted on" in found.problems[0]
    assert entries(ws, "purge-version")[0]["subject"] == "models/delays@2"
    with ws.catalog.read() as conn:
        assert conn.execute(select(step_cache.c.key)).all() == []
    assert collect(ws, grace=0).versions == ()
    ws.history.create_branch("past", old)  # an older state can still be worked with
    assert damage(ws) == []
    assert audit.verify(ws.catalog).ok


def test_what_else_has_the_same_bytes_keeps_them(ws: Workspace) -> None:
    shared = add(ws, b"first", model="twin")
    delete(ws, "main", "delays@1", reason="x")
    wait(ws)
    assert collect(ws, grace=0).versions == ("delays@1",)
    assert ws.store.get(shared) == b"first"
    delete(ws, "main", "twin", reason="x")
    assert ws.store.has(shared)
    wait(ws)
    assert collect(ws, grace=0).versions == ("twin@1",)
    assert not ws.store.has(shared)


def test_bytes_that_come_back_after_a_purge_are_a_version_as_any_other(ws: Workspace) -> None:
    delete(ws, "main", "delays@1", reason="x")
    wait(ws)
    collect(ws, grace=0)
    digest = add(ws, b"first")
    wait(ws)
    collect(ws, grace=0)
    assert packed(ws, digest) == b"first"
    assert get_version(ws, "main", "delays", 4).artifact == digest


@pytest.mark.parametrize("kind", ["branch", "tag", "commit", "path", "restored", "deleted branch"])
def test_it_stays_while_a_name_or_a_hold_has_it(ws: Workspace, kind: str) -> None:
    held, had = blobs(ws, 2), ws.history.resolve("main")
    if kind in ("branch", "deleted branch"):
        ws.history.create_branch("dev", "main")
    elif kind == "tag":
        ws.history.tag("v1", "main")
    elif kind == "commit":
        holding.hold(ws, had.id, "case 4711")
    elif kind == "path":
        holding.hold(ws, MODEL, "case 4711")
    delete(ws, "main", "delays@2", reason="x")
    wait(ws)
    if kind == "restored":
        restore(ws, "main", "delays@2")
    if kind == "deleted branch":
        ws.history.delete_branch("dev", force=True)
    done = collect(ws, grace=0)
    assert done.versions == ()
    assert all(ws.store.has(one) for one in held)
    words = {"branch": "branch dev has it", "tag": "tag v1 has it", "commit": "held commit", "path": "under legal hold"}
    words |= {"restored": "branch main has it", "deleted branch": "a state had it lately"}
    assert words[kind] in done.staying["delays@2"]
    if kind == "deleted branch":
        wait(ws)
        assert collect(ws, grace=0).versions == ("delays@2",)
        assert not any(ws.store.has(one) for one in held)


def test_strict_rules_for_old_states_take_nothing_from_what_can_be_restored(ws: Workspace) -> None:
    retention.change(ws.catalog, "main", last=1)
    before = get_version(ws, "main", "delays", 2)
    delete(ws, "main", "delays@2", reason="x")
    wait(ws, 20 * DAY)
    add(ws, b"fourth")
    collect(ws, grace=0)
    restore(ws, "main", "delays@2")
    assert vouching.contents(ws, get_version(ws, "main", "delays", 2)).missing == ()
    assert get_version(ws, "main", "delays", 2) == before


def kill_at(folder: Path, step: int) -> bool:
    """Collect in a process that SIGKILL ends before its step-th change of a file or the catalog; False if it ended."""
    child = os.fork()
    if child == 0:
        count = 0

        def look(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal count
            writes = event == "open" and isinstance(arguments[1], str) and set("wax+") & set(arguments[1])
            if writes or event in ("os.rename", "os.remove", "bascule.write", "bascule.written"):
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        workspace = Workspace.open(folder)
        kind: Any = type(workspace.catalog)
        original = kind.write

        class Written:
            def __init__(self, catalog: object) -> None:
                self.inner = original(catalog)

            def __enter__(self) -> object:
                sys.audit("bascule.write")
                return self.inner.__enter__()

            def __exit__(self, *error: object) -> object:
                sys.audit("bascule.written")  # before it is committed
                return self.inner.__exit__(*error)

        kind.write = lambda catalog: Written(catalog)
        sys.addaudithook(look)
        try:
            collect(workspace, grace=0)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.slow
def test_killed_at_any_moment_between_expiry_and_purge_nothing_is_half(tmp_path: Path) -> None:
    with closing(Workspace.create(tmp_path / "made")) as made:
        for data in (b"first", b"second", b"third"):
            add(made, data)
        gone, stay = [*blobs(made, 1), *blobs(made, 2)], blobs(made, 3)
        delete(made, "main", "delays@1", reason="x")
        delete(made, "main", "delays@2", reason="x")
        wait(made)
    step, noted, freed = 1, set(), set()
    while True:
        folder = shutil.copytree(tmp_path / "made", tmp_path / f"killed-{step}")
        if not kill_at(folder, step):
            break
        with closing(Workspace.open(folder)) as ws:
            with ws.catalog.read() as conn:
                purged = {one is not None for one in conn.execute(select(model_deletions.c.purged_at)).scalars()}
            assert len(purged) == 1, step  # both are noted, or none
            there = [ws.store.has(one) for one in gone]
            assert all(there) or purged == {True}, step  # no file goes before it can be said why
            noted |= purged
            freed.add(sum(there))
            assert damage(ws) == [], step
            if purged == {False}:  # it can be restored whole, and deleted again
                restore(ws, "main", "delays@1")
                assert vouching.contents(ws, get_version(ws, "main", "delays", 1)).missing == ()
            else:
                with pytest.raises(Expired):
                    restore(ws, "main", "delays@1")
                collect(ws, grace=0)
                assert not any(ws.store.has(one) for one in gone), step
            assert all(ws.store.has(one) for one in stay)
            assert damage(ws) == [], step
            assert audit.verify(ws.catalog).ok
        shutil.rmtree(folder)
        step += 1
    assert noted == {True, False}
    assert freed >= {4, 3, 2, 1}, freed


def test_a_deletion_is_merged_and_a_version_that_was_changed_is_a_conflict() -> None:
    base: dict[str, Any] = {"kind": "model", "name": "m", "versions": {"1": {"a": 1}, "2": {"a": 2}}, "aliases": {}}
    without = {**base, "versions": {"2": {"a": 2}}}
    more = {**base, "versions": {**base["versions"], "3": {"a": 3}}}
    for sides in ((without, more), (more, without)):
        merged = merge_models(MODEL, base, *sides)
        assert merged is not None
        assert sorted(merged["versions"]) == ["2", "3"]
    tagged = {**base, "versions": {**base["versions"], "1": {"a": 1, "about": {"tags": {"k": "v"}}}}}
    pointed = {**base, "aliases": {"champion": 1}}
    for other in (tagged, pointed):
        assert merge_models(MODEL, base, without, other) is None
        assert merge_models(MODEL, base, other, without) is None
        taken = merge_models(MODEL, base, without, other, prefer="theirs")
        kept = merge_models(MODEL, base, without, other, prefer="ours")
        assert taken is not None
        assert kept is not None
        assert (taken["versions"], taken["aliases"]) == (other["versions"], other["aliases"])
        assert (kept["versions"], kept["aliases"]) == (without["versions"], {})


def test_a_merged_deletion_takes_nothing_from_what_serves(ws: Workspace) -> None:
    ws.history.create_branch("dev", "main")
    delete(ws, "dev", "delays@2", reason="x")
    delete(ws, "dev", "delays@1", reason="x")
    ws.history.commit("main", {"deployments/late": serving(traffic=[{"version": 2, "weight": 100}])}, message="Deploy")
    with pytest.raises(CheckFailed, match="deployments/late serves version 2 of models/delays"):
        publishing.publish(ws, "dev", "main", ship=False)
    ws.history.commit("main", {"deployments/late": serving()}, message="Deploy")
    publishing.publish(ws, "dev", "main", ship=False)
    assert [one.version for one in list_versions(ws, "main", "delays")] == [3]
    assert {one.name for one in deleted(ws, "main")} == {"delays@1", "delays@2"}
    restore(ws, "main", "delays@2")
    wait(ws)
    assert collect(ws, grace=0).versions == ("delays@1",)


def test_an_earlier_version_that_was_deleted_is_not_brought_into_service(ws: Workspace) -> None:
    from bascule.delivery.deployments import rollback

    trail = [{"traffic": [{"version": n, "weight": 100}], "revision": n} for n in (1, 2)]
    ws.history.commit("main", {"deployments/late": serving(trail=trail, revision=3)}, message="Deploy")
    delete(ws, "main", "delays@1", reason="x", who="bo")
    rollback(ws, "main", "late")
    with pytest.raises(InputError, match=r"delays@1 was deleted on .* by bo: x") as refused:
        rollback(ws, "main", "late")
    assert "bascule model restore delays@1" in refused.value.hint


def test_what_is_deleted_while_it_is_brought_into_service_is_not(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bascule.delivery import records
    from bascule.delivery.deployments import deploy

    ws.history.commit("main", {"deployments/late": serving()}, message="Deploy")
    commit = ws.history.commit

    def slow(*args: Any, **more: Any) -> Any:
        monkeypatch.undo()
        delete(ws, "main", "delays@2", reason="wrong rows", who="bo")
        return commit(*args, **more)

    monkeypatch.setattr(ws.history, "commit", slow)
    with pytest.raises(InputError, match=r"delays@2 was deleted on .* by bo: wrong rows"):
        deploy(ws, "main", "late", "delays", 2)
    assert records.state_of(ws, "main", "late")[0] == serving()


def test_it_can_be_asked_for_in_sql() -> None:
    assert "model_deletions" in views.RECORDS


@pytest.mark.slow
def test_on_the_command_line(trained: Path, bascule: Bascule) -> None:
    with closing(Workspace.open(trained)) as ws:
        held = ws.history.get("main", model_path("delays"))
        ws.history.commit("main", {model_path("delays"): {**held, "aliases": {}}}, message="Point nowhere")
        add(ws, b"another")
    said = bascule("model", "delete", "delays@2", "--reason", "wrong rows")
    assert said.code == 0, said.err
    assert "delays@2 is deleted from main: wrong rows" in said.out
    assert "bascule model restore delays@2. After 4w2d bascule gc frees it." in said.out
    assert "delays@2" in bascule("model", "list", "--deleted").out
    assert bascule("model", "list", "--deleted", "--json").json()[0]["reason"] == "wrong rows"
    assert [one["version"] for one in bascule("model", "list", "delays", "--json").json()] == [1]
    shown = bascule("model", "show", "delays@2")
    assert (shown.code, "was deleted on" in shown.err) == (2, True)
    assert bascule("model", "delete", "delays@1").code == 2  # without a reason
    assert bascule("model", "alias", "delays", "champion", "1").out.strip() == "delays@champion is version 1."
    assert "the alias champion" in bascule("model", "delete", "delays", "1", "--reason", "x").err
    assert bascule("model", "alias", "delays", "champion", "--remove").code == 0
    assert bascule("model", "alias", "delays", "champion").code == 2
    assert bascule("model", "restore", "delays@2").out.strip() == "delays@2 is on main again."
    bascule("model", "delete", "delays@2", "--reason", "x")
    with closing(Workspace.open(trained)) as ws:
        wait(ws)
    assert "went: delays@2." in bascule("gc", "--grace", "0s").out
    assert "Its files are gone since" in bascule("model", "restore", "delays@2").err
