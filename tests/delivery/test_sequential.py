"""The sequential tests, held to what they promise: by simulation, and by exact enumeration where that is possible."""

import math

import numpy as np
import pytest

from bascule.delivery import sequential

LOOKS = 60
ALPHA = 0.05


def paths(rng: np.random.Generator, rate: float, ratio: float, share: float, sims: int = 1000, requests: int = 600):
    """Events per look on both arms, cumulated: shape [sims, looks]."""
    canary = rng.binomial(requests, share, (sims, LOOKS))
    bad_canary = rng.binomial(canary, min(1.0, rate * ratio))
    bad_stable = rng.binomial(requests - canary, rate)
    return np.cumsum(bad_canary, 1), np.cumsum(bad_stable, 1)


def ever(log_e: np.ndarray, alpha: float = ALPHA) -> float:
    return float((log_e.max(axis=-1) >= math.log(1 / alpha)).mean())


def test_identical_canaries_are_seldom_called_worse() -> None:
    x, y = paths(np.random.default_rng(1), rate=0.008, ratio=1.0, share=0.1)
    assert ever(sequential.log_e_excess(x[..., None], y[..., None], [0.1])) <= ALPHA


def test_a_base_rate_that_moves_raises_no_false_alarm() -> None:
    rng = np.random.default_rng(2)
    rate = np.clip(0.01 * (1 + np.sin(np.arange(LOOKS) / 5)) + 0.001, 0, 1)
    canary = rng.binomial(600, 0.1, (1000, LOOKS))
    x, y = np.cumsum(rng.binomial(canary, rate), 1), np.cumsum(rng.binomial(600 - canary, rate), 1)
    assert ever(sequential.log_e_excess(x[..., None], y[..., None], [0.1])) <= ALPHA


def test_a_better_canary_is_no_evidence_of_harm() -> None:
    x, y = paths(np.random.default_rng(3), rate=0.02, ratio=0.2, share=0.5)
    assert ever(sequential.log_e_excess(x[..., None], y[..., None], [0.5])) <= 0.002


@pytest.mark.parametrize(("ratio", "power"), [(2.0, 0.85), (5.0, 0.999)])
def test_more_errors_are_found(ratio: float, power: float) -> None:
    x, y = paths(np.random.default_rng(4), rate=0.008, ratio=ratio, share=0.1)
    assert ever(sequential.log_e_excess(x[..., None], y[..., None], [0.1])) >= power


def test_phases_with_different_shares_add_up() -> None:
    rng = np.random.default_rng(5)
    first, second = paths(rng, 0.01, 1.0, 0.1), paths(rng, 0.01, 1.0, 0.5)
    zero = np.zeros_like(first[0])
    x = np.concatenate([np.stack([first[0], zero], -1), np.stack([zero + first[0][:, -1:], second[0]], -1)], 1)
    y = np.concatenate([np.stack([first[1], zero], -1), np.stack([zero + first[1][:, -1:], second[1]], -1)], 1)
    log_e = sequential.log_e_excess(x, y, [0.1, 0.5])
    assert log_e.shape == (1000, 2 * LOOKS)
    assert ever(log_e) <= ALPHA


def test_the_excess_process_is_a_martingale_at_its_null() -> None:
    share, n = 0.3, 12
    log_e = sequential.log_e_excess(np.arange(n + 1)[:, None], np.arange(n, -1, -1)[:, None], [share])
    chance = np.array([math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)])
    assert float(np.exp(log_e) @ chance) == pytest.approx(1.0, rel=1e-12)


def test_a_right_split_is_seldom_called_wrong_and_a_wrong_one_is_found() -> None:
    rng = np.random.default_rng(6)
    canary = np.cumsum(rng.binomial(300, 0.1, (1000, LOOKS)), 1)
    total = 300 * np.arange(1, LOOKS + 1)
    assert ever(sequential.log_e_split(canary, total - canary, 0.1)) <= ALPHA
    losing = np.cumsum(rng.binomial(300, 0.085, (1000, LOOKS)), 1)
    assert ever(sequential.log_e_split(losing, total - losing, 0.1)) >= 0.95


def test_the_split_process_is_a_martingale_at_its_null() -> None:
    n, share = 15, 0.2
    k = np.arange(n + 1)
    chance = np.array([math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in k])
    assert float(np.exp(sequential.log_e_split(k, n - k, share)) @ chance) == pytest.approx(1.0, rel=1e-9)


def differences(rng: np.random.Generator, mean: float, sims: int = 1000, n: int = 1500) -> np.ndarray:
    return np.clip(rng.normal(mean, 0.15, (sims, n)), -1, 1)


@pytest.mark.slow
def test_equal_models_are_seldom_called_different() -> None:
    assert ever(sequential.log_e_mean(differences(np.random.default_rng(7), 0.0), 0.0)) <= ALPHA


@pytest.mark.slow
def test_skewed_differences_of_mean_zero_raise_no_false_alarm() -> None:
    rng = np.random.default_rng(8)
    skewed = np.where(rng.random((1000, 1500)) < 0.1, 0.9, -0.1)
    assert ever(sequential.log_e_mean(skewed, 0.0)) <= ALPHA
    assert ever(sequential.log_e_mean(-skewed, 0.0)) <= ALPHA


@pytest.mark.slow
def test_a_worse_model_is_found() -> None:
    assert ever(sequential.log_e_mean(differences(np.random.default_rng(9), 0.02), 0.0)) >= 0.9


@pytest.mark.slow
def test_non_inferiority_is_claimed_for_equal_models_and_seldom_at_the_margin() -> None:
    rng = np.random.default_rng(10)
    assert ever(sequential.log_e_mean_below(differences(rng, 0.0), 0.02)) >= 0.9
    assert ever(sequential.log_e_mean_below(differences(rng, 0.02), 0.02)) <= ALPHA


def test_the_betting_capital_is_a_martingale_at_its_null() -> None:
    outcomes = np.array([[1.0 if (i >> k) & 1 else -0.5 for k in range(8)] for i in range(256)])
    chance = np.array([(1 / 3) ** (row > 0).sum() * (2 / 3) ** (row < 0).sum() for row in outcomes])
    log_e = sequential.log_e_mean(outcomes, 0.0)
    assert float(np.exp(log_e[:, -1]) @ chance) == pytest.approx(1.0, rel=1e-12)


def test_the_confidence_sequence_holds_at_all_times_together() -> None:
    rng = np.random.default_rng(11)
    missed = 0
    for values in np.clip(rng.normal(0.1, 0.4, (300, 800)), -1, 1):
        lower, upper = sequential.confidence_sequence(values, ALPHA)
        truth = 0.0997  # of the clipped normal
        missed += bool((lower > truth).any() or (upper < truth).any())
    assert missed / 300 <= ALPHA
    assert upper[-1] - lower[-1] < 0.2


@pytest.mark.slow
def test_the_rate_interval_holds_at_all_times_together() -> None:
    rng = np.random.default_rng(12)
    missed = 0
    for path in np.cumsum(rng.random((300, 400)) < 0.05, 1):
        bounds = [sequential.rate_interval(int(path[n - 1]), n, ALPHA) for n in range(10, 401, 10)]
        missed += any(not low <= 0.05 <= high for low, high in bounds)
    assert missed / 300 <= ALPHA


def test_rate_intervals_at_the_edges() -> None:
    assert sequential.rate_interval(0, 0) == (0.0, 1.0)
    low, high = sequential.rate_interval(0, 1000)
    assert low == 0.0
    assert 0.001 < high < 0.02
    low, high = sequential.rate_interval(50, 50)
    assert high == 1.0
    assert low > 0.8
    with pytest.raises(ValueError, match="events"):
        sequential.rate_interval(3, 2)


@pytest.mark.parametrize(("values", "limit"), [([0.2, 1.5], 0.0), ([0.2], 1.0), ([math.nan], 0.0)])
def test_values_outside_their_bounds_are_refused(values: list[float], limit: float) -> None:
    with pytest.raises(ValueError, match="between"):
        sequential.log_e_mean(values, limit)
