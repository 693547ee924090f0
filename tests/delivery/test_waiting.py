"""What is merged while a rollout is under way is shipped when it ends: once, and only if main still has it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from tests.delivery.conftest import model

from bascule import delivery
from bascule.catalog import audit
from bascule.catalog.schema import rollouts
from bascule.delivery import deployments
from bascule.errors import EnvironmentProblem, InputError
from bascule.history import Workspace
from bascule.project import watching
from bascule.project.publishing import publish
from bascule.project.reverting import revert
from bascule.project.watching import judge_all

Ends = Callable[[Workspace], Any]


def merged(ws: Workspace, version: int) -> Any:
    """Merge a branch that brings a version into production."""
    name = f"version-{version}"
    ws.history.create_branch(name)
    brought = model(version)
    brought["aliases"] = {"production": version}
    brought["versions"][str(version)] |= {"passed": True, "forced": ""}
    ws.history.commit(name, {"models/delays": brought}, message=f"Register version {version}")
    return publish(ws, name, "main")


@pytest.fixture
def rolling(either: Workspace) -> Workspace:
    """Version 1 serves, version 2 is in a canary, and version 5 was merged meanwhile."""
    for version in (1, 2):
        delivery.deploy(either, "main", "delays", "delays", version)
    (waiting,) = merged(either, 5).waiting
    assert (waiting.deployment, waiting.version, waiting.until) == ("delays", 5, "the rollout of version 2 ends")
    return either


def serving(ws: Workspace) -> dict[int, int]:
    found = delivery.read_deployment(ws, "main", "delays")
    return {entry["version"]: entry["weight"] for entry in found["traffic"]}


def waits(ws: Workspace) -> int | None:
    found = delivery.waiting_for(ws, "main", delivery.read_deployment(ws, "main", "delays"))
    return found.version if found else None


def actions(ws: Workspace) -> list[str]:
    query = select(rollouts.c.action).where(rollouts.c.action != "hold").order_by(rollouts.c.id)
    with ws.catalog.read() as conn:
        return list(conn.execute(query).scalars())


@pytest.mark.parametrize(
    ("end", "action", "after"),
    [
        (lambda ws: delivery.promote(ws, "main", "delays"), "promote", {2: 90, 5: 10}),
        (lambda ws: delivery.advance(ws, "main", "delays"), "promote", {2: 90, 5: 10}),
        (lambda ws: delivery.rollback(ws, "main", "delays", by_hand=False), "rollback", {1: 90, 5: 10}),
        (lambda ws: delivery.set_traffic(ws, "main", "delays", {2: 100}), "traffic", {2: 90, 5: 10}),
    ],
)
def test_every_end_of_a_rollout_ships_what_waits(
    rolling: Workspace, end: Ends, action: str, after: dict[int, int]
) -> None:
    assert serving(rolling) == {1: 90, 2: 10}
    assert waits(rolling) == 5
    end(rolling)
    assert serving(rolling) == after
    assert waits(rolling) is None
    assert actions(rolling) == ["deploy", "start", "wait", action, "start"]
    assert audit.verify(rolling.catalog).ok
    # It was shipped once: neither the next end nor the scheduler brings it back.
    delivery.rollback(rolling, "main", "delays")
    judge_all(rolling)
    assert 5 not in serving(rolling)


def test_a_version_that_no_gate_judged_is_not_told_of_as_refused(either: Workspace) -> None:
    brought = model(5)
    brought["aliases"] = {"production": 5}
    brought["versions"]["5"] |= {"passed": False, "forced": "", "evaluation_id": ""}
    delivery.deploy(either, "main", "delays", "delays", 1)
    either.history.create_branch("client")
    either.history.commit("client", {"models/delays": brought}, message="Register version 5")
    (waiting,) = publish(either, "client", "main").waiting
    assert waiting.until == "somebody deploys it: no gate has judged it"
    assert serving(either) == {1: 100}
    delivery.deploy(either, "main", "delays", "delays", 5)
    assert serving(either) == {1: 90, 5: 10}


def test_a_rollback_by_hand_begins_nothing_new(rolling: Workspace) -> None:
    delivery.rollback(rolling, "main", "delays")
    judge_all(rolling)
    assert serving(rolling) == {1: 100}
    assert waits(rolling) is None
    assert actions(rolling) == ["deploy", "start", "wait", "rollback"]
    with rolling.catalog.read() as conn:
        text = conn.execute(select(rollouts.c.evidence_json).order_by(rollouts.c.id.desc())).scalar()
    assert '"not_shipped":5' in text
    delivery.deploy(rolling, "main", "delays", "delays", 5)
    assert serving(rolling) == {1: 90, 5: 10}


def test_why_it_could_not_be_shipped_is_kept_and_told(rolling: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **settings: object) -> None:
        raise EnvironmentProblem("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(deployments, "ship_waiting", full)
        delivery.promote(rolling, "main", "delays")
    assert serving(rolling) == {2: 100}
    found = delivery.read_deployment(rolling, "main", "delays")
    told = delivery.waiting_for(rolling, "main", found, "main")
    assert told is not None
    assert "could not be shipped: The disk is full." in told.until
    judge_all(rolling)
    assert serving(rolling) == {2: 90, 5: 10}


def test_a_rollout_that_cannot_be_judged_keeps_no_other_from_it(
    rolling: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery.deploy(rolling, "main", "another", "delays", 1)
    delivery.deploy(rolling, "main", "another", "delays", 2)
    seen: list[str] = []

    def judge(*arguments: Any) -> Any:
        seen.append(arguments[-1])
        if arguments[-1] == "another":
            raise ValueError("values must lie between -1 and 1")
        return delivery.step(*arguments)

    monkeypatch.setattr(watching, "judge", judge)
    with pytest.raises(ValueError, match="values must lie"):
        judge_all(rolling)
    assert seen == ["another", "delays"]


def test_a_version_that_waits_and_is_not_there_is_told(rolling: Workspace) -> None:
    gone = rolling.history.get("main", "models/delays")
    del gone["versions"]["5"]
    rolling.history.commit("main", {"models/delays": gone}, message="Lose it")
    found = delivery.waiting_for(rolling, "main", delivery.read_deployment(rolling, "main", "delays"))
    assert found is not None
    assert "'5'" in found.until


def test_the_controller_ships_what_waits(rolling: Workspace, traffic_of: Any) -> None:
    deployment = delivery.read_deployment(rolling, "main", "delays")
    traffic = traffic_of({1: 0.2, 2: 1.0})
    traffic.send(deployment, 1000)
    assert delivery.step(traffic.connection(), rolling, "main", "delays").action == "rollback"
    assert serving(rolling) == {1: 90, 5: 10}
    with rolling.catalog.read() as conn:
        who = conn.execute(select(rollouts.c.actor).order_by(rollouts.c.id.desc())).scalar()
    assert who == "rollout controller"


def test_waiting_takes_no_evidence_from_the_canary(local_workspace: Workspace, ws: Workspace, traffic_of: Any) -> None:
    """A step counts the requests of its revision: that something waits behind it must not begin the count anew."""
    for version in (1, 2):
        delivery.deploy(ws, "main", "delays", "delays", version)
    before = delivery.read_deployment(ws, "main", "delays")
    traffic = traffic_of({1: 0.2, 2: 0.2})
    traffic.send(before, 500)
    rows = delivery.step(traffic.connection(), ws, "main", "delays").rows
    merged(ws, 5)
    assert delivery.read_deployment(ws, "main", "delays")["revision"] == before["revision"]
    assert delivery.step(traffic.connection(), ws, "main", "delays").rows == rows > 0


@pytest.mark.slow
def test_a_newer_version_takes_the_place_of_the_one_before(rolling: Workspace) -> None:
    merged(rolling, 6)
    assert waits(rolling) == 6
    delivery.promote(rolling, "main", "delays")
    assert serving(rolling) == {2: 90, 6: 10}
    delivery.rollback(rolling, "main", "delays")
    assert serving(rolling) == {2: 100}


@pytest.mark.slow
def test_what_main_reverted_is_not_shipped(rolling: Workspace) -> None:
    merge = next(commit for commit in rolling.history.log("main") if len(commit.parents) == 2)
    revert(rolling, merge.id, "main")
    assert waits(rolling) is None
    delivery.promote(rolling, "main", "delays")
    assert serving(rolling) == {2: 100}
    assert "waits" not in delivery.read_deployment(rolling, "main", "delays")
    judge_all(rolling)
    assert serving(rolling) == {2: 100}


def test_reverting_its_start_does_not_ship_it_again(rolling: Workspace) -> None:
    delivery.promote(rolling, "main", "delays")
    revert(rolling, "main", "main")
    judge_all(rolling)
    assert serving(rolling) == {2: 100}


@pytest.mark.slow
def test_a_process_that_was_killed_before_it_shipped_is_made_up_for_once(
    rolling: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object, **settings: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(deployments, "ship_waiting", killed)
        with pytest.raises(KeyboardInterrupt):
            delivery.promote(rolling, "main", "delays")
    assert serving(rolling) == {2: 100}
    assert waits(rolling) == 5
    servers = [threading.Thread(target=judge_all, args=(rolling,)) for _ in range(3)]
    for server in servers:
        server.start()
    for server in servers:
        server.join()
    assert serving(rolling) == {2: 90, 5: 10}
    assert actions(rolling) == ["deploy", "start", "wait", "promote", "start"]


def test_who_looked_before_it_was_shipped_and_taken_back_does_not_ship_it_again(
    rolling: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(deployments, "ship_waiting", lambda *arguments, **settings: None)
        delivery.promote(rolling, "main", "delays")
    late = deployments.deploy

    def after_another(*arguments: Any, **settings: Any) -> Any:
        monkeypatch.setattr(deployments, "deploy", late)
        assert deployments.ship_waiting(rolling, "main", "delays")
        delivery.rollback(rolling, "main", "delays")
        return late(*arguments, **settings)

    monkeypatch.setattr(deployments, "deploy", after_another)
    assert deployments.ship_waiting(rolling, "main", "delays") is None
    assert serving(rolling) == {2: 100}
    assert actions(rolling) == ["deploy", "start", "wait", "promote", "start", "rollback"]


def test_traffic_that_is_shared_by_hand_is_waited_for(ws: Workspace) -> None:
    delivery.deploy(ws, "main", "delays", "delays", 1)
    delivery.set_traffic(ws, "main", "delays", {1: 50, 2: 50})
    (waiting,) = merged(ws, 5).waiting
    assert "shared by hand" in waiting.until
    judge_all(ws)
    assert serving(ws) == {1: 50, 2: 50}
    delivery.set_traffic(ws, "main", "delays", {2: 100})
    assert serving(ws) == {2: 90, 5: 10}


def test_what_is_deployed_by_hand_waits_no_more(rolling: Workspace) -> None:
    delivery.set_traffic(rolling, "main", "delays", {5: 100})
    assert waits(rolling) is None
    assert serving(rolling) == {5: 100}
    with pytest.raises(InputError):
        delivery.promote(rolling, "main", "delays")


def test_another_branch_that_inherits_the_wait_ships_nothing(rolling: Workspace) -> None:
    rolling.history.create_branch("dev")
    judge_all(rolling)
    found = delivery.read_deployment(rolling, "dev", "delays")
    assert [entry["version"] for entry in found["traffic"]] == [1, 2]
