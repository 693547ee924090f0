"""What a merge brings of a deployment: its rules. The traffic is of the branch that it serves on."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from tests.delivery.conftest import model

from bascule import delivery
from bascule.catalog.schema import rollouts
from bascule.delivery import merge_deployments, planned
from bascule.delivery.merging import with_own_traffic
from bascule.delivery.traffic import with_stable
from bascule.errors import Conflict
from bascule.history import Workspace
from bascule.project.publishing import pick, publish

PLAN = planned(None, "delays", "delays")
SERVED = with_stable(PLAN, [{"version": 1, "weight": 100}])
OTHER = with_stable(PLAN, [{"version": 2, "weight": 100}])
RULES = planned(PLAN, "delays", "delays", strategy="all_at_once", steps=[50, 100])
STEPS = planned(PLAN, "delays", "delays", steps=[20, 100])
PATH = "deployments/delays"


def merged(base: Any, ours: Any, theirs: Any, **how: Any) -> Any:
    return merge_deployments(PATH, base, ours, theirs, **how)


def test_the_traffic_is_ours_and_the_rules_go_three_way() -> None:
    assert merged(None, SERVED, PLAN) == SERVED
    assert merged(PLAN, SERVED, OTHER) == SERVED
    both = SERVED | {"strategy": RULES["strategy"], "rules": RULES["rules"]}
    assert merged(PLAN, SERVED, RULES) == both
    assert merged(PLAN, RULES, OTHER) == RULES
    assert merged(PLAN, RULES, OTHER, follow=True)["traffic"] == OTHER["traffic"]
    assert merged(PLAN, RULES, OTHER, follow=True)["rules"] == RULES["rules"]


SAID: dict[str, dict[str, Any]] = {
    "log": {"fields": {"passenger": "drop"}},
    "service": {"workers": 2},
    "fills": {"flights": "scored"},
}


@pytest.mark.parametrize("name", SAID)
def test_all_that_is_said_beside_the_strategy_goes_three_way_too(name: str) -> None:
    said = planned(PLAN, "delays", "delays", **{name: SAID[name]})
    assert merged(PLAN, SERVED, said) == SERVED | {name: SAID[name]}
    assert merged(said, with_stable(said, SERVED["traffic"]), PLAN).get(name) is None
    assert merged(PLAN, said, RULES) == said | {"strategy": RULES["strategy"], "rules": RULES["rules"]}
    assert merged(PLAN, said, planned(PLAN, "delays", "delays", **{name: {"other": "thing"}})) is None


@pytest.mark.parametrize(
    ("base", "ours", "theirs"),
    [(PLAN, RULES, STEPS), (PLAN, None, SERVED), (PLAN, SERVED, PLAN | {"model": "arrivals"})],
)
def test_what_cannot_go_together_is_a_conflict(base: Any, ours: Any, theirs: Any) -> None:
    assert merged(base, ours, theirs) is None


def test_a_choice_takes_the_rules_of_one_side_and_never_its_traffic() -> None:
    theirs = OTHER | {"rules": STEPS["rules"]}
    assert merged(PLAN, RULES, theirs, prefer="theirs") == RULES | {"rules": STEPS["rules"], "strategy": "canary"}
    assert merged(PLAN, RULES, theirs, prefer="ours") == RULES


def test_another_model_cannot_take_over_what_is_in_service() -> None:
    with pytest.raises(Conflict, match="serves 'delays' here and 'arrivals'"):
        with_own_traffic(SERVED, PLAN | {"model": "arrivals"})
    assert with_own_traffic(PLAN, PLAN | {"model": "arrivals"}) == PLAN | {"model": "arrivals"}


def traffic(ws: Workspace, branch: str = "main") -> dict[int, int]:
    found = ws.history.get(branch, PATH)
    return {entry["version"]: entry["weight"] for entry in found["traffic"]}


def recorded(ws: Workspace) -> list[str]:
    query = select(rollouts.c.action).where(rollouts.c.branch == "main").order_by(rollouts.c.id)
    with ws.catalog.read() as conn:
        return list(conn.execute(query).scalars())


def forced(ws: Workspace, branch: str) -> None:
    """Put version 3, which was forced past its gates, into production on a branch, with all traffic there."""
    brought = model(3) | {"aliases": {"production": 3}}
    ws.history.commit(branch, {"models/delays": brought}, message="Register version 3")
    delivery.deploy(ws, branch, "delays", "delays", 3)
    if ws.history.get(branch, PATH)["rollout"]:
        delivery.promote(ws, branch, "delays")
    assert traffic(ws, branch) == {3: 100}


@pytest.mark.slow
def test_a_merge_ships_by_canary_what_serves_on_its_branch_already(ws: Workspace) -> None:
    """The branch gave a forced version all its traffic: main's own is not touched by that."""
    delivery.deploy(ws, "main", "delays", "delays", 1)
    ws.history.create_branch("dev")
    forced(ws, "dev")
    done = publish(ws, "dev", "main")
    assert [(one.version, one.share) for one in done.shipped] == [(3, 10)]
    assert traffic(ws) == {1: 90, 3: 10}
    assert ws.history.get("main", PATH)["rollout"]["canary"] == 3
    assert recorded(ws) == ["deploy", "start"]
    assert traffic(ws, "dev") == {3: 100}


@pytest.mark.slow
def test_theirs_brings_no_traffic_and_no_revision_is_used_twice(ws: Workspace) -> None:
    delivery.deploy(ws, "main", "delays", "delays", 1)
    ws.history.create_branch("dev")
    delivery.deploy(ws, "main", "delays", "delays", 2, strategy="all_at_once")
    delivery.rollback(ws, "main", "delays")
    before = ws.history.get("main", PATH)
    delivery.deploy(ws, "dev", "delays", "delays", 2, steps=[40, 100])
    publish(ws, "dev", "main", theirs=[PATH], ship=False)
    after = ws.history.get("main", PATH)
    assert (after["traffic"], after["revision"]) == (before["traffic"], before["revision"])
    assert after["rules"]["steps"] == [40, 100]


def test_a_new_deployment_comes_in_planned_and_is_shipped_there(ws: Workspace) -> None:
    ws.history.create_branch("dev")
    delivery.deploy(ws, "dev", "delays", "delays", 1)
    delivery.deploy(ws, "dev", "delays", "delays", 3)
    ws.history.create_branch("staging")
    publish(ws, "dev", "staging", ship=False)
    assert ws.history.get("staging", PATH) == ws.history.get("dev", PATH) | {
        "traffic": [],
        "rollout": None,
        "trail": [],
        "revision": 0,
    }
    done = publish(ws, "dev", "main")
    assert [(one.version, one.share) for one in done.shipped] == [(1, 100)]  # what dev calls production
    assert traffic(ws) == {1: 100}
    assert recorded(ws) == ["deploy"]


@pytest.mark.parametrize("once", [True, False])
def test_a_strategy_for_once_is_no_change_of_the_rules(ws: Workspace, once: bool) -> None:
    delivery.deploy(ws, "main", "delays", "delays", 1)
    ws.history.create_branch("dev")
    delivery.deploy(ws, "main", "delays", "delays", 2, strategy="blue_green", once=once)
    held = ws.history.get("main", PATH)
    assert held["rollout"]["strategy"] == "blue_green"
    assert held["strategy"] == ("canary" if once else "blue_green")
    changed = planned(ws.history.get("dev", PATH), "delays", "delays", steps=[50, 100])
    ws.history.commit("dev", {PATH: changed}, message="Slower")
    if not once:
        with pytest.raises(Conflict, match=r"both changed deployments/delays") as told:
            publish(ws, "dev", "main", ship=False)
        assert "--theirs PATH" in told.value.hint
        return
    publish(ws, "dev", "main", ship=False)
    after = ws.history.get("main", PATH)
    assert (after["strategy"], after["rules"]["steps"]) == ("canary", [50, 100])
    assert after["rollout"] == held["rollout"]  # what was begun goes on as it began


def test_what_is_picked_brings_no_traffic(ws: Workspace) -> None:
    delivery.deploy(ws, "main", "delays", "delays", 1)
    ws.history.create_branch("dev")
    delivery.deploy(ws, "dev", "delays", "delays", 2, strategy="all_at_once", steps=[40, 100])
    pick(ws, "dev", "main", ship=False)
    found = ws.history.get("main", PATH)
    assert (traffic(ws), found["strategy"], found["rules"]["steps"]) == ({1: 100}, "all_at_once", [40, 100])


def test_what_serves_is_not_taken_out_of_service_by_a_merge(ws: Workspace) -> None:
    delivery.deploy(ws, "main", "delays", "delays", 1)
    ws.history.commit("main", {"deployments/idle": planned(None, "idle", "delays")}, message="Plan")
    ws.history.create_branch("dev")
    ws.history.commit("dev", {PATH: None, "deployments/idle": None}, message="Serve nothing")
    done = publish(ws, "dev", "main")
    assert (done.kept, traffic(ws)) == (("delays",), {1: 100})
    assert ws.history.read("main", "deployments/idle") is None


def test_a_branch_that_deployed_nothing_itself_shows_what_main_serves(ws: Workspace) -> None:
    delivery.deploy(ws, "main", "delays", "delays", 1)
    for name in ("looks", "serves"):
        ws.history.create_branch(name)
    ws.history.commit(
        "looks", {PATH: planned(ws.history.get("looks", PATH), "delays", "delays", steps=[5, 100])}, message="x"
    )
    delivery.deploy(ws, "serves", "delays", "delays", 3, steps=[30, 100])
    delivery.set_traffic(ws, "main", "delays", {2: 100})
    assert publish(ws, "main", "looks").shipped == ()
    assert ws.history.get("looks", PATH)["revision"] == ws.history.get("main", PATH)["revision"]
    assert traffic(ws, "looks") == {2: 100}
    publish(ws, "main", "serves", theirs=[PATH])
    assert traffic(ws, "serves") == {1: 70, 3: 30}
    # Nor does one of them take that of another.
    ws.history.create_branch("third", "looks")
    publish(ws, "serves", "third", theirs=[PATH], ship=False)
    assert traffic(ws, "third") == {2: 100}


def test_a_revision_is_not_used_twice_by_a_deployment_of_an_old_name(ws: Workspace) -> None:
    delivery.deploy(ws, "main", "delays", "delays", 1)
    delivery.deploy(ws, "main", "delays", "delays", 2)
    last = ws.history.get("main", PATH)["revision"]
    ws.history.commit("main", {PATH: None}, message="Remove it")
    delivery.deploy(ws, "main", "delays", "delays", 1)
    assert ws.history.get("main", PATH)["revision"] > last
