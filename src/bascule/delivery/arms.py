"""What two versions that answer side by side show of a canary: its share, its failures, its speed, its quality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bascule.delivery import sequential
from bascule.delivery.evidence import Losses, Phase, ServiceCount, shortened
from bascule.delivery.finding import Finding, judge, shown
from bascule.delivery.guardrails import Guardrails
from bascule.durations import DAY, parse_duration

FAILED = "failed or answered no number"


def split_finding(phases: Sequence[Phase], rules: Guardrails) -> list[Finding]:
    """Whether the canary answered the share of the traffic that it was given.

    Units are counted, not requests: what is assigned is a unit, and the test takes assignments for independent. One
    entity that is asked about all day has one arm, however many requests it makes.
    """
    if not rules.split:
        return []
    log_e = sum(float(sequential.log_e_split(p.canary_units, p.stable_units, p.share)) for p in phases)
    got, total = sum(p.canary_units for p in phases), sum(p.canary_units + p.stable_units for p in phases)
    due = sum(p.share * (p.canary_units + p.stable_units) for p in phases)
    by_phase = [[p.revision, p.canary_units, p.stable_units, p.share] for p in phases]
    requests = sum(p.canary + p.stable for p in phases)
    detail = {"canary": got, "units": total, "requests": requests, "expected": round(due, 1), "by_phase": by_phase}
    what = "requests" if total == requests else f"units ({requests} requests)"
    judged = judge("split", log_e, rules, detail)
    if log_e < math.log(rules.threshold):
        return [judged("fine", f"The canary answered {got} of {total} {what}; {due:.0f} were its share.")]
    text = f"The canary answered {got} of {total} {what}, where {due:.0f} were its share"
    if got < due:
        return [judged("harm", f"{text}: it loses requests.")]
    return [judged("undecided", f"{text}: stable loses requests, or the split is not what it should be.")]


def errors_finding(phases: Sequence[Phase], service: Sequence[ServiceCount] | None, rules: Guardrails) -> list[Finding]:
    """Whether more of the canary's requests fail, as the log or somebody else has counted them."""
    if rules.errors is None:
        return []
    rows: list[tuple[float, ...]] = [(p.share, p.canary, p.canary_failed, p.stable, p.stable_failed) for p in phases]
    if service is not None:
        rows = [(c.share, c.canary_requests, c.canary_errors, c.stable_requests, c.stable_errors) for c in service]
    return [
        events_finding("errors", FAILED, np.array(rows, dtype=np.float64).reshape(-1, 5), rules.errors.margin, rules)
    ]


def latency_finding(phases: Sequence[Phase], rules: Guardrails) -> list[Finding]:
    """Whether more of the canary's requests take longer than they may."""
    if rules.latency is None:
        return []
    rows = [(p.share, p.canary, p.canary_slow, p.stable, p.stable_slow) for p in phases]
    what = f"took more than {rules.latency.slo_ms:g} ms"
    return [
        events_finding("latency", what, np.array(rows, dtype=np.float64).reshape(-1, 5), rules.latency.margin, rules)
    ]


def events_finding(rule: str, what: str, rows: sequential.Floats, margin: float, rules: Guardrails) -> Finding:
    """Judge a 0-1 event: harm by the arm of each event, no harm by the bounds of both rates.

    Rows are phases: share, canary requests, canary events, stable requests, stable events. The harm test holds while
    the common rate moves; the bounds assume that each arm's rate is steady over the rollout.
    """
    log_e = float(sequential.log_e_excess(rows[:, 2], rows[:, 4], rows[:, 0])) if len(rows) else 0.0
    asked, bad, stable_asked, stable_bad = (int(rows[:, column].sum()) for column in (1, 2, 3, 4))
    _, upper = sequential.rate_interval(bad, asked, rules.alpha / 2)
    lower, _ = sequential.rate_interval(stable_bad, stable_asked, rules.alpha / 2)
    detail = {
        "canary": [bad, asked],
        "stable": [stable_bad, stable_asked],
        "high": upper - lower,
        "margin": margin,
    }
    judged = judge(rule, log_e, rules, detail)
    told = f"{bad} of {asked} canary requests {what}, {stable_bad} of {stable_asked} on stable"
    if upper - lower <= margin:
        return judged("fine", f"{told}: at most {max(upper - lower, 0.0):.2%} more.")
    if log_e >= math.log(rules.threshold):
        return judged("harm", f"{told}: evidence {shown(log_e)} to 1 that the canary is worse.")
    return judged("undecided", f"{told}: up to {upper - lower:.2%} more is possible, {margin:.2%} is allowed.")


def with_course(finding: Finding, course: Sequence[tuple[int, ...]], of: int, rules: Guardrails) -> Finding:
    """A finding with the difference of both rates and its bounds as they were over time, to be kept and drawn.

    Args:
        course: as `read_course` gives it; `of` is the place of the canary's events in it.
    """
    path: list[list[float]] = []
    low, high = -1.0, 1.0
    for row in course:
        mine = sequential.rate_interval(row[of], row[1], rules.alpha / 2)
        theirs = sequential.rate_interval(row[of + 3], row[4], rules.alpha / 2)
        low, high = max(low, mine[0] - theirs[1]), min(high, mine[1] - theirs[0])
        seen = row[of] / max(row[1], 1) - row[of + 3] / max(row[4], 1)
        path.append([row[0], round(low, 5), round(high, 5), round(seen, 5)])
    return replace(finding, detail={**finding.detail, "course": path})


def quality_finding(losses: Losses, rules: Guardrails) -> Finding:
    """Judge the loss on arrived labels: harm is a mean above the margin, no harm one below it."""
    assert rules.quality is not None
    rule, values = rules.quality, losses.differences
    if len(values) == 0:
        return Finding("quality", "undecided", "No labels have arrived yet.", threshold=rules.threshold)
    worse = np.maximum.accumulate(sequential.log_e_mean(values, rule.margin, losses.low, losses.high))
    no_worse = sequential.log_e_mean_below(values, rule.margin, losses.low, losses.high)[-1]
    low, high = sequential.confidence_sequence(values, rules.alpha, losses.low, losses.high)
    mean, log_e = float(values.mean()), float(worse[-1])
    detail = {
        "labels": len(values),
        "paired": losses.paired,
        "loss": rule.loss,
        "difference": mean,
        "low": float(low[-1]),
        "high": float(high[-1]),
        "margin": rule.margin,
        "path": shortened(worse / math.log(10)),
        "low_path": shortened(low),
        "high_path": shortened(high),
    }
    judged = judge("quality", log_e, rules, detail)
    told = f"On {len(values)} labelled requests the canary's {rule.loss} is {mean:+.4f} against stable's"
    if rule.minimum_span is not None and losses.span < parse_duration(rule.minimum_span):
        return judged("undecided", f"{told}: they span {losses.span / DAY:.1f} of {rule.minimum_span}.")
    if no_worse >= math.log(1 / rules.alpha):
        return judged("fine", f"{told}: shown to be less than {rule.margin:g} worse.")
    if log_e >= math.log(rules.threshold):
        return judged("harm", f"{told}: evidence {shown(log_e)} to 1 that it is more than {rule.margin:g} worse.")
    return judged("undecided", f"{told}: neither beyond nor within {rule.margin:g} for sure.")
