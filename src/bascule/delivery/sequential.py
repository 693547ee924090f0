"""Always-valid tests: they may be looked at after every request, and stop at any moment, at a stated error.

A test here is an *e-process*: a number that starts at 1 and, while the null hypothesis holds, is at any stopping time
1 or less on average. By Ville's inequality it then ever reaches 1/alpha with a chance of at most alpha, however often
somebody looks. All functions work in logarithms, so that evidence neither overflows nor vanishes.

Sources:
    Lindon & Malek, Anytime-valid inference for multinomial count data, NeurIPS 2022 (arXiv 2011.03567).
    Waudby-Smith & Ramdas, Estimating means of bounded random variables by betting, JRSS-B 2024 (arXiv 2010.09686).
    Howard, Ramdas, McAuliffe & Sekhon, Time-uniform confidence sequences, Annals of Statistics 2021 (arXiv 1810.08240).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# The rate ratios that the one-sided test bets on, as multiples of the ratio that is still tolerated. Any fixed prior is
# valid; these cover a slight excess and a canary that fails always.
RATIOS: Floats = np.geomspace(1.1, 60.0, 24)

# The shares of its capital that the betting test stakes: small stakes find small differences, large ones large ones.
STAKES: Floats = np.geomspace(0.004, 0.9, 24)

_lgamma = np.vectorize(math.lgamma, otypes=[np.float64])


def log_e_split(canary: ArrayLike, stable: ArrayLike, share: ArrayLike, strength: float = 20.0) -> Floats:
    """Evidence that requests are not split as they should be (sample-ratio mismatch), in either direction.

    Null: each request goes to the canary with chance `share`, independently of the others. The alternative is a
    Beta(strength * share, strength * (1 - share)) mixture over the true share (Lindon & Malek 2022, section 3).

    Args:
        canary: requests that the canary got, shape [...].
        stable: requests that the stable version got, same shape.
        share: the canary's intended share, strictly between 0 and 1; broadcasts.
        strength: how close to the intended share the alternative is thought to lie.

    Returns:
        The logarithm of the e-process, shape [...]: reject when it reaches log(1 / alpha).
    """
    x, y = np.asarray(canary, dtype=np.float64), np.asarray(stable, dtype=np.float64)
    w = np.asarray(share, dtype=np.float64)
    a, b = strength * w, strength * (1.0 - w)
    found: Floats = _log_beta(a + x, b + y) - _log_beta(a, b) - x * np.log(w) - y * np.log1p(-w)
    return found


def log_e_excess(canary: ArrayLike, stable: ArrayLike, share: ArrayLike, ratio: float = 1.0) -> Floats:
    """Evidence that some event (an error, a slow answer) is more frequent on the canary than `ratio` times stable's.

    Only the arm of each event is used: while the canary's rate is `ratio` times stable's, an event falls on the canary
    with chance ratio*w / (ratio*w + 1 - w), w being the canary's share of requests, *whatever the common rate is and
    however it moves over time* (Lindon & Malek 2022, section 4). A discrete mixture over larger ratios takes the place
    of their Beta, which makes the test one-sided (a canary that is better is no evidence) and lets the share change
    between phases of a rollout without starting again. The null is composite: any ratio up to `ratio`, possibly moving.

    Args:
        canary: events on the canary in each phase, shape [..., phases].
        stable: events on the stable version in each phase, same shape.
        share: the canary's share of requests in each phase, shape [phases], strictly between 0 and 1.
        ratio: the largest rate ratio that is tolerated.

    Returns:
        The logarithm of the e-process, shape [...]: reject when it reaches log(1 / alpha).
    """
    x, y = np.asarray(canary, dtype=np.float64), np.asarray(stable, dtype=np.float64)
    w = np.asarray(share, dtype=np.float64)[..., None]
    null, bets = _event_share(w, ratio), _event_share(w, ratio * RATIOS)
    gain = x[..., None] * np.log(bets / null) + y[..., None] * np.log((1.0 - bets) / (1.0 - null))
    return _log_mean(gain.sum(axis=-2))


def log_e_mean(values: ArrayLike, limit: float, low: float = -1.0, high: float = 1.0) -> Floats:
    """Evidence, after each value, that the mean of bounded values is above `limit`: the betting e-process.

    Null: given all values before it, no value has a mean above `limit` (they need be neither independent nor alike).
    The capital starts at 1 and is multiplied by 1 + bet * (value - limit); an equal mixture over the bets `STAKES`
    replaces the predictable plug-in of Waudby-Smith & Ramdas 2024 (section 4.1; mixtures in appendix B), so that
    the end does not depend on the order.

    Args:
        values: shape [..., n], each in [low, high].
        limit: the largest mean of the null, strictly inside (low, high).
        low: the least possible value.
        high: the greatest possible value.

    Returns:
        The logarithm of the e-process after each value, shape [..., n]: reject when it ever reaches log(1 / alpha).

    Raises:
        ValueError: when a value is outside its bounds, or the limit is not inside them.
    """
    x = _bounded(values, low, high)
    if not low < limit < high:
        raise ValueError(f"limit must lie between {low} and {high}, not {limit}")
    total: Floats = np.full(x.shape, -np.inf)
    for stake in STAKES:
        total = np.logaddexp(total, np.cumsum(np.log1p(stake * (x - limit) / (limit - low)), axis=-1))
    return total - math.log(len(STAKES))


def log_e_mean_below(values: ArrayLike, limit: float, low: float = -1.0, high: float = 1.0) -> Floats:
    """Evidence, after each value, that the mean is below `limit`: `log_e_mean` of the values turned round."""
    return log_e_mean(-np.asarray(values, dtype=np.float64), -limit, -high, -low)


def confidence_sequence(
    values: ArrayLike, alpha: float = 0.05, low: float = -1.0, high: float = 1.0
) -> tuple[Floats, Floats]:
    """An interval for the mean after each value that holds at all times together with chance 1 - alpha.

    The predictable plug-in empirical Bernstein confidence sequence (Waudby-Smith & Ramdas 2024, theorem 2), with the
    running intersection of the intervals. It is what is drawn; it is a little wider than the betting tests decide by.

    Args:
        values: shape [n], each in [low, high], with one common conditional mean.
        alpha: the chance that the mean is ever outside.
        low: the least possible value.
        high: the greatest possible value.

    Returns:
        Lower and upper bounds after each value, each of shape [n].
    """
    x = (_bounded(values, low, high) - low) / (high - low)
    t = np.arange(1, len(x) + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    before_mean = np.concatenate(([0.5], mean[:-1]))
    before_variance = np.concatenate(([0.25], variance[:-1]))
    bet = np.minimum(np.sqrt(2 * math.log(2 / alpha) / (before_variance * t * np.log1p(t))), 0.5)
    spread = np.cumsum((x - before_mean) ** 2 * (-np.log1p(-bet) - bet))
    weight = np.cumsum(bet)
    centre, radius = np.cumsum(bet * x) / weight, (math.log(2 / alpha) + spread) / weight
    lower = np.maximum.accumulate(np.maximum(centre - radius, 0.0))
    upper = np.minimum.accumulate(np.minimum(centre + radius, 1.0))
    return low + (high - low) * lower, low + (high - low) * upper


def rate_interval(events: int, trials: int, alpha: float = 0.05) -> tuple[float, float]:
    """An interval for a rate that holds at all times together with chance 1 - alpha, while the rate stays the same.

    All rates p that the Beta(1/2, 1/2)-binomial mixture e-process has not rejected (Robbins 1970; Howard et al. 2021,
    section 3.3).

    Raises:
        ValueError: when there are more events than trials, or fewer than none.
    """
    if not 0 <= events <= trials:
        raise ValueError(f"{events} events in {trials} trials")
    if trials == 0:
        return 0.0, 1.0
    mixture = float(_log_beta(np.float64(0.5 + events), np.float64(0.5 + trials - events)) - _log_beta(0.5, 0.5))
    limit = math.log(1 / alpha)

    def rejected(p: float) -> bool:
        null = (events * math.log(p) if events else 0.0) + ((trials - events) * math.log1p(-p) if p < 1 else -math.inf)
        return mixture - null >= limit

    middle = events / trials
    lower = 0.0 if events == 0 else _boundary(rejected, 0.0, middle)
    upper = 1.0 if events == trials else _boundary(rejected, 1.0, middle)
    return lower, upper


def log_e_rate(events: int, trials: int, limit: float) -> float:
    """Evidence that a rate is above `limit`: `log_e_mean` of 0-1 values, from their counts alone.

    Null: given all before it, no trial has an event with a chance above `limit`, strictly between 0 and 1.
    """
    gains = np.log1p(STAKES * (1.0 - limit) / limit) * events + np.log1p(-STAKES) * (trials - events)
    return float(_log_mean(gains))


def quantile_interval(values: ArrayLike, quantile: float, alpha: float = 0.05) -> tuple[float, float]:
    """An interval for a quantile that holds at all times together with chance 1 - alpha, while the values stay alike.

    How many values lie at or below the quantile is a binomial walk with a known chance, so the order statistics are
    taken between the counts that the Beta-binomial mixture has not rejected (Howard & Ramdas, Sequential estimation of
    quantiles with applications to A/B testing and best-arm identification, Bernoulli 2022, arXiv 1906.09712).

    Args:
        values: shape [n], in any order.
        quantile: strictly between 0 and 1.

    Returns:
        The lower bound, minus infinity while nothing bounds it, and the upper one, or infinity.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    if n == 0:
        return -math.inf, math.inf
    limit = math.log(1 / alpha)

    def rejected(count: int) -> bool:
        mixture = float(_log_beta(np.float64(0.5 + count), np.float64(0.5 + n - count)) - _log_beta(0.5, 0.5))
        return mixture - count * math.log(quantile) - (n - count) * math.log1p(-quantile) >= limit

    middle = min(n, max(0, round(quantile * n)))
    least = _furthest(rejected, middle, 0)
    most = _furthest(rejected, middle, n)
    return (
        float(ordered[least - 1]) if least else -math.inf,
        float(ordered[most]) if most < n else math.inf,
    )


def _furthest(rejected: Any, inside: int, outside: int) -> int:
    """Return the count furthest from the middle that is not rejected; the evidence grows with the distance."""
    if not rejected(outside):
        return outside
    while abs(outside - inside) > 1:
        middle = (outside + inside) // 2
        inside, outside = (inside, middle) if rejected(middle) else (middle, outside)
    return inside


def _boundary(rejected: Any, outside: float, inside: float) -> float:
    """Return the end of what is not rejected by halving, erring on the outer side."""
    for _ in range(60):
        middle = (outside + inside) / 2
        if 0.0 < middle < 1.0 and rejected(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _event_share(share: Floats, ratio: float | Floats) -> Floats:
    """The canary's share of events when its rate is `ratio` times stable's."""
    found: Floats = share * ratio / (share * ratio + 1.0 - share)
    return found


def _log_beta(a: ArrayLike, b: ArrayLike) -> Floats:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    found: Floats = _lgamma(first) + _lgamma(second) - _lgamma(first + second)
    return found


def _log_mean(logs: Floats) -> Floats:
    """The logarithm of the mean of exp(logs) over the last axis."""
    top = logs.max(axis=-1)
    found: Floats = top + np.log(np.exp(logs - top[..., None]).mean(axis=-1))
    return found


def _bounded(values: ArrayLike, low: float, high: float) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.size and not (found.min() >= low and found.max() <= high):
        raise ValueError(f"values must lie between {low} and {high}, not {found.min()} to {found.max()}")
    return found
