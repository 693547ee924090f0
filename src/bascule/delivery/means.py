"""The difference of two arms' means, of any value, looked at as often as one likes: A/B tests and measures in SQL.

Where `sequential` bets on values between known bounds, and holds exactly from the first one, this takes values of any
scale (revenue, minutes, a 0-1 outcome) and holds in the limit: from `BURN_IN` units an arm on. `tests/delivery` holds
it to its promise by simulation.

Sources:
    Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, Time-uniform central limit theory and asymptotic confidence
    sequences, Annals of Statistics 2024 (arXiv 2103.06476): theorem 2.2, and section 3 for average effects under random
    assignment. Johari, Koomen, Pekelis & Walsh, Always valid inference (mSPRT), Operations Research 2022 (arXiv
    1512.04922): the same normal mixture with a known variance; Robbins 1970. Thompson, On the likelihood that one
    unknown probability exceeds another, Biometrika 1933.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bascule.delivery.sequential import Floats

# Before both arms have so many units nothing is claimed: the limit theorem has not begun to hold.
BURN_IN = 100
# And so many times the squared skewness (Cochran's rule for the normal approximation, halved twice by the simulations):
# a share of 2 % needs some 500 units of each arm, about ten events.
PER_SKEW = 10.0
# The number of units at which the bounds are made to be tightest. Any is valid; the bounds vary little with it.
TUNED_FOR = 2_000
DRAWS = 20_000


def pseudo_differences(values: ArrayLike, canary: ArrayLike, share: ArrayLike) -> Floats:
    """Return one unbiased value a unit whose mean is the difference of the arms' means, canary less stable.

    The value of a unit is weighted by the inverse of the chance of its arm, around what earlier units of each arm had
    on average (augmented inverse-propensity weighting): unbiased whatever these averages are, and nearly as precise as
    if the arms were drawn by lot with fixed numbers. So the share may change from unit to unit, as a bandit's does.

    Args:
        values: shape [..., n], in the order in which they came.
        canary: whether a unit is on the canary, same shape.
        share: the canary's chance, strictly between 0 and 1; broadcasts.

    Returns:
        Shape [..., n].
    """
    v, arm = np.asarray(values, dtype=np.float64), np.asarray(canary, dtype=bool)
    w = np.broadcast_to(np.asarray(share, dtype=np.float64), v.shape)
    expected = [_earlier_mean(v, arm), _earlier_mean(v, ~arm)]
    found: Floats = expected[0] - expected[1]
    found = found + np.where(arm, (v - expected[0]) / w, -(v - expected[1]) / (1.0 - w))
    return found


def mean_sequence(
    values: ArrayLike, canary: ArrayLike, share: ArrayLike, alpha: float = 0.05
) -> tuple[Floats, Floats, Floats]:
    """An interval for the difference of the means after each unit; all hold together with chance 1 - alpha.

    Args:
        values, canary, share: as in `pseudo_differences`.
        alpha: the chance that the difference is ever outside, over both sides.

    Returns:
        The estimate, the lower and the upper bound after each unit, each of shape [..., n]. Bounds are infinite before
        each arm has `BURN_IN` units.
    """
    arm = np.asarray(canary, dtype=bool)
    z = pseudo_differences(values, arm, share)
    n = z.shape[-1]
    t = np.arange(1, n + 1, dtype=np.float64)
    mean = np.cumsum(z, axis=-1) / t
    pooled, enough = _pooled(np.asarray(values, dtype=np.float64), t)
    w = np.broadcast_to(np.asarray(share, dtype=np.float64), z.shape)
    # The small arm's own variance is too small while it has not had its share of what is rare (a sale, an error). So it
    # is taken for no smaller than if both arms varied alike.
    alike = pooled * np.cumsum(1.0 / (w * (1.0 - w)), axis=-1) / t
    variance = np.maximum(np.cumsum(z**2, axis=-1) / t - mean**2, alike)
    radius = np.sqrt(variance) * boundary(t, alpha)
    ours = np.cumsum(arm, axis=-1)
    radius = np.where(np.minimum(ours, t - ours) < enough, np.inf, radius)
    return mean, mean - radius, mean + radius


def boundary(units: ArrayLike, alpha: float) -> Floats:
    """Return how many standard deviations of one value the bounds are from the estimate after so many units."""
    t = np.asarray(units, dtype=np.float64)
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / TUNED_FOR
    found: Floats = np.sqrt(2 * (t * rho2 + 1) / (t**2 * rho2) * np.log(np.sqrt(t * rho2 + 1) / alpha))
    return found


def chance_of_best(values: ArrayLike, canary: ArrayLike, *, higher: bool = True, seed: int = 0) -> float:
    """The chance that the canary's mean is the better one, given what was seen: what Thompson sampling plays it with.

    A 0-1 value has Beta(1 + successes, 1 + failures) for each arm, any other a normal around the arm's mean; drawn with
    a fixed seed, so that the same evidence gives the same weights in every process.

    Args:
        values: shape [n]; `canary`: whether each is of the canary.

    Returns:
        Between 0 and 1; one half before each arm has two values.
    """
    v, arm = np.asarray(values, dtype=np.float64), np.asarray(canary, dtype=bool)
    if min(int(arm.sum()), int((~arm).sum())) < 2:
        return 0.5
    rng = np.random.default_rng(seed)
    binary = bool(np.isin(v, (0.0, 1.0)).all())
    ours, theirs = (_posterior(rng, v[side], binary) for side in (arm, ~arm))
    better = float(np.mean(ours > theirs))
    return better if higher else 1.0 - better


def chances_of_best(arms: Sequence[ArrayLike], *, higher: bool = True, seed: int = 0) -> list[float]:
    """The chance of each of several arms that its mean is the best one, drawn as in `chance_of_best`.

    Args:
        arms: the values of each.
    """
    held = [np.asarray(one, dtype=np.float64) for one in arms]
    if min(map(len, held)) < 2:
        return [1 / len(held)] * len(held)
    rng = np.random.default_rng(seed)
    binary = all(bool(np.isin(one, (0.0, 1.0)).all()) for one in held)
    drawn = np.array([_posterior(rng, one, binary) for one in held])
    best = drawn.argmax(axis=0) if higher else drawn.argmin(axis=0)
    return [float(np.mean(best == place)) for place in range(len(held))]


def _pooled(values: Floats, t: Floats) -> tuple[Floats, Floats]:
    """The variance of all values so far, and how many units an arm needs by then: more, the more skewed they are."""
    first, second, third = (np.cumsum(values**power, axis=-1) / t for power in (1, 2, 3))
    variance = np.maximum(second - first**2, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        skew2 = (third - 3 * first * second + 2 * first**3) ** 2 / variance**3
    # A variance of nothing, as long as all values are alike, says nothing: the next one may differ.
    enough: Floats = np.where(
        variance > 1e-12 * np.maximum(second, 1e-300), np.maximum(BURN_IN, PER_SKEW * skew2), np.inf
    )
    return variance, enough


def _posterior(rng: np.random.Generator, values: Floats, binary: bool) -> Floats:
    n = len(values)
    if binary:
        hits = float(values.sum())
        return rng.beta(1 + hits, 1 + n - hits, DRAWS)
    return rng.normal(float(values.mean()), max(float(values.std(ddof=1)) / math.sqrt(n), 1e-12), DRAWS)


def _earlier_mean(values: Floats, mine: NDArray[np.bool_]) -> Floats:
    """The mean of the arm's values before each unit; 0 before there is one."""
    total, count = np.cumsum(np.where(mine, values, 0.0), axis=-1), np.cumsum(mine, axis=-1)
    zero = np.zeros((*values.shape[:-1], 1))
    before, number = np.concatenate([zero, total[..., :-1]], -1), np.concatenate([zero, count[..., :-1]], -1)
    found: Floats = before / np.maximum(number, 1)
    return found
