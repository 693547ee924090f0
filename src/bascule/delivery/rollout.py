"""The controller of a rollout: looks at the evidence, and promotes, advances, holds or rolls back.

It may look as often as it likes: every harm test is always valid (`sequential`), so that a harmless canary is rolled
back with a chance of at most `alpha` over the whole rollout. It goes on only when each rule has shown that the canary
is no worse than its margin, and never because evidence is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import duckdb
import msgspec
import numpy as np
from sqlalchemy import select

from bascule.catalog import now as clock
from bascule.catalog.schema import rollouts
from bascule.delivery import deployments, progress
from bascule.delivery.arms import (
    errors_finding,
    events_finding,
    latency_finding,
    quality_finding,
    split_finding,
    with_course,
)
from bascule.delivery.bandit import is_due, weighed
from bascule.delivery.comparing import (
    alone_finding,
    disagreement_finding,
    goal_finding,
    measure_finding,
    tail_finding,
    unseen_rows,
)
from bascule.delivery.decision import Decision
from bascule.delivery.evidence import ServiceCount, read_course, read_losses, read_phases
from bascule.delivery.finding import Finding
from bascule.delivery.guardrails import Guardrails, read_guardrails
from bascule.delivery.pairs import latencies, read_pairs
from bascule.delivery.records import record
from bascule.delivery.several import Judged, decide_apart, judged_apart
from bascule.delivery.strategies import BY_GOAL, Goal, Plan, read_plan
from bascule.delivery.traffic import Deployment
from bascule.delivery.values import Values, read_values
from bascule.delivery.versus import several
from bascule.durations import parse_duration
from bascule.errors import CheckFailed, Conflict, InputError
from bascule.history import Commit, Workspace

CONTROLLER = "rollout controller"
# A split cannot be judged by latency when no objective is set; any number serves then, as its counts are not used.
NO_OBJECTIVE_MS = 1e9


def step(
    connection: duckdb.DuckDBPyConnection,
    ws: Workspace,
    branch: str,
    name: str,
    now: int | None = None,
    service: Sequence[ServiceCount] | None = None,
    by: str = CONTROLLER,
) -> Decision:
    """Judge a deployment's rollout and carry the decision out.

    Each decision is recorded in `rollouts` with its evidence; a hold is recorded when its reason is new. When somebody
    changed the deployment meanwhile nothing is done, and the next step sees the change.

    Args:
        connection: sees the relations `predictions` and `ground_truth`.
        now: microseconds since the epoch; None takes the clock.
        service: requests and errors as counted elsewhere (by a load balancer), by phase. Without them errors are those
            in the prediction log.

    Raises:
        NotFound: unknown branch or deployment.
    """
    head = ws.history.resolve(branch)
    deployment = ws.history.get(head, f"deployments/{name}")
    digest = ws.history.digest(head, f"deployments/{name}")
    decision = assess(connection, branch, deployment, now=now, service=service)
    acts: dict[str, Callable[..., Commit]] = {
        "rollback": partial(deployments.rollback, by_hand=False),
        "advance": progress.advance,
        "promote": partial(progress.promote, version=next(iter(decision.versions), None)),
        "drop": partial(progress.drop, versions=decision.versions),
        "reweigh": partial(progress.reweigh, shares=decision.shares or decision.share or 0, seen=decision.seen),
    }
    if decision.action not in acts:
        if decision.action == "hold":
            _record_hold(ws, branch, deployment, decision, by)
        return decision
    try:
        commit = acts[decision.action](
            ws, branch, name, by=by, reason=decision.reason, evidence=decision.evidence, expect=digest
        )
    except Conflict:
        return Decision("hold", f"Deployment {name!r} was changed meanwhile.", decision.findings, decision.rows)
    except CheckFailed as refused:  # its environment asks for approvals that it has not, or has not any more
        held = Decision("hold", refused.message, decision.findings, decision.rows)
        _record_hold(ws, branch, deployment, held, by)
        return held
    return replace(decision, commit=commit.id)


def assess(
    connection: duckdb.DuckDBPyConnection,
    branch: str,
    deployment: Mapping[str, Any],
    *,
    now: int | None = None,
    service: Sequence[ServiceCount] | None = None,
) -> Decision:
    """Judge a rollout without changing anything: what `step` would do, with the evidence as it stands."""
    rollout = deployment["rollout"]
    if rollout is None:
        return Decision("idle", "No rollout is under way.")
    rules, at = read_guardrails(rollout["guardrails"]), clock() if now is None else now
    if not several(rollout):
        found = _Evidence(connection, branch, deployment, rules, service)
        return decide(deployment, found.rules, found.findings(), found.rows, at, found.bandit)
    if service is not None:
        raise InputError("What is counted elsewhere does not tell several new versions apart; leave it out.")

    def judge(alone: Mapping[str, Any], part: Guardrails) -> Judged:
        seen = _Evidence(connection, branch, alone, part, None)
        return Judged(seen.findings(), seen.rows, seen.goal_values)

    judged = judged_apart(deployment, rules, judge)
    return decide_apart(deployment, rules, read_plan(rollout.get("plan")), judged, at)


class _Evidence:
    """What a rollout has shown, read as its strategy asks for it."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        branch: str,
        deployment: Mapping[str, Any],
        rules: Guardrails,
        service: Sequence[ServiceCount] | None,
    ) -> None:
        self.connection, self.branch, self.deployment = connection, branch, deployment
        self.rules, self.service = rules, service
        self.rollout: Mapping[str, Any] = deployment["rollout"]
        self.strategy = str(self.rollout.get("strategy", "canary"))
        self.plan = read_plan(self.rollout.get("plan"))
        self.rows = 0
        self.bandit: tuple[int, int] | None = None
        self.goal_values: Values | None = None

    def findings(self) -> tuple[Finding, ...]:
        """What each rule found; `rows` counts what the rules saw of the new version."""
        rules = self.rules
        found = self._alone() if self.strategy in ("shadow", "blue_green") else self._side_by_side()
        if rules.disagreement is not None and self.rollout["shadow"]:
            pairs = read_pairs(self.connection, self.branch, self.deployment, rules.disagreement.tolerance)
            found.append(disagreement_finding(pairs, rules))
        if rules.quality is not None and (self.rollout["shadow"] or self.strategy != "blue_green"):
            found.append(
                quality_finding(read_losses(self.connection, self.branch, self.deployment, rules.quality), rules)
            )
        return tuple(found)

    def _side_by_side(self) -> list[Finding]:
        """Both versions answer some of the traffic at the same time."""
        rules, slo = self.rules, self.rules.latency.slo_ms if self.rules.latency else NO_OBJECTIVE_MS
        phases = read_phases(self.connection, self.branch, self.deployment, slo)
        self.rows = sum(phase.canary for phase in phases if phase.revision == self.deployment["revision"])
        course = read_course(self.connection, self.branch, self.deployment, slo)
        found = split_finding(phases, rules)
        found += [with_course(one, course, 3, rules) for one in errors_finding(phases, self.service, rules)]
        found += [with_course(one, course, 2, rules) for one in latency_finding(phases, rules)]
        if rules.tail is not None:
            found.append(tail_finding(*latencies(self.connection, self.branch, self.deployment), rules))
        for name, rule in rules.measures.items():
            values = self._values(rule.sql)
            if isinstance(values, str):
                found.append(Finding(name, "undecided", values))
            else:
                found.append(measure_finding(name, values, rule, rules))
        if self.plan.goal is not None and self.strategy in BY_GOAL:
            found.append(self._goal(self.plan.goal))
        return found

    def _goal(self, goal: Goal) -> Finding:
        values = self._values(goal.measure)
        if isinstance(values, str):
            return Finding("goal", "undecided", values)
        self.goal_values = values
        if self.strategy == "bandit":
            self.bandit = weighed(values, self.plan, self.rollout["id"]), len(values.value)
        return goal_finding(values, goal, self.rules.alpha)

    def _values(self, measure: str) -> Values | str:
        """The values of a measure, or why there are none: SQL that cannot run holds its rollout, and no other one."""
        try:
            return read_values(self.connection, self.branch, self.deployment, measure)
        except InputError as error:
            return f"{error.message} {error.hint}"

    def _alone(self) -> list[Finding]:
        """One version answers all traffic, and the other one, when it is asked, unseen."""
        rules = self.rules
        pairs = read_pairs(self.connection, self.branch, self.deployment)
        slo = rules.latency.slo_ms * 1000 if rules.latency else None
        found = []
        if self.strategy == "blue_green":
            self.rows = len(pairs.failed)
            if rules.errors is not None:
                failed = int(pairs.failed.sum())
                found.append(alone_finding("errors", "failed", failed, self.rows, rules.errors.margin, rules))
            if rules.latency is not None and slo is not None:
                slow, what = int((pairs.latency > slo).sum()), f"took more than {rules.latency.slo_ms:g} ms"
                found.append(alone_finding("latency", what, slow, self.rows, rules.latency.margin, rules))
            return found
        self.rows = int((~pairs.failed).sum())
        if rules.errors is not None:
            found.append(events_finding("errors", "failed", unseen_rows(pairs), rules.errors.margin, rules))
        if rules.latency is not None:
            what = f"took more than {rules.latency.slo_ms:g} ms"
            found.append(events_finding("latency", what, unseen_rows(pairs, slo), rules.latency.margin, rules))
        if rules.tail is not None:
            known = ~np.isnan(pairs.other_latency)
            found.append(tail_finding(pairs.other_latency[known], pairs.latency[known], rules))
        return found


def decide(
    deployment: Mapping[str, Any],
    rules: Guardrails,
    findings: tuple[Finding, ...],
    rows: int,
    now: int,
    bandit: tuple[int, int] | None = None,
) -> Decision:
    """What the findings come to, by the rollout's strategy.

    Args:
        rows: requests of the new version in the present step.
        bandit: the percentage that the new version should have, and the units that this rests on.
    """
    rollout = deployment["rollout"]
    strategy, plan = rollout.get("strategy", "canary"), read_plan(rollout.get("plan"))
    hold = partial(Decision, "hold", findings=findings, rows=rows)
    if harmful := [finding for finding in findings if finding.state == "harm"]:
        return Decision("rollback", " ".join(finding.reason for finding in harmful), findings, rows)
    if strategy == "blue_green":
        decision = _kept(rollout, plan, findings, rows, now)
    elif strategy in BY_GOAL:
        decision = _by_goal(rollout, rules, findings, rows, bandit)
    else:
        decision = _by_margins(rollout, rules, findings, rows)
    if decision.action in ("promote", "advance") and not plan.automatic:
        return hold(f"A person decides (automatic = false); the evidence says {decision.action}: {decision.reason}")
    late = rules.time_limit is not None and now - rollout["started_at"] > parse_duration(rules.time_limit)
    if decision.action == "hold" and late:
        return hold(f"{decision.reason} Inconclusive: the rollout's time limit of {rules.time_limit} is over.")
    return decision


def _by_margins(rollout: Mapping[str, Any], rules: Guardrails, findings: tuple[Finding, ...], rows: int) -> Decision:
    """A canary goes on, and a shadow comes into service, when each rule has shown that it is no worse."""
    if open_ones := [finding for finding in findings if finding.state == "undecided"]:
        return Decision("hold", " ".join(finding.reason for finding in open_ones), findings, rows)
    if rows < rules.minimum_rows:
        return Decision("hold", f"This step has seen fewer than {rules.minimum_rows} canary requests.", findings, rows)
    if not any(finding.state == "fine" and finding.rule != "split" for finding in findings):
        return Decision("hold", "There is no rule that could show the canary to be no worse.", findings, rows)
    last = rollout["step"] + 1 >= len(rollout["steps"]) - 1
    return Decision("promote" if last else "advance", _fine(findings), findings, rows)


def _by_goal(
    rollout: Mapping[str, Any],
    rules: Guardrails,
    findings: tuple[Finding, ...],
    rows: int,
    bandit: tuple[int, int] | None,
) -> Decision:
    """An A/B test and a bandit end when the goal is shown to be reached, unless a guardrail has shown harm before."""
    goal = next((finding for finding in findings if finding.rule == "goal"), None)
    if goal is not None and goal.state == "fine" and rows >= rules.minimum_rows:
        return Decision("promote", goal.reason, findings, rows)
    reason = goal.reason if goal is not None else "There is no goal to decide by."
    if bandit is not None and is_due(bandit, rollout):
        share, seen = bandit
        text = f"After {seen} units the new version gets {share} %, as often as it is likely to be the better one."
        return Decision("reweigh", text, findings, rows, share=share, seen=seen)
    return Decision("hold", reason, findings, rows)


def _kept(rollout: Mapping[str, Any], plan: Plan, findings: tuple[Finding, ...], rows: int, now: int) -> Decision:
    """After a blue/green switch the version before is let go when its time is over and nothing has shown harm."""
    if now - rollout["started_at"] < parse_duration(plan.keep):
        text = f"Version {rollout['stable']} is kept warm for {plan.keep}: `bascule rollback` goes back at once."
        return Decision("hold", text, findings, rows)
    text = f"Nothing has shown harm in {plan.keep}"
    return Decision("promote", f"{text}: {_fine(findings)}" if _fine(findings) else f"{text}.", findings, rows)


def _fine(findings: tuple[Finding, ...]) -> str:
    return " ".join(finding.reason for finding in findings if finding.state == "fine")


def _record_hold(ws: Workspace, branch: str, deployment: Deployment, decision: Decision, by: str) -> None:
    """Record a hold, unless the last record of this deployment is a hold by the same rules."""
    states = {_key(finding): finding.state for finding in decision.findings}
    rollout = deployment["rollout"]["id"]
    with ws.catalog.write() as conn:
        last = conn.execute(
            select(rollouts.c.action, rollouts.c.evidence_json)
            .where(rollouts.c.branch == branch, rollouts.c.deployment == deployment["name"])
            .order_by(rollouts.c.id.desc())
            .limit(1)
        ).first()
        if last is None or last.action != "hold" or msgspec.json.decode(last.evidence_json).get("states") != states:
            evidence = {"reason": decision.reason, "rollout": rollout, "states": states, **decision.evidence}
            record(conn, branch, deployment, deployment, "hold", by, evidence)


def _key(finding: Finding) -> str:
    version = finding.detail.get("version")
    return finding.rule if version is None else f"{finding.rule}@{version}"
