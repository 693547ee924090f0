"""A/B tests and bandits of several new versions: who gets which, who leaves, who comes in, and how often wrongly."""

from typing import Any

import numpy as np
import pytest
from tests.delivery.test_strategies import GOAL, NAME, QUIET, Sales, found, look, sales, serving, start

from bascule import delivery
from bascule.delivery.bandit import whole_shares
from bascule.delivery.means import chances_of_best, mean_sequence
from bascule.delivery.versus import against, predictions_of
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.serving import Split

__all__ = ["sales"]


@pytest.fixture(autouse=True)
def _all_passed(request: pytest.FixtureRequest) -> None:
    """Each of the four versions has passed its gates."""
    if "ws" in request.fixturenames:
        workspace = request.getfixturevalue("ws")
        held = workspace.history.get("main", "models/delays")
        versions = {number: one | {"passed": True, "forced": ""} for number, one in held["versions"].items()}
        workspace.history.commit("main", {"models/delays": held | {"versions": versions}}, message="All passed")


def begin(ws: Workspace, strategy: str, versions: tuple[int, ...] = (2, 3, 4), **settings: Any) -> dict[str, Any]:
    first, *also = versions
    return start(ws, strategy, first, also=also, **({"plan": GOAL, "guardrails": QUIET} | settings))


def weights(deployment: dict[str, Any]) -> dict[int, int]:
    return {entry["version"]: entry["weight"] for entry in deployment["traffic"]}


def test_all_arms_get_the_same_and_a_unit_stays_where_it_is(ws: Workspace) -> None:
    made = begin(ws, "ab")
    assert weights(made) == {1: 25, 2: 25, 3: 25, 4: 25}
    assert made["rollout"]["shadow"] is False
    units = [f"unit {n}" for n in range(8_000)]
    before = {unit: Split(made).arm(unit) for unit in units}
    shares = np.unique([arm.version for arm in before.values()], return_counts=True)[1] / len(units)
    assert np.abs(shares - 0.25).max() < 0.03
    assert {arm.kind for arm in before.values() if arm.version == 1} == {"stable"}
    delivery.drop(ws, "main", NAME, (3,))
    after = Split(serving(ws))
    assert weights(serving(ws)) == {1: 50, 2: 25, 4: 25}
    moved = {(before[unit].version, after.arm(unit).version) for unit in units} - {(v, v) for v in (1, 2, 4)}
    assert {one for one, _ in moved} <= {2, 3, 4}, "nobody leaves the version that gets more"
    assert (2, 4) not in moved
    assert (4, 2) not in moved


def test_what_several_versions_cannot_do_is_refused_and_nothing_is_deployed(ws: Workspace) -> None:
    with pytest.raises(InputError, match="serves nothing that versions 1, 2"):
        delivery.deploy(ws, "main", NAME, NAME, 1, also=[2], strategy="ab", plan=GOAL)
    start(ws, "all_at_once", 2)
    before = serving(ws)
    for settings, words in (
        ({"strategy": "canary", "also": [4]}, "cannot come together by 'canary'"),
        ({"strategy": "ab", "also": [4], "plan": GOAL | {"share": 60}}, "leave nothing for version 2"),
        ({"strategy": "ab", "also": [3], "plan": GOAL}, "each is named once"),
        ({"strategy": "ab", "also": [2], "plan": GOAL}, "has all traffic"),
    ):
        with pytest.raises(InputError, match=words):
            delivery.deploy(ws, "main", NAME, NAME, 3, **settings)  # type: ignore[arg-type]
    assert serving(ws) == before
    begin(ws, "ab", (3, 4))
    for act, words in (
        (lambda: delivery.promote(ws, "main", NAME), "compares several new versions: 3, 4"),
        (lambda: delivery.promote(ws, "main", NAME, version=1), "is not rolling out"),
        (lambda: delivery.drop(ws, "main", NAME, (3, 4)), "cannot leave the rollout"),
        (lambda: delivery.reweigh(ws, "main", NAME, {2: 50, 3: 50}, seen=9), "no bandit"),
    ):
        with pytest.raises(InputError, match=words):
            act()


@pytest.mark.slow
def test_the_worse_leaves_and_the_better_comes_in(ws: Workspace, sales: Any) -> None:
    bought: Sales = sales({1: 0.3, 2: 0.45, 3: 0.1, 4: 0.32})
    begin(ws, "ab")
    seen = []
    for _ in range(30):
        bought.send(serving(ws), 400)
        decision = look(ws, bought.traffic)
        if decision.action != "hold":
            seen.append((decision.action, decision.versions))
        if decision.action == "promote":
            break
    assert ("drop", (3,)) in seen
    assert seen[-1] == ("promote", (2,))
    assert weights(serving(ws)) == {2: 100}
    assert found(decision, "goal").detail["version"] == 2


@pytest.mark.slow
def test_a_canary_that_fails_leaves_alone_and_all_of_them_end_it(ws: Workspace, traffic_of: Any) -> None:
    traffic = traffic_of({1: 0.2, 2: 0.2, 3: 0.2})
    made = begin(ws, "bandit", (2, 3))
    traffic.send(made, 1_500, failed={3: 0.2}, shadow=False)
    decision = look(ws, traffic)
    assert (decision.action, decision.versions) == ("drop", (3,))
    assert weights(serving(ws)) == {1: 67, 2: 33}
    traffic.send(serving(ws), 2_500, failed={2: 0.2}, shadow=False)
    assert look(ws, traffic).action == "rollback"
    assert weights(serving(ws)) == {1: 100}


@pytest.mark.slow
def test_a_bandit_of_several_plays_the_best_one_most(ws: Workspace, sales: Any) -> None:
    bought: Sales = sales({1: 0.3, 2: 0.3, 3: 0.42})
    begin(ws, "bandit", (2, 3), plan=GOAL | {"floor": 10})
    for _ in range(12):
        bought.send(serving(ws), 300)
        decision = look(ws, bought.traffic)
        if decision.action in ("promote", "rollback"):
            break
    held = serving(ws)
    if decision.action != "promote":
        assert weights(held)[3] > 60
        assert min(weights(held).values()) >= 10
        assert len(held["rollout"]["weights"]) > 1
    else:
        assert weights(held) == {3: 100}
    connection = bought.traffic.connection()
    asked = against(held, 3)["rollout"] if held["rollout"] else None
    if asked:
        query = f"select count(*), count(*) filter (probability is null) from {predictions_of(asked)}"
        rows, unknown = connection.execute(query).fetchone() or (0, 1)
        assert rows > 0
        assert unknown == 0


def test_whole_shares_keep_the_floor_and_sum_to_a_hundred() -> None:
    for chances in ([1.0, 0.0, 0.0], [0.334, 0.333, 0.333], [0.1] * 10):
        shares = whole_shares(chances, 5)
        assert sum(shares) == 100
        assert min(shares) >= 5
    arms = [np.tile([0.0, 1.0], 50), np.tile([0.0, 1.0, 1.0, 1.0], 50), np.zeros(50)]
    assert chances_of_best(arms)[1] > 0.99
    assert chances_of_best(arms, higher=False)[2] > 0.99


def test_three_equal_versions_raise_no_more_false_alarms_than_one() -> None:
    """200 runs here; `benchmarks/rollouts.py` makes a thousand, of bandits too."""
    rng = np.random.default_rng(7)
    runs, units, arms = 200, 1_500, 3
    arm = rng.integers(0, arms + 1, (runs, units))
    value = (rng.random((runs, units)) < 0.3).astype(float)
    alarms = np.zeros(runs, dtype=bool)
    for one in range(1, arms + 1):
        for run in range(runs):
            mine = (arm[run] == one) | (arm[run] == 0)
            _, low, high = mean_sequence(value[run, mine], arm[run, mine] == one, 0.5, 0.05 / arms)
            alarms[run] |= bool((low > 0).any() or (high < 0).any())
    assert alarms.mean() <= 0.05
