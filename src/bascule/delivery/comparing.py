"""Rules of a rollout that look at values: a goal, measures in SQL, the latency's tail, answers that differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bascule.delivery import sequential
from bascule.delivery.evidence import shortened
from bascule.delivery.finding import Finding, State, judge, shown
from bascule.delivery.guardrails import Guardrails, MeasureRule
from bascule.delivery.means import BURN_IN, mean_sequence
from bascule.delivery.pairs import Pairs
from bascule.delivery.sequential import Floats
from bascule.delivery.strategies import Goal
from bascule.delivery.values import Values

MS = 1000.0


def goal_finding(values: Values, goal: Goal, alpha: float) -> Finding:
    """Judge what an A/B test is for: fine is shown to be better, harm is shown to be worse, at `alpha` over both."""
    drawn = _drawn(values, alpha)
    if drawn is None:
        return Finding("goal", "undecided", _too_few("goal", values))
    detail, low, high = drawn
    sign = 1.0 if goal.better == "higher" else -1.0
    worst, best = sorted((sign * low, sign * high))
    detail |= {"measure": goal.measure, "better": goal.better, "margin": 0.0}
    told = f"On {_units(values)} the goal's mean is {_by_arm(detail)}"
    if worst > 0:
        return Finding("goal", "fine", f"{told}: better by at least {worst:.4g}.", detail=detail)
    if best < 0:
        return Finding("goal", "harm", f"{told}: worse by at least {-best:.4g}.", detail=detail)
    return Finding(
        "goal", "undecided", f"{told}: from {-worst:.4g} worse to {best:.4g} better is possible.", detail=detail
    )


def measure_finding(name: str, values: Values, rule: MeasureRule, rules: Guardrails) -> Finding:
    """Judge a measure: harm is a mean that is worse by more than the margin, fine one that is not."""
    # One side of an interval at 2 alpha is a bound at alpha: harm by the shared alpha, no harm by alpha itself.
    harm, fine = _drawn(values, 2 / rules.threshold), _drawn(values, 2 * rules.alpha)
    if harm is None or fine is None:
        return Finding(name, "undecided", _too_few(name, values))
    detail, low, high = harm
    worse_least = low if rule.better == "lower" else -high
    worse_most = fine[2] if rule.better == "lower" else -fine[1]
    detail |= {"better": rule.better, "margin": rule.margin if rule.better == "lower" else -rule.margin}
    told = f"On {_units(values)} the mean of {name} is {_by_arm(detail)}"
    if worse_most < rule.margin:
        return Finding(name, "fine", f"{told}: shown to be less than {rule.margin:g} worse.", detail=detail)
    if worse_least > rule.margin:
        return Finding(name, "harm", f"{told}: worse by at least {worse_least:.4g}.", detail=detail)
    text = f"{told}: up to {worse_most:.4g} worse is possible, {rule.margin:g} is allowed."
    return Finding(name, "undecided", text, detail=detail)


def tail_finding(canary: Floats, stable: Floats, rules: Guardrails) -> Finding:
    """Judge a quantile of the latency, in microseconds, by the bounds of both arms'."""
    assert rules.tail is not None
    rule = rules.tail
    name = f"{rule.quantile:.4g} quantile"
    # Each arm's interval is two-sided, and one side of each is used.
    mine = sequential.quantile_interval(canary, rule.quantile, 1 / rules.threshold)
    theirs = sequential.quantile_interval(stable, rule.quantile, 1 / rules.threshold)
    detail: dict[str, Any] = {
        "canary": len(canary),
        "stable": len(stable),
        "canary_ms": _finite(mine),
        "stable_ms": _finite(theirs),
        "margin": rule.margin,
    }
    if math.inf in (mine[1], theirs[1]) or -math.inf in (mine[0], theirs[0]):
        text = f"{len(canary)} canary and {len(stable)} stable requests are too few for the latency's {name}."
        return Finding("tail", "undecided", text, detail=detail)
    told = (
        f"The latency's {name} is {mine[0] / MS:.3g} to {mine[1] / MS:.3g} ms on the canary, "
        f"{theirs[0] / MS:.3g} to {theirs[1] / MS:.3g} ms on stable"
    )
    if mine[1] <= theirs[0] * (1 + rule.margin):
        return Finding("tail", "fine", f"{told}: no more than {rule.margin:.0%} longer.", detail=detail)
    if mine[0] > theirs[1] * (1 + rule.margin):
        return Finding("tail", "harm", f"{told}: more than {rule.margin:.0%} longer.", detail=detail)
    return Finding("tail", "undecided", f"{told}: {rule.margin:.0%} longer is allowed.", detail=detail)


def disagreement_finding(pairs: Pairs, rules: Guardrails) -> Finding:
    """Judge how often both versions answer differently: harm is a share above the margin."""
    assert rules.disagreement is not None
    margin = rules.disagreement.margin
    values = pairs.differs[~np.isnan(pairs.differs)]
    if len(values) == 0:
        return Finding("disagreement", "undecided", "No request has been answered by both versions yet.")
    log_e = np.maximum.accumulate(sequential.log_e_mean(values, margin, 0.0, 1.0))
    below = sequential.log_e_mean_below(values, margin, 0.0, 1.0)[-1]
    low, high = sequential.confidence_sequence(values, rules.alpha, 0.0, 1.0)
    detail = {
        "requests": len(values),
        "differ": int(values.sum()),
        "share": float(values.mean()),
        "margin": margin,
        "path": shortened(log_e / math.log(10)),
        "low_path": shortened(low),
        "high_path": shortened(high),
    }
    judged = judge("disagreement", float(log_e[-1]), rules, detail)
    told = f"The versions answer {int(values.sum())} of {len(values)} requests differently ({values.mean():.2%})"
    if below >= math.log(1 / rules.alpha):
        return judged("fine", f"{told}: shown to be less than {margin:.2%}.")
    if log_e[-1] >= math.log(rules.threshold):
        return judged("harm", f"{told}: evidence {shown(float(log_e[-1]))} to 1 that it is more than {margin:.2%}.")
    return judged("undecided", f"{told}: neither beyond nor within {margin:.2%} for sure.")


def unseen_rows(pairs: Pairs, slo_us: float | None = None) -> Floats:
    """Count an event on both sides of a shadow, as one phase in which each has half of all requests.

    A request is asked of both, so an event that only one of them has falls on either alike while they are alike; what
    happens to both says nothing and is left out of the events.

    Args:
        slo_us: the event is to be slower than this; None for to have failed.

    Returns:
        One row: share, canary requests, canary events, stable requests, stable events.
    """
    if slo_us is None:
        # Where the answer that is seen failed, the other version was not asked: that counts for it, if for either.
        mine, asked = pairs.other_failed & ~pairs.failed, len(pairs.failed)
        return np.array([[0.5, asked, mine.sum(), asked, pairs.failed.sum()]], dtype=np.float64)
    known = ~np.isnan(pairs.other_latency)
    mine, theirs = pairs.other_latency[known] > slo_us, pairs.latency[known] > slo_us
    both = mine & theirs
    return np.array([[0.5, known.sum(), (mine & ~both).sum(), known.sum(), (theirs & ~both).sum()]], dtype=np.float64)


def alone_finding(rule: str, what: str, bad: int, asked: int, margin: float, rules: Guardrails) -> Finding:
    """Judge a 0-1 event of a version that has all traffic: harm is a rate above the margin; there is no other arm."""
    log_e = sequential.log_e_rate(bad, asked, margin)
    low, high = sequential.rate_interval(bad, asked, rules.alpha)
    judged = judge(rule, log_e, rules, {"canary": [bad, asked], "low": low, "high": high, "margin": margin})
    told = f"{bad} of {asked} requests {what}"
    if log_e >= math.log(rules.threshold):
        return judged("harm", f"{told}: evidence {shown(log_e)} to 1 that it is more than {margin:.2%}.")
    state: State = "fine" if high <= margin else "undecided"
    return judged(state, f"{told}: {low:.2%} to {high:.2%}, {margin:.2%} is allowed.")


def _drawn(values: Values, alpha: float) -> tuple[dict[str, Any], float, float] | None:
    """Return the interval now, with all that is told and drawn of it; None before there is one."""
    mean, low, high = mean_sequence(values.value, values.canary, values.share, min(alpha, 0.5))
    if len(mean) == 0 or not math.isfinite(low[-1]):
        return None
    # An interval that holds at all times together may only shrink.
    known = np.isfinite(low)
    low, high = (
        np.maximum.accumulate(np.where(known, low, -np.inf)),
        np.minimum.accumulate(np.where(known, high, np.inf)),
    )
    start = int(np.argmax(known))
    detail = {
        "units": len(mean),
        "canary": int(values.canary.sum()),
        "left_out": list(values.left_out),
        "canary_mean": float(values.value[values.canary].mean()),
        "stable_mean": float(values.value[~values.canary].mean()),
        "difference": float(mean[-1]),
        "low": float(low[-1]),
        "high": float(high[-1]),
        "low_path": _from(shortened(low[start:]), start),
        "high_path": _from(shortened(high[start:]), start),
        "mean_path": _from(shortened(mean[start:]), start),
    }
    return detail, float(low[-1]), float(high[-1])


def _from(path: Sequence[Sequence[float]], start: int) -> list[list[float]]:
    return [[int(x) + start, y] for x, y in path]


def _by_arm(detail: dict[str, Any]) -> str:
    told = f"{detail['canary_mean']:.4g} on the canary and {detail['stable_mean']:.4g} on stable"
    return f"{told} ({detail['difference']:+.4g}, {detail['low']:+.4g} to {detail['high']:+.4g})"


def _units(values: Values) -> str:
    left = f" ({_left_out(values)})" if any(values.left_out) else ""
    return f"{len(values.value)} units, {int(values.canary.sum())} of them on the canary{left},"


def _left_out(values: Values) -> str:
    ours, theirs = values.left_out
    return f"left out, as their values are no numbers: {ours} on the canary, {theirs} on stable"


def _too_few(name: str, values: Values) -> str:
    ours = int(values.canary.sum())
    return (
        f"{len(values.value) - ours} units on stable and {ours} on the canary have a value of {name}; it is judged "
        f"from {BURN_IN} each on, later where it is rare, and never while it is the same for all."
        + (f" There are more, {_left_out(values)}." if any(values.left_out) else "")
    )


def _finite(interval: tuple[float, float]) -> list[float | None]:
    return [round(end / MS, 4) if math.isfinite(end) else None for end in interval]
