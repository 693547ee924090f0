"""What is said beforehand of how much a rollout sees, held to what it sees."""

import math

import numpy as np
import pytest

from bascule.delivery import power, sequential
from bascule.delivery.means import mean_sequence


@pytest.mark.slow
def test_the_requests_that_are_told_find_the_effect_as_often_as_told_and_no_false_alarms() -> None:
    told = power.events_power("errors", 0.01, 0.01, 0.5, threshold=80)
    assert told.requests is not None
    assert told.median is not None
    assert told.median < told.requests
    assert told.false_alarms <= 1 / 80 + 0.01
    rng = np.random.default_rng(9)
    looks = np.linspace(told.requests / 100, told.requests, 100).astype(int)
    steps = np.diff(looks, prepend=0)
    asked = rng.binomial(steps, 0.5, (500, 100))
    mine, theirs = rng.binomial(asked, 0.02).cumsum(1), rng.binomial(steps - asked, 0.01).cumsum(1)
    log_e = sequential.log_e_excess(mine[..., None], theirs[..., None], [0.5])
    assert abs(float((log_e.max(1) >= math.log(80)).mean()) - 0.8) < 0.08
    smaller = power.events_power("errors", 0.01, 0.01, 0.1, threshold=80)
    assert smaller.requests is not None
    assert smaller.requests > told.requests


def test_a_goal_is_seen_with_at_least_the_chance_that_is_told() -> None:
    told = power.mean_power("goal", 0.3, math.sqrt(0.21), 0.06, 0.5, 0.05)
    assert told.requests is not None
    assert 500 < told.requests < 10_000
    rng = np.random.default_rng(3)
    arm = rng.random((200, told.requests)) < 0.5
    values = (rng.random(arm.shape) < np.where(arm, 0.36, 0.30)).astype(float)
    _, low, _ = mean_sequence(values, arm, 0.5, 0.05)
    assert float((low > 0).any(axis=1).mean()) >= 0.77
    assert power.mean_power("goal", 0.3, 0.5, 1e-6, 0.5, 0.05).requests is None
