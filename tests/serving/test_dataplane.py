"""The data plane follows the history: swaps, rolls back, keeps what served when the new cannot, and other branches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bascule.delivery import deploy, rollback
from bascule.errors import EnvironmentProblem, InputError, NotFound
from bascule.history import Workspace
from bascule.serving import DataPlane, Query, Rows, loading, score
from bascule.serving import dataplane as module
from tests.serving.conftest import bundle_bytes, put_deployment, put_versions
from tests.serving.test_predictions import ROW


@pytest.fixture
def plane(served: Workspace) -> Iterator[DataPlane]:
    made = DataPlane(served, poll_s=0.02)
    made.start()
    yield made
    made.stop()


def answered(plane: DataPlane, branch: str | None = None, version: int | None = None) -> int:
    state = plane.state(branch)
    assert state is not None
    return score(state.deployments["delays"], Query(Rows(1, ROW), version=version)).model.version


def eventually(found: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_follows_the_head(plane: DataPlane) -> None:
    assert answered(plane) == 1
    put_deployment(plane.workspace, {2: 100})
    eventually(lambda: answered(plane) == 2)


def test_what_is_not_in_service_does_not_answer(plane: DataPlane) -> None:
    ws = plane.workspace
    deploy(ws, "main", "trial", "delays", 1, by="ann")
    eventually(lambda: "trial" in plane.state().deployments)
    rollback(ws, "main", "trial", by="ann")
    eventually(lambda: "trial" not in plane.state().deployments)
    assert answered(plane) == 1


def test_a_rollback_by_delivery_reaches_it_and_needs_no_loading(plane: DataPlane) -> None:
    ws = plane.workspace
    deploy(ws, "main", "delays", "delays", 2, strategy="all_at_once", by="ann")
    eventually(lambda: answered(plane) == 2)
    state = plane.state()
    assert state is not None
    warm = state.deployments["delays"].model(1)
    assert warm is not None
    rollback(ws, "main", "delays", by="ann")
    eventually(lambda: answered(plane) == 1)
    state = plane.state()
    assert state is not None
    assert state.deployments["delays"].model(1) is warm


@pytest.mark.slow
def test_no_request_fails_while_states_are_swapped(plane: DataPlane) -> None:
    stop = threading.Event()
    seen: set[int] = set()
    failed: list[BaseException] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                seen.add(answered(plane))
            except BaseException as error:
                failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(12):
        put_deployment(plane.workspace, {1 + number % 2: 100})
        eventually(lambda number=number: answered(plane) == 1 + number % 2)
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert seen == {1, 2}


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch, model: str, version: int) -> Iterator[threading.Semaphore]:
    """Let a version hang while it is loaded, until the block ends; the semaphore counts who waits."""
    gate, waiting, load = threading.Event(), threading.Semaphore(0), loading.load_model

    def slow(name: str, number: int, *rest: Any) -> Any:
        if (name, number) == (model, version):
            waiting.release()
            assert gate.wait(20)
        return load(name, number, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_model", slow)
        try:
            yield waiting
        finally:
            gate.set()


def test_a_version_that_hangs_while_it_is_loaded_holds_nothing_up(
    plane: DataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = plane.workspace
    put_versions(ws, {1: bundle_bytes(seed=3)}, model="slow")
    ws.history.create_branch("trial", "main")
    with held(monkeypatch, "slow", 1) as waiting:
        for branch in ("main", "trial"):
            put_deployment(ws, {1: 100}, name="slow", model="slow", branch=branch)
        opening = threading.Thread(target=plane.open, args=("trial",))
        opening.start()
        assert waiting.acquire(timeout=20)
        for version in (2, 1):  # another deployment, and back again
            put_deployment(ws, {version: 100})
            eventually(lambda version=version: answered(plane) == version)
        assert plane.state().deployments["slow"].loading
        assert plane.state("trial") is None
    eventually(lambda: not plane.state().deployments["slow"].loading)
    opening.join()
    assert "slow" in plane.state("trial").deployments


def test_what_came_too_late_is_not_served(plane: DataPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    ws = plane.workspace
    put_versions(ws, {3: bundle_bytes(seed=3)})
    with held(monkeypatch, "delays", 3) as waiting:
        put_deployment(ws, {3: 100})
        assert waiting.acquire(timeout=20)
        assert answered(plane) == 1
        put_deployment(ws, {2: 100})
        eventually(lambda: answered(plane) == 2)
        threads = [one for one in threading.enumerate() if one.name == "load-deployments/delays"]
    for thread in threads:
        thread.join()
    assert threads
    assert answered(plane) == 2


def test_what_is_deleted_while_it_is_loaded_is_let_go_of(plane: DataPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    ws = plane.workspace
    put_versions(ws, {1: bundle_bytes(seed=3)}, model="slow")
    with held(monkeypatch, "slow", 1) as waiting:
        put_deployment(ws, {1: 100}, name="slow", model="slow")
        assert waiting.acquire(timeout=20)
        ws.history.commit("main", {"deployments/slow": None}, message="Remove")
        eventually(lambda: "slow" not in plane.state().deployments)
        threads = [one for one in threading.enumerate() if one.name == "load-deployments/slow"]
    for thread in threads:
        thread.join()
    assert threads
    assert not plane._coming


def test_a_first_version_that_nobody_could_foresee_to_fail_is_told_as_a_problem(
    plane: DataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_versions(plane.workspace, {1: bundle_bytes(seed=3)}, model="slow")
    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_model", lambda *_: 1 // 0)
        put_deployment(plane.workspace, {1: 100}, name="slow", model="slow")
        eventually(lambda: plane.reload_failures > 0)
        found = plane.state().deployments["slow"]
    assert not found.loading
    assert "could not be loaded: integer division" in found.problem


def test_what_nobody_foresaw_while_loading_is_told_and_tried_again(
    plane: DataPlane, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    put_versions(plane.workspace, {3: bundle_bytes(seed=3)})
    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_model", lambda *_: 1 // 0)
        put_deployment(plane.workspace, {3: 100})
        eventually(lambda: plane.reload_failures > 1)
        assert answered(plane) == 1
        assert "integer division" in plane.state().deployments["delays"].problem
    eventually(lambda: answered(plane) == 3)
    assert "deployments/delays could not be made ready: integer division" in capfd.readouterr().err


def test_what_served_goes_on_when_the_new_state_cannot_be_loaded(
    plane: DataPlane, capfd: pytest.CaptureFixture[str]
) -> None:
    ws = plane.workspace
    put_versions(ws, {3: bundle_bytes(seed=3)})
    ws.store.delete(ws.history.get("main", "models/delays")["versions"]["3"]["artifact"])
    put_deployment(ws, {3: 100})
    eventually(lambda: "version 3" in plane.state().deployments["delays"].problem)  # type: ignore[union-attr]
    assert plane.reload_failures > 0
    assert answered(plane) == 1
    state = plane.state()
    assert state is not None
    assert "deployment 'delays'" in capfd.readouterr().err
    ws.store.put(bundle_bytes(seed=3))
    plane._watched["main"].state = module.BranchState("main", state.head, state.deployments, retry=0.001)
    eventually(lambda: answered(plane) == 3)


def test_a_broken_deployment_does_not_hurt_the_others(served: Workspace) -> None:
    put_deployment(served, {9: 100}, name="broken")
    put_deployment(served, {1: 100}, name="orphan", model="nowhere")
    state = DataPlane(served).open("main")
    assert score(state.deployments["delays"], Query(Rows(1, ROW))).model.version == 1
    for name in ("broken", "orphan"):
        with pytest.raises(EnvironmentProblem, match="not ready"):
            _ = state.deployments[name].first


def test_a_deployment_that_is_removed_is_gone(plane: DataPlane) -> None:
    plane.workspace.history.commit("main", {"deployments/delays": None}, message="Remove")
    eventually(lambda: not plane.state().deployments)  # type: ignore[union-attr]


def test_branches_are_loaded_when_asked_for_and_share_their_models(plane: DataPlane) -> None:
    ws = plane.workspace
    ws.history.create_branch("try/it")
    put_deployment(ws, {2: 100}, branch="try/it")
    assert plane.state("try/it") is None
    plane.open("try/it")
    assert answered(plane, "try/it") == 2
    assert answered(plane) == 1
    main, other = plane.state(), plane.state("try/it")
    assert main is not None
    assert other is not None
    assert other.deployments["delays"].model(2) is not None
    put_deployment(ws, {1: 100}, branch="try/it")
    eventually(lambda: answered(plane, "try/it") == 1)
    other = plane.state("try/it")
    assert other is not None
    assert other.deployments["delays"].model(1) is main.deployments["delays"].model(1)
    ws.history.delete_branch("try/it", force=True)
    eventually(lambda: plane.state("try/it") is None)
    with pytest.raises(NotFound, match="branch named 'try/it'"):
        plane.open("try/it")


def test_branches_nobody_asks_for_leave_and_their_number_is_bounded(
    plane: DataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        plane.workspace.history.create_branch(name)
    monkeypatch.setattr(module, "MOST_BRANCHES", 3)
    plane.open("a")
    plane.open("b")
    with pytest.raises(EnvironmentProblem, match="serves 3 branches"):
        plane.open("c")
    monkeypatch.setattr(module, "IDLE_S", 0.01)
    eventually(lambda: "a" not in plane._watched and "b" not in plane._watched)
    assert answered(plane) == 1
    plane.open("c")


def test_versions_that_are_asked_for_by_number_are_loaded_and_bounded(plane: DataPlane) -> None:
    put_versions(plane.workspace, {number: bundle_bytes(seed=number % 4) for number in range(3, 14)})
    state = plane.reload("main")
    deployment = state.deployments["delays"]
    for number in range(2, 14):
        assert plane.load_version(deployment, number).version == number
        assert answered(plane, version=number) == number
    assert len(deployment.extra) == module.MOST_EXTRA
    with pytest.raises(NotFound, match="version of model 'delays' named '99'"):
        plane.load_version(deployment, 99)


def test_unloading_is_of_this_process_and_loading_undoes_it(plane: DataPlane) -> None:
    plane.set_loaded("main", "delays", False)
    state = plane.state()
    assert state is not None
    assert not plane.is_ready(state.deployments["delays"])
    plane.set_loaded("main", "delays", True)
    assert plane.is_ready(state.deployments["delays"])
    with pytest.raises(NotFound, match="delayz"):
        plane.set_loaded("main", "delayz", True)


def test_loading_what_cannot_be_loaded_says_why(plane: DataPlane) -> None:
    put_deployment(plane.workspace, {77: 100}, name="broken")
    with pytest.raises(InputError, match="cannot be loaded: version 77"):
        plane.set_loaded("main", "broken", True)


def test_a_catalog_that_is_away_stops_nothing(
    plane: DataPlane, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def away(branches: list[str]) -> dict[str, str]:
        raise EnvironmentProblem("The database is away.")

    with monkeypatch.context() as patch:
        patch.setattr(plane, "_heads", away)
        eventually(lambda: "database is away" in capfd.readouterr().err)
        assert answered(plane) == 1
    put_deployment(plane.workspace, {2: 100})
    eventually(lambda: answered(plane) == 2)


def test_heads_are_not_read_where_nothing_was_written(served: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query holds the interpreter while requests wait for it."""
    if served.catalog.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL does not tell")
    monkeypatch.setattr(module, "QUERY_S", 60.0)
    plane, asked = DataPlane(served), []
    heads = plane._heads
    plane.open("main")
    monkeypatch.setattr(plane, "_heads", lambda branches: asked.append(branches) or heads(branches))
    for _ in range(3):
        plane._look()
    assert len(asked) == 1
    put_deployment(served, {2: 100})
    plane._look()
    eventually(lambda: answered(plane) == 2)  # once it is loaded
    served.history.create_branch("trial", "main")
    plane.open("trial")
    before = len(asked)
    plane._look()
    assert asked[before:] == [["main", "trial"]]
    plane._changes.close()


def test_an_unknown_branch_is_told_with_the_nearest(served: Workspace) -> None:
    with pytest.raises(NotFound) as unknown:
        DataPlane(served, branch="mian").start()
    assert "main" in unknown.value.hint


def test_a_head_that_was_read_before_a_reload_does_not_come_back(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = DataPlane(workspace)
    put_versions(workspace, {3: bundle_bytes(seed=3)})
    plane.reload("main")
    newest: list[str] = []
    heads = plane._heads

    def late(branches: list[str]) -> dict[str, str]:
        found = heads(branches)
        if not newest:  # after the heads were read, and before anything is made of them
            newest.append("")
            put_versions(workspace, {4: bundle_bytes(seed=0)})
            newest[0] = plane.reload("main").head
        return found

    put_versions(workspace, {5: bundle_bytes(seed=1)})
    monkeypatch.setattr(plane, "_heads", late)
    plane._look()
    assert plane.current is not None
    assert plane.current.head == newest[0]
