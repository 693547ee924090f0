"""Sticky traffic: the right shares, the same unit the same arm, and chances that are logged as they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.serving import Split
from bascule.serving.split import BUCKETS


def deployment(traffic: dict[int, int], canary: int | None = None, rollout: str = "canary_1") -> dict[str, Any]:
    return {
        "name": "delays",
        "traffic": [{"version": version, "weight": weight} for version, weight in traffic.items()],
        "rollout": {"id": rollout, "canary": canary, "stable": 1} if canary else None,
    }


UNITS = [f"unit {n}" for n in range(20_000)]


@pytest.mark.parametrize("weight", [1, 10, 50, 99])
def test_shares_are_what_was_asked(weight: int) -> None:
    split = Split(deployment({1: 100 - weight, 2: weight}, canary=2))
    arms = [split.arm(unit) for unit in UNITS]
    share = sum(arm.kind == "canary" for arm in arms) / len(arms)
    deviation = (weight / 100 * (1 - weight / 100) / len(UNITS)) ** 0.5
    assert abs(share - weight / 100) < 5 * deviation
    assert {(arm.version, arm.kind, arm.probability) for arm in arms} == {
        (1, "stable", (100 - weight) / 100),
        (2, "canary", weight / 100),
    }


def test_who_saw_the_canary_keeps_seeing_it_as_it_grows() -> None:
    before = set[str]()
    for weight in (1, 10, 25, 50, 100):
        split = Split(deployment({1: 100 - weight, 2: weight}, canary=2))
        now = {unit for unit in UNITS[:3_000] if split.arm(unit).version == 2}
        assert before <= now
        before = now
    assert len(before) == 3_000


def test_another_rollout_begins_with_others() -> None:
    chosen = []
    for rollout in ("canary_1", "canary_2"):
        split = Split(deployment({1: 90, 2: 10}, canary=2, rollout=rollout))
        chosen.append({unit for unit in UNITS if split.arm(unit).version == 2})
    overlap = len(chosen[0] & chosen[1])
    assert 100 < overlap < 300  # 200 by chance


def test_one_version_needs_no_dice() -> None:
    split = Split(deployment({3: 100}))
    assert split.only is not None
    assert split.arm("x") is split.only
    assert Split(deployment({3: 100, 4: 0})).only is not None
    assert Split(deployment({3: 50, 4: 50})).only is None


@given(st.text())
def test_any_text_has_a_bucket(unit: str) -> None:
    assert 0 <= Split(deployment({1: 50, 2: 50})).bucket(unit) < BUCKETS


@pytest.mark.slow
def test_versions_that_share_without_a_rollout_are_all_stable() -> None:
    split = Split(deployment({1: 20, 2: 30, 3: 50}))
    found = {(split.arm(unit).version, split.arm(unit).kind) for unit in UNITS[:1_000]}
    assert found == {(1, "stable"), (2, "stable"), (3, "stable")}
