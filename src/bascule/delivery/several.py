"""A rollout of several new versions: each is judged against stable, the harmful ones leave, the best one comes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from bascule.delivery.bandit import are_due, weighed_apart
from bascule.delivery.decision import Decision
from bascule.delivery.finding import Finding
from bascule.delivery.guardrails import Guardrails
from bascule.delivery.strategies import Plan
from bascule.delivery.values import Values
from bascule.delivery.versus import against, challengers
from bascule.durations import parse_duration


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found of one new version beside stable.

    Attributes:
        rows: its requests in the present revision.
        values: of the goal, its own and stable's; None when there are none.
    """

    findings: tuple[Finding, ...]
    rows: int
    values: Values | None


# Judges one version of a deployment in which it is the only new one, under some rules.
Judge = Callable[[Mapping[str, Any], Guardrails], Judged]


def judged_apart(deployment: Mapping[str, Any], rules: Guardrails, judge: Judge) -> dict[int, Judged]:
    """Judge each new version beside stable, at its part of `alpha`: what begins with `k` versions shares it among them.

    A version that has left keeps its part, so the promise holds for all that the rollout began with.
    """
    rollout = deployment["rollout"]
    part = msgspec.structs.replace(rules, alpha=rules.alpha / rollout["arms"])
    found = {version: judge(against(deployment, version), part) for version in challengers(rollout)}
    return {
        version: replace(
            one,
            findings=tuple(replace(f, detail={**f.detail, "version": version}) for f in one.findings),
        )
        for version, one in found.items()
    }


def decide_apart(
    deployment: Mapping[str, Any], rules: Guardrails, plan: Plan, judged: Mapping[int, Judged], now: int
) -> Decision:
    """What the findings come to. A version that has shown harm leaves; the last one to leave ends the rollout.

    A version comes in when it is shown to be better than stable, has seen enough, and none of the others has done
    better so far. That it is the best of all is then likely, and that it is better than stable is shown.
    """
    rollout = deployment["rollout"]
    findings = tuple(finding for one in judged.values() for finding in one.findings)
    rows = min(one.rows for one in judged.values())
    harmful = {v: _said(one, "harm") for v, one in judged.items() if any(f.state == "harm" for f in one.findings)}
    told = " ".join(f"Version {version}: {reason}" for version, reason in harmful.items())
    if len(harmful) == len(judged):
        return Decision("rollback", told, findings, rows)
    if harmful:
        return Decision("drop", told, findings, rows, versions=tuple(harmful))
    goals = {version: next((f for f in one.findings if f.rule == "goal"), None) for version, one in judged.items()}
    leader = _leader(goals, higher=plan.goal is None or plan.goal.better == "higher")
    best = goals.get(leader) if leader is not None else None
    if best is not None and leader is not None and best.state == "fine" and judged[leader].rows >= rules.minimum_rows:
        reason = f"Version {leader}: {best.reason}"
        if plan.automatic:
            return Decision("promote", reason, findings, rows, versions=(leader,))
        text = f"A person decides (automatic = false); the evidence says promote: {reason}"
        return Decision("hold", text, findings, rows)
    held = {version: one.values for version, one in judged.items() if one.values is not None}
    if rollout.get("strategy") == "bandit" and len(held) == len(judged):
        shares = weighed_apart(held, plan, rollout)
        first = next(iter(held.values()))
        seen = sum(int(one.canary.sum()) for one in held.values()) + int((~first.canary).sum())
        if shares is not None and are_due(shares, seen, deployment):
            text = f"After {seen} units each version is played as often as it is likely to be the best one."
            return Decision("reweigh", text, findings, rows, shares=shares, seen=seen)
    reason = " ".join(f"Version {version}: {goal.reason}" for version, goal in goals.items() if goal is not None)
    late = rules.time_limit is not None and now - rollout["started_at"] > parse_duration(rules.time_limit)
    if late:
        reason += f" Inconclusive: the rollout's time limit of {rules.time_limit} is over."
    return Decision("hold", reason or "There is no goal to decide by.", findings, rows)


def _leader(goals: Mapping[int, Finding | None], *, higher: bool) -> int | None:
    """Return the version whose estimated difference to stable is the best; None where none has one yet."""
    told = {version: goal.detail for version, goal in goals.items() if goal is not None}
    known = {version: detail["difference"] for version, detail in told.items() if "difference" in detail}
    if not known:
        return None
    return max(known, key=lambda version: known[version] if higher else -known[version])


def _said(one: Judged, state: str) -> str:
    return " ".join(finding.reason for finding in one.findings if finding.state == state)
