"""Deployments that two branches changed: traffic and rules go together each for itself."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.delivery import merge_deployments, planned
from bascule.delivery.traffic import with_stable

PLAN = planned(None, "delays", "delays")
SERVED = with_stable(PLAN, [{"version": 1, "weight": 100}])
OTHER = with_stable(PLAN, [{"version": 2, "weight": 100}])
RULES = planned(PLAN, "delays", "delays", strategy="all_at_once", steps=[50, 100])
STEPS = planned(PLAN, "delays", "delays", steps=[20, 100])


def merged(base: Any, ours: Any, theirs: Any) -> Any:
    return merge_deployments("deployments/delays", base, ours, theirs)


def test_what_serves_stays_when_a_branch_only_wrote_the_rules_down() -> None:
    assert merged(None, SERVED, PLAN) == SERVED
    assert merged(None, PLAN, SERVED) == SERVED


def test_rules_of_one_side_and_traffic_of_the_other() -> None:
    both = SERVED | {"strategy": RULES["strategy"], "rules": RULES["rules"]}
    assert merged(PLAN, SERVED, RULES) == both
    assert merged(PLAN, RULES, SERVED) == both


@pytest.mark.parametrize(
    ("base", "ours", "theirs"),
    [
        (PLAN, SERVED, OTHER),
        (None, SERVED, OTHER),
        (PLAN, RULES, STEPS),
        (PLAN, None, SERVED),
        (PLAN, SERVED, PLAN | {"model": "arrivals"}),
    ],
)
def test_what_both_moved_is_a_conflict(base: Any, ours: Any, theirs: Any) -> None:
    assert merged(base, ours, theirs) is None
