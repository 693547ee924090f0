"""Reverts and merges that take away a version which serves; reverts of traffic."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from tests.delivery.conftest import model

from bascule import delivery
from bascule.catalog.schema import approvals, rollouts
from bascule.delivery import planned
from bascule.errors import CheckFailed, Conflict
from bascule.history import Workspace
from bascule.project.publishing import publish
from bascule.project.reverting import revert
from bascule.registry import set_alias, undo_model

PATH = "deployments/delays"


def brought(ws: Workspace, *versions: int, **settings: Any) -> str:
    """Merge a branch that brings versions to main, the last in production; return the merge commit."""
    name = f"to-{versions[-1]}"
    ws.history.create_branch(name)
    made = model(versions[-1]) | {"aliases": {"production": versions[-1]}}
    for number in versions:
        made["versions"][str(number)] |= {"passed": True, "forced": ""}
    changes: dict[str, Any] = {"models/delays": made}
    if settings:
        changes[PATH] = planned(ws.history.read(name, PATH), "delays", "delays", **settings)
    ws.history.commit(name, changes, message=f"Register version {versions[-1]}")
    return publish(ws, name, "main").commit.id


@pytest.fixture
def served(local_workspace: Workspace) -> Workspace:
    """A first merge brought version 1 and its deployment, which serves."""
    brought(local_workspace, 1, steps=[10, 100])
    assert serving(local_workspace) == {1: 100}
    return local_workspace


def serving(ws: Workspace) -> dict[int, int]:
    return {entry["version"]: entry["weight"] for entry in ws.history.get("main", PATH)["traffic"]}


def last(ws: Workspace) -> tuple[str, str]:
    with ws.catalog.read() as conn:
        row = conn.execute(select(rollouts).order_by(rollouts.c.id.desc())).first()
    return row.action, row.commit_id


def versions(ws: Workspace) -> set[str]:
    return set(ws.history.get("main", "models/delays")["versions"])


@pytest.mark.parametrize("end", ["canary", "promoted", "rolled back"])
def test_a_merge_is_reverted_together_with_what_it_shipped(served: Workspace, end: str) -> None:
    merge = brought(served, 1, 2, steps=[20, 100])
    assert serving(served) == {1: 80, 2: 20}
    if end == "promoted":
        delivery.promote(served, "main", "delays")
    elif end == "rolled back":
        delivery.rollback(served, "main", "delays")
    before = served.history.get("main", PATH)
    made = revert(served, merge, "main")
    after = served.history.get("main", PATH)
    assert (versions(served), serving(served), after["rollout"]) == ({"1"}, {1: 100}, None)
    assert served.history.get("main", "models/delays")["aliases"] == {"production": 1}
    assert after["rules"]["steps"] == [10, 100]
    if end == "rolled back":  # there was nothing to move
        assert (after["revision"], last(served)[0]) == (before["revision"], "rollback")
    else:
        assert after["revision"] > before["revision"]
        assert last(served) == ("revert", made.id)
    assert revert(served, merge, "main").id == made.id  # it is undone already


def test_it_goes_back_over_all_versions_that_are_lost(served: Workspace) -> None:
    merge = brought(served, 1, 2, 3)
    delivery.promote(served, "main", "delays")
    delivery.deploy(served, "main", "delays", "delays", 2, strategy="all_at_once")
    revert(served, merge, "main")
    assert serving(served) == {1: 100}


def test_what_has_nothing_to_go_back_to_is_not_taken_out_of_service_unasked(served: Workspace) -> None:
    merge = served.history.log("main", path="models/delays")[0].id
    with pytest.raises(CheckFailed, match="deployments/delays serves version 1, which would be gone") as refused:
        revert(served, merge, "main")
    assert "--force" in refused.value.hint
    assert serving(served) == {1: 100}
    before = served.history.get("main", PATH)["revision"]
    made = revert(served, merge, "main", force="the data were wrong")
    assert (serving(served), last(served)) == ({}, ("revert", made.id))
    assert served.history.get("main", PATH)["revision"] > before
    assert served.history.read("main", "models/delays") is None
    assert "version 1" in made.meta["refused"]
    with served.catalog.read() as conn:
        assert [row.reason for row in conn.execute(select(approvals))] == ["the data were wrong"]


def test_a_version_that_waits_and_goes_is_forgotten(served: Workspace) -> None:
    brought(served, 1, 2)
    merge = brought(served, 1, 2, 3)
    assert served.history.get("main", PATH)["waits"] == 3
    canary = served.history.get("main", PATH)
    revert(served, merge, "main")
    after = served.history.get("main", PATH)
    assert "waits" not in after
    assert (after["traffic"], after["rollout"]) == (canary["traffic"], canary["rollout"])


def test_a_merge_that_drops_what_serves_is_refused(served: Workspace) -> None:
    brought(served, 1, 2)
    served.history.create_branch("tidy")
    kept = model(2) | {"aliases": {"production": 2}}
    kept["versions"].pop("1")
    served.history.commit("tidy", {"models/delays": kept}, message="Drop version 1")
    head = served.history.resolve("main").id
    with pytest.raises(CheckFailed, match="deployments/delays serves version 1 of models/delays"):
        publish(served, "tidy", "main")
    assert served.history.resolve("main").id == head
    delivery.promote(served, "main", "delays")
    publish(served, "tidy", "main")
    assert versions(served) == {"2"}


def test_traffic_is_reverted_commit_by_commit(served: Workspace) -> None:
    """The way that the error names goes through: a state that a revert brought back is the one that was."""
    brought(served, 1, 2)
    started = last(served)[1]
    delivery.promote(served, "main", "delays")
    promoted = last(served)[1]
    with pytest.raises(Conflict, match="traffic of deployments/delays was moved again") as refused:
        revert(served, started, "main")
    assert "bascule rollback deployments/delays" in refused.value.hint
    revert(served, promoted, "main")
    assert serving(served) == {1: 90, 2: 10}
    revert(served, started, "main")
    assert serving(served) == {1: 100}
    found = served.history.get("main", PATH)
    assert revert(served, started, "main") == served.history.resolve("main")
    assert served.history.get("main", PATH) == found


def test_rules_are_reverted_under_a_canary_that_goes_on(served: Workspace) -> None:
    log = {"fields": {"passenger": "drop"}}
    rules = planned(served.history.get("main", PATH), "delays", "delays", steps=[30, 100], log=log)
    ruled = served.history.commit("main", {PATH: rules}, message="Larger steps").id
    brought(served, 1, 2)
    canary = served.history.get("main", PATH)
    assert serving(served) == {1: 70, 2: 30}
    revert(served, ruled, "main")
    after = served.history.get("main", PATH)
    assert (after["rules"]["steps"], canary["log"], after.get("log")) == ([10, 100], log, None)
    assert {name: after[name] for name in ("traffic", "rollout", "revision")} == {
        name: canary[name] for name in ("traffic", "rollout", "revision")
    }


def test_what_came_to_a_model_later_stays(served: Workspace) -> None:
    merge = brought(served, 1, 2)
    delivery.rollback(served, "main", "delays")
    later = served.history.get("main", "models/delays")
    later["versions"]["7"] = later["versions"]["1"] | {"version": 7}
    served.history.commit("main", {"models/delays": later}, message="Register version 7")
    set_alias(served, "main", "delays", "spare", 2)
    revert(served, merge, "main")
    found = served.history.get("main", "models/delays")
    assert (set(found["versions"]), found["aliases"]) == ({"1", "7"}, {"production": 1})


def test_a_version_that_is_another_one_now_is_a_conflict() -> None:
    made, back = model(2), model(1)
    other = model(2)
    other["versions"]["2"] |= {"id": "mv_other"}
    assert undo_model(made, other, back) is None
    assert undo_model(made, made, back) == back
