"""How many requests it takes until an effect of some size is seen, with what chance: asked before a rollout begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from bascule.delivery import sequential
from bascule.delivery.means import boundary

SIMULATED = 1_000
LOOKS = 240
MOST = 10_000_000
_SEED = 20_240_101


@dataclass(frozen=True)
class Power:
    """What one rule sees of an effect.

    Attributes:
        rule: errors, latency, quality or goal.
        base: the rate or mean without the effect; `spread` is the standard deviation of one value, where it is one.
        effect: how much worse (of a goal: better) the new version is, in the same unit.
        share: the new version's share of the traffic.
        probability: the chance with which the effect is to be seen.
        requests: of the whole deployment (units for a goal, labels for the quality) until it is; None: not within
        `MOST`. median: the same for a chance of one half. false_alarms: the share of simulated runs without the effect
        that raised it within `requests`; of a goal the bound
            that holds.
        threshold: the e-value that is reached; for a goal 1/alpha.
    """

    rule: str
    base: float
    spread: float | None
    effect: float
    share: float
    probability: float
    requests: int | None
    median: int | None
    false_alarms: float
    threshold: float


def events_power(
    rule: str, base: float, effect: float, share: float, threshold: float, probability: float = 0.8
) -> Power:
    """Simulate how soon more errors (or slow answers) on the canary are found: `SIMULATED` rollouts, looked at often.

    Args:
        base: the share of requests that has the event on both, strictly between 0 and 1.
        effect: how much larger it is on the canary.
        share: the canary's share of requests, strictly between 0 and 1.
        threshold: the e-value at which the rule rolls back.
    """
    looks = _looks(base)
    requests, median = _reached(_evidence(base, min(base + effect, 1.0), share, looks), looks, threshold, probability)
    same = _evidence(base, base, share, looks)
    until = looks <= (requests or MOST)
    alarms = float((same[:, until].max(axis=1) >= math.log(threshold)).mean())
    return Power(rule, base, None, effect, share, probability, requests, median, alarms, threshold)


def quality_power(spread: float, effect: float, margin: float, threshold: float, probability: float = 0.8) -> Power:
    """Simulate how many labelled pairs it takes until a mean loss that is worse by `effect` is found.

    Args:
        spread: the standard deviation of the losses' differences.
        margin: what the rule accepts; an effect below it is never harm.
    """
    rng = np.random.default_rng(_SEED)
    sims, labels = 300, 20_000
    found = np.full(sims, np.inf)
    for at in range(0, sims, 50):  # in parts, for memory
        values = np.clip(rng.normal(effect, spread, (50, labels)), -1.0, 1.0)
        hit = sequential.log_e_mean(values, margin) >= math.log(threshold)
        found[at : at + 50] = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, np.inf)
    equal = np.clip(rng.normal(0.0, spread, (50, labels)), -1.0, 1.0)
    alarms = float((sequential.log_e_mean(equal, margin).max(axis=1) >= math.log(threshold)).mean())
    requests, median = (_whole(float(np.quantile(found, q, method="higher"))) for q in (probability, 0.5))
    return Power("quality", 0.0, spread, effect, 0.5, probability, requests, median, alarms, threshold)


def mean_power(
    rule: str, base: float, spread: float, effect: float, share: float, alpha: float, probability: float = 0.8
) -> Power:
    """Compute how many units it takes until a difference of two arms' means is seen; rather more than it really takes.

    After n units the estimate is normal around the effect, and it is seen when the bounds, which hold at all times
    together, leave out zero. That they may have left it out before only helps.

    Args:
        spread: the standard deviation of one unit's value.
        alpha: the chance that a difference that is not there is ever seen.
    """
    one = spread / math.sqrt(share * (1.0 - share))

    def units(chance: float) -> int | None:
        z = NormalDist().inv_cdf(chance)

        def seen(n: int) -> bool:
            return effect >= one * (float(boundary(n, alpha)) + z / math.sqrt(n))

        return _least(seen)

    return Power(rule, base, spread, effect, share, probability, units(probability), units(0.5), alpha, 1 / alpha)


def _looks(base: float) -> np.ndarray:
    """The numbers of requests after which it is looked: closely at first, up to many thousand events."""
    most = min(MOST, max(20_000, 20_000 / max(base, 1e-4)))
    return np.unique(np.geomspace(20, most, LOOKS).astype(np.int64))


def _evidence(stable: float, canary: float, share: float, looks: np.ndarray) -> np.ndarray:
    """The logarithm of the evidence at each look, for each simulated rollout."""
    rng = np.random.default_rng(_SEED)
    steps = np.diff(looks, prepend=0)
    asked = rng.binomial(steps, share, (SIMULATED, len(looks)))
    mine = np.cumsum(rng.binomial(asked, canary), axis=1)
    theirs = np.cumsum(rng.binomial(steps - asked, stable), axis=1)
    return sequential.log_e_excess(mine[..., None], theirs[..., None], [share])


def _reached(
    evidence: np.ndarray, looks: np.ndarray, threshold: float, probability: float
) -> tuple[int | None, int | None]:
    hit = np.maximum.accumulate(evidence, axis=1) >= math.log(threshold)
    by_look = hit.mean(axis=0)
    found = [int(looks[np.argmax(by_look >= q)]) if by_look[-1] >= q else None for q in (probability, 0.5)]
    return found[0], found[1]


def _least(seen: object) -> int | None:
    """The least number that is seen, by doubling and halving; what is seen is seen with more, too."""
    assert callable(seen)
    high = 200
    while not seen(high):
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > max(1, high // 500):
        middle = (low + high) // 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high


def _whole(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None
