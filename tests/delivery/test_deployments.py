import threading
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from bascule import delivery
from bascule.catalog import audit
from bascule.catalog.schema import rollouts
from bascule.delivery import traffic
from bascule.errors import CheckFailed, Conflict, InputError, NotFound
from bascule.history import Workspace
from bascule.registry import set_alias

WHO = "ann@example.org"


def deploy(ws: Workspace, version: int | str, **settings):
    return delivery.deploy(ws, "main", "delays", "delays", version, by=WHO, **settings)


def now_serving(ws: Workspace) -> dict[int, int]:
    found = delivery.read_deployment(ws, "main", "delays")
    return {entry["version"]: entry["weight"] for entry in found["traffic"]}


def records(ws: Workspace) -> list:
    with ws.catalog.read() as conn:
        return list(conn.execute(select(rollouts).order_by(rollouts.c.id)))


def test_the_first_deployment_gets_all_traffic_at_once(ws: Workspace) -> None:
    commit = deploy(ws, 1, reason="first")
    found = delivery.read_deployment(ws, "main", "delays")
    assert found["traffic"] == [{"version": 1, "weight": 100}]
    assert found["revision"] == 1
    assert found["rollout"] is None
    (row,) = records(ws)
    assert (row.action, row.commit_id, row.actor) == ("deploy", commit.id, WHO)
    assert msgspec.json.decode(row.to_json) == found["traffic"]
    assert msgspec.json.decode(row.evidence_json) == {"reason": "first"}


def test_a_later_version_goes_by_canary_step_by_step(ws: Workspace) -> None:
    deploy(ws, 1)
    deploy(ws, 2, steps=[10, 50, 100])
    assert now_serving(ws) == {1: 90, 2: 10}
    delivery.advance(ws, "main", "delays", by=WHO)
    assert now_serving(ws) == {1: 50, 2: 50}
    delivery.advance(ws, "main", "delays", by=WHO)
    found = delivery.read_deployment(ws, "main", "delays")
    assert found["traffic"] == [{"version": 2, "weight": 100}]
    assert found["rollout"] is None
    assert found["revision"] == 4
    assert [row.action for row in records(ws)] == ["deploy", "start", "advance", "promote"]
    assert audit.verify(ws.catalog).ok


def test_all_at_once(ws: Workspace) -> None:
    deploy(ws, 1)
    deploy(ws, 2, strategy="all_at_once")
    assert now_serving(ws) == {2: 100}


def test_rollback_of_a_canary_gives_stable_all_traffic(ws: Workspace) -> None:
    deploy(ws, 1)
    deploy(ws, 2)
    commit = delivery.rollback(ws, "main", "delays", by=WHO, reason="too slow")
    assert now_serving(ws) == {1: 100}
    row = records(ws)[-1]
    assert (row.action, row.commit_id) == ("rollback", commit.id)
    assert msgspec.json.decode(row.from_json) == [{"version": 1, "weight": 90}, {"version": 2, "weight": 10}]
    assert "too slow" in ws.history.resolve("main").message
    with ws.catalog.read() as conn:
        entries = conn.execute(select(audit.audit).where(audit.audit.c.action == "rollback")).all()
    assert {entry.subject for entry in entries} == {"refs/main", "deployments/delays"}


def test_rollback_twice_goes_two_back_and_then_says_that_nothing_is_left(ws: Workspace) -> None:
    deploy(ws, 1)
    for version in (2, 1):
        deploy(ws, version, strategy="all_at_once")
    delivery.rollback(ws, "main", "delays")
    assert now_serving(ws) == {2: 100}
    delivery.rollback(ws, "main", "delays")
    assert now_serving(ws) == {1: 100}
    before = ws.history.resolve("main")
    with pytest.raises(InputError, match="nothing to roll back to: version 1 at 100 %"):
        delivery.rollback(ws, "main", "delays")
    assert ws.history.resolve("main") == before
    assert delivery.read_deployment(ws, "main", "delays")["revision"] == 5


def production(ws: Workspace) -> int:
    return int(ws.history.get("main", "models/delays")["aliases"]["production"])


def test_a_version_that_was_rolled_back_is_not_called_production(ws: Workspace) -> None:
    deploy(ws, 1)
    set_alias(ws, "main", "delays", "production", 2)
    deploy(ws, 2)
    delivery.rollback(ws, "main", "delays")
    assert production(ws) == 1
    deploy(ws, 2, strategy="all_at_once")  # by hand: it is not called so now
    delivery.rollback(ws, "main", "delays")
    assert production(ws) == 1


def test_a_version_that_serves_elsewhere_stays_production(ws: Workspace) -> None:
    deploy(ws, 1)
    set_alias(ws, "main", "delays", "production", 2)
    delivery.deploy(ws, "main", "elsewhere", "delays", 2)
    deploy(ws, 2)
    delivery.rollback(ws, "main", "delays")
    assert production(ws) == 2
    delivery.rollback(ws, "main", "elsewhere")  # nothing serves there: the alias stays as it is
    assert production(ws) == 2


def test_the_trail_is_bounded(ws: Workspace) -> None:
    deploy(ws, 1)
    for turn in range(14):
        deploy(ws, 2 - turn % 2, strategy="all_at_once")
    assert len(delivery.read_deployment(ws, "main", "delays")["trail"]) == 10


def test_taking_the_first_version_back_leaves_nothing_in_service(ws: Workspace) -> None:
    deploy(ws, 1)
    commit = delivery.rollback(ws, "main", "delays", reason="harm")
    found = delivery.read_deployment(ws, "main", "delays")
    assert (found["traffic"], found["revision"]) == ([], 2)
    assert commit.message == "Roll back delays: not in service (harm)"
    with pytest.raises(InputError, match="not in service: there is nothing to roll back"):
        delivery.rollback(ws, "main", "delays")
    deploy(ws, 2)
    assert now_serving(ws) == {2: 100}
    assert [row.action for row in records(ws)] == ["deploy", "rollback", "deploy"]


def test_pressing_twice_ends_in_no_outage(ws: Workspace) -> None:
    deploy(ws, 1)
    deploy(ws, 2, strategy="all_at_once")
    delivery.rollback(ws, "main", "delays")
    with pytest.raises(InputError, match="nothing to roll back to"):
        delivery.rollback(ws, "main", "delays")
    assert now_serving(ws) == {1: 100}


def test_a_planned_deployment_serves_nothing_until_its_first_version(ws: Workspace) -> None:
    plan = delivery.planned(None, "delays", "delays", strategy="canary", steps=[25, 100])
    ws.history.commit("main", {"deployments/delays": plan}, message="Define", author=WHO)
    assert now_serving(ws) == {}
    deploy(ws, 1)
    assert now_serving(ws) == {1: 100}
    again = delivery.planned(
        delivery.read_deployment(ws, "main", "delays"), "delays", "delays", strategy="all_at_once", steps=[50, 100]
    )
    assert (again["traffic"], again["strategy"]) == ([{"version": 1, "weight": 100}], "all_at_once")
    assert again["rules"] == plan["rules"] | {"steps": [50, 100]}


def test_traffic_by_hand_ends_a_rollout_and_can_be_rolled_back(ws: Workspace) -> None:
    deploy(ws, 1)
    deploy(ws, 2)
    delivery.set_traffic(ws, "main", "delays", {1: 30, 2: 70})
    assert delivery.read_deployment(ws, "main", "delays")["rollout"] is None
    assert now_serving(ws) == {1: 30, 2: 70}
    with pytest.raises(InputError, match="one stable version"):
        deploy(ws, 3)
    delivery.rollback(ws, "main", "delays")
    assert now_serving(ws) == {1: 100}


@pytest.mark.parametrize("weights", [{1: 50, 2: 49}, {1: 101, 2: -1}, {1: 99.5, 2: 0.5}, {}, {1: True, 2: 99}])
def test_weights_that_cannot_be_used(ws: Workspace, weights: dict) -> None:
    deploy(ws, 1)
    with pytest.raises(InputError, match="Traffic cannot be"):
        delivery.set_traffic(ws, "main", "delays", weights)
    assert now_serving(ws) == {1: 100}


@pytest.mark.parametrize("steps", [[], [100], [50, 10, 100], [10, 50], [0, 100], [10, 10, 100], [12.5, 100]])
def test_steps_that_cannot_be_used(ws: Workspace, steps: list) -> None:
    deploy(ws, 1)
    with pytest.raises(InputError, match="steps of a rollout"):
        deploy(ws, 2, steps=steps)


def test_unknown_names_offer_the_nearest(ws: Workspace) -> None:
    deploy(ws, 1)
    with pytest.raises(NotFound, match="no version or alias of 'delays' named 'prodution'") as found:
        deploy(ws, "prodution")
    assert "'production'" in found.value.hint
    with pytest.raises(NotFound) as found:
        delivery.deploy(ws, "main", "x", "delay", 1)
    assert "'delays'" in found.value.hint
    for verb in (delivery.rollback, delivery.promote, delivery.advance):
        with pytest.raises(NotFound) as found:
            verb(ws, "main", "delay")
        assert "'delays'" in found.value.hint
    with pytest.raises(NotFound) as found:
        delivery.rollback(ws, "mian", "delays")
    assert "'main'" in found.value.hint
    with pytest.raises(NotFound) as found:
        deploy(ws, 2, strategy="cannary")
    assert "'canary'" in found.value.hint
    with pytest.raises(InputError) as wrong:
        deploy(ws, 2, guardrails={"quality": {"margni": 0.1}})
    assert "'margin'" in wrong.value.hint


def test_a_version_that_did_not_pass_is_refused_and_a_forced_one_goes_by_canary_only(ws: Workspace) -> None:
    deploy(ws, 1)
    with pytest.raises(CheckFailed, match="did not pass its gates"):
        deploy(ws, 4)
    with pytest.raises(InputError, match="by canary or shadow only"):
        deploy(ws, 3, strategy="all_at_once")
    deploy(ws, 3)
    assert now_serving(ws) == {1: 90, 3: 10}


def test_one_rollout_at_a_time(ws: Workspace) -> None:
    deploy(ws, 1)
    with pytest.raises(InputError, match="has all traffic"):
        deploy(ws, 1)
    with pytest.raises(InputError, match="no rollout under way"):
        delivery.promote(ws, "main", "delays")
    deploy(ws, 2)
    with pytest.raises(Conflict, match="rolling out"):
        deploy(ws, 3)


def test_a_decision_on_an_older_state_is_refused(ws: Workspace) -> None:
    deploy(ws, 1)
    deploy(ws, 2)
    judged = ws.history.digest("main", "deployments/delays")
    delivery.rollback(ws, "main", "delays")
    deploy(ws, 2)
    count = len(records(ws))
    with pytest.raises(Conflict):
        delivery.promote(ws, "main", "delays", expect=judged)
    assert len(records(ws)) == count


def test_a_branch_rolls_back_alone(ws: Workspace) -> None:
    deploy(ws, 1)
    deploy(ws, 2, strategy="all_at_once")
    ws.history.create_branch("trial")
    delivery.rollback(ws, "trial", "delays")
    assert now_serving(ws) == {2: 100}
    assert delivery.read_deployment(ws, "trial", "delays")["traffic"] == [{"version": 1, "weight": 100}]


@pytest.mark.slow
def test_rollback_wins_against_writers_that_race_it(either: Workspace) -> None:
    deploy(either, 1)
    for version in (2, 1, 2, 1):
        deploy(either, version, strategy="all_at_once")
    errors: list[Exception] = []

    def back() -> None:
        try:
            delivery.rollback(either, "main", "delays", by=WHO)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=back) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert now_serving(either) == {2: 100}
    assert delivery.read_deployment(either, "main", "delays")["revision"] == 8
    assert audit.verify(either.catalog).ok


def production_of(ws: Workspace) -> int:
    return int(ws.history.get("main", "models/delays")["aliases"]["production"])


def test_production_follows_what_gets_all_traffic(ws: Workspace) -> None:
    deploy(ws, 1)
    assert production_of(ws) == 1
    deploy(ws, 2)
    assert production_of(ws) == 1  # a canary is not production yet
    made = delivery.promote(ws, "main", "delays")
    assert production_of(ws) == 2
    assert {change.path for change in ws.history.diff(made.parents[0], made)} == {"deployments/delays", "models/delays"}
    delivery.set_traffic(ws, "main", "delays", {1: 50, 2: 50})
    assert production_of(ws) == 2
    delivery.set_traffic(ws, "main", "delays", {1: 100})
    assert production_of(ws) == 1
    delivery.deploy(ws, "main", "other", "delays", 2)
    assert production_of(ws) == 1  # another deployment serves version 1
    delivery.set_traffic(ws, "main", "other", {1: 100})
    assert production_of(ws) == 1


def test_production_moves_beside_a_registration_that_lands_meanwhile(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(ws, 1)
    deploy(ws, 2)
    commit, late = ws.history.commit, []

    def slow(*arguments: Any, **settings: Any) -> Any:
        if not late:
            late.append(True)
            found = ws.history.get("main", "models/delays")
            found["versions"]["9"] = found["versions"]["1"] | {"version": 9}
            commit("main", {"models/delays": found}, message="Register version 9")
        return commit(*arguments, **settings)

    monkeypatch.setattr(ws.history, "commit", slow)
    delivery.promote(ws, "main", "delays")
    found = ws.history.get("main", "models/delays")
    assert (found["aliases"]["production"], "9" in found["versions"]) == (2, True)


def test_traffic_by_hand_rests_on_one_state_and_may_name_it(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(ws, 1)
    seen = ws.history.digest("main", "deployments/delays")
    check = traffic.checked_traffic

    def meanwhile(weights: Any) -> Any:
        monkeypatch.setattr(traffic, "checked_traffic", check)
        delivery.set_traffic(ws, "main", "delays", {2: 100})
        return check(weights)

    monkeypatch.setattr(traffic, "checked_traffic", meanwhile)
    with pytest.raises(Conflict):
        delivery.set_traffic(ws, "main", "delays", {1: 50, 2: 50})
    found = delivery.read_deployment(ws, "main", "delays")
    assert found["traffic"] == [{"version": 2, "weight": 100}]
    with pytest.raises(Conflict):
        delivery.set_traffic(ws, "main", "delays", {1: 100}, expect=seen)


@pytest.mark.parametrize("name", ["a/../b", "<b>x</b>", "\nbad", "bad\n", "", "x" * 129])
def test_names_that_cannot_be_used(ws: Workspace, name: str) -> None:
    head = ws.history.resolve("main")
    with pytest.raises(InputError, match="cannot be used as a deployment's name"):
        delivery.deploy(ws, "main", name, "delays", 1)
    with pytest.raises(InputError, match="cannot be used as a deployment's name"):
        delivery.planned(None, name, "delays")
    assert ws.history.resolve("main") == head
