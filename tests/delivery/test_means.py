"""The test of two arms' means and the other values, held to their promise by simulation."""

import math

import numpy as np
import pytest

from bascule.delivery import means, sequential

SIMS, UNITS, ALPHA = 1000, 3000, 0.05


def assigned(rng: np.random.Generator, share: float, sims: int = SIMS, units: int = UNITS) -> np.ndarray:
    return rng.random((sims, units)) < share


def alarms(values: np.ndarray, arm: np.ndarray, share: float) -> tuple[float, float]:
    """The share of runs in which the canary was ever called better, and worse."""
    _, low, high = means.mean_sequence(values, arm, share, ALPHA)
    return float((low > 0).any(axis=1).mean()), float((high < 0).any(axis=1).mean())


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_a_thousand_a_a_tests_raise_the_promised_false_alarms_at_most(share: float) -> None:
    rng = np.random.default_rng(1)
    arm = assigned(rng, share)
    for values in (
        (rng.random(arm.shape) < 0.5).astype(float),
        (rng.random(arm.shape) < 0.02).astype(float),  # conversions: rare, so that the small arm often has none
        rng.lognormal(0, 1.5, arm.shape),  # revenue: a few large ones
    ):
        assert sum(alarms(values, arm, share)) <= ALPHA


def test_a_share_that_moves_with_the_evidence_raises_no_more() -> None:
    rng = np.random.default_rng(2)
    share = np.tile(np.where(np.arange(UNITS) % 1000 < 500, 0.8, 0.2), (300, 1))
    arm = rng.random(share.shape) < share
    # What everybody does moves along with the share: the mean by arm alone would call the canary better.
    values = rng.normal(share, 1.0)
    assert float(np.mean(values[arm])) > float(np.mean(values[~arm])) + 0.2
    _, low, high = means.mean_sequence(values, arm, share, ALPHA)
    assert float(((low > 0) | (high < 0)).any(axis=1).mean()) <= ALPHA


@pytest.mark.slow
def test_what_is_better_is_found_and_the_true_difference_is_inside() -> None:
    rng = np.random.default_rng(3)
    arm = assigned(rng, 0.5, 200, 12_000)
    values = (rng.random(arm.shape) < np.where(arm, 0.35, 0.30)).astype(float)
    better, worse = alarms(values, arm, 0.5)
    assert better >= 0.95
    assert worse == 0
    mean, low, high = means.mean_sequence(values, arm, 0.5, ALPHA)
    assert ((low > 0.05) | (high < 0.05)).any(axis=1).mean() <= ALPHA
    assert abs(float(mean[:, -1].mean()) - 0.05) < 0.003


def test_nothing_is_claimed_before_both_arms_have_units_or_of_equal_values() -> None:
    arm = np.arange(1000) < 950
    _, low, high = means.mean_sequence(np.where(arm, 1.0, 0.0), arm, 0.5)
    assert np.isinf(low).all()
    assert np.isinf(high).all()
    _, low, _ = means.mean_sequence(np.zeros(1000), np.arange(1000) % 2 == 0, 0.5)
    assert np.isinf(low).all()
    assert all(part.shape == (0,) for part in means.mean_sequence([], [], 0.5))


def test_thompson_plays_the_better_one_and_the_same_evidence_alike() -> None:
    rng = np.random.default_rng(4)
    arm = rng.random(2000) < 0.5
    values = (rng.random(2000) < np.where(arm, 0.4, 0.3)).astype(float)
    chance = means.chance_of_best(values, arm, seed=7)
    assert chance > 0.99
    assert means.chance_of_best(values, arm, seed=7) == chance
    assert means.chance_of_best(values, arm, higher=False, seed=7) == pytest.approx(1 - chance)
    assert means.chance_of_best(values[:2], [True, False]) == 0.5
    assert 0.2 < means.chance_of_best(rng.normal(0, 1, 2000), arm) < 0.999


@pytest.mark.slow
def test_the_quantile_interval_holds_at_all_times_together_and_finds_a_longer_tail() -> None:
    rng = np.random.default_rng(5)
    truth = -math.log(0.05)  # of the exponential, 95 %
    missed = 0
    for values in rng.exponential(1, (200, 1500)):
        bounds = [sequential.quantile_interval(values[:n], 0.95, ALPHA) for n in (50, 200, 500, 1000, 1500)]
        missed += any(not low <= truth <= high for low, high in bounds)
    assert missed / 200 <= ALPHA
    low, high = sequential.quantile_interval(rng.exponential(1, 20_000), 0.95, ALPHA)
    assert low < truth < high < low * 1.25
    assert sequential.quantile_interval([], 0.5) == (-math.inf, math.inf)
    assert sequential.quantile_interval([1.0], 0.99)[1] == math.inf


def test_a_rate_by_counts_is_the_betting_test() -> None:
    values = np.array([0, 1, 0, 0, 1, 1, 0, 0, 0, 0], dtype=float)
    whole = sequential.log_e_mean(values, 0.1, 0.0, 1.0)[-1]
    assert sequential.log_e_rate(3, 10, 0.1) == pytest.approx(whole, rel=1e-9)
