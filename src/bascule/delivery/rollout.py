"""The controller of a rollout: looks at the evidence, and promotes, advances, holds or rolls back.

It may look as often as it likes: every harm test is always valid (`sequential`), so that a harmless canary is rolled
back with a chance of at most `alpha` over the whole rollout. It goes on only when each rule has shown that the canary
is no worse than its margin, and never because evidence is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import duckdb
import msgspec
import numpy as np
from sqlalchemy import select

from bascule.catalog import now as clock
from bascule.catalog.schema import rollouts
from bascule.delivery import deployments, sequential
from bascule.delivery.evidence import Losses, Phase, ServiceCount, read_losses, read_phases, shortened
from bascule.delivery.guardrails import Guardrails, read_guardrails
from bascule.delivery.records import record
from bascule.delivery.traffic import Deployment
from bascule.durations import DAY, parse_duration
from bascule.errors import Conflict
from bascule.history import Commit, Workspace

CONTROLLER = "rollout controller"
# A split cannot be judged by latency when no objective is set; any number serves then, as its counts are not used.
NO_OBJECTIVE_MS = 1e9

State = Literal["harm", "fine", "undecided"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule found.

    Attributes:
        rule: split, errors, latency or quality.
        state: `harm` rolls back; `fine` lets the rollout go on; `undecided` holds it.
        reason: the finding as a sentence.
        e_value: the evidence of harm; `threshold` is where it rolls back.
        detail: counts, bounds and the path of the evidence, JSON-able, to be drawn.
    """

    rule: str
    state: State
    reason: str
    e_value: float = 1.0
    threshold: float = math.inf
    detail: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The finding as one JSON object."""
        named = {"rule": self.rule, "state": self.state, "reason": self.reason}
        return named | {"e_value": self.e_value, "threshold": self.threshold, **self.detail}


@dataclass(frozen=True, slots=True)
class Decision:
    """What the controller decided.

    Attributes:
        action: promote, advance, hold or rollback; idle when no rollout is under way.
        reason: why, as a sentence.
        findings: what each rule found.
        rows: canary requests answered in the present step.
        commit: the commit that carried it out, if any.
    """

    action: Literal["promote", "advance", "hold", "rollback", "idle"]
    reason: str
    findings: tuple[Finding, ...] = ()
    rows: int = 0
    commit: str | None = None

    @property
    def evidence(self) -> dict[str, Any]:
        """What the decision rests on, JSON-able."""
        return {"decision": self.action, "rows": self.rows, "findings": [f.as_dict() for f in self.findings]}


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
    rollback = partial(deployments.rollback, by_hand=False)
    acts: dict[str, Callable[..., Commit]] = {
        "rollback": rollback,
        "advance": deployments.advance,
        "promote": deployments.promote,
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
    return Decision(decision.action, decision.reason, decision.findings, decision.rows, commit.id)


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
    rules = read_guardrails(rollout["guardrails"])
    phases = read_phases(connection, branch, deployment, rules.latency.slo_ms if rules.latency else NO_OBJECTIVE_MS)
    findings = [*_split(phases, rules), *_errors(phases, service, rules), *_latency(phases, rules)]
    if rules.quality is not None:
        findings.append(_quality(read_losses(connection, branch, deployment, rules.quality), rules))
    rows = sum(phase.canary for phase in phases if phase.revision == deployment["revision"])
    return _decide(deployment, rules, tuple(findings), rows, clock() if now is None else now)


def _decide(
    deployment: Mapping[str, Any], rules: Guardrails, findings: tuple[Finding, ...], rows: int, now: int
) -> Decision:
    rollout = deployment["rollout"]
    if harmful := [finding for finding in findings if finding.state == "harm"]:
        return Decision("rollback", " ".join(finding.reason for finding in harmful), findings, rows)
    late = rules.time_limit is not None and now - rollout["started_at"] > parse_duration(rules.time_limit)
    note = f" Inconclusive: the rollout's time limit of {rules.time_limit} is over." if late else ""
    if open_ones := [finding for finding in findings if finding.state == "undecided"]:
        return Decision("hold", " ".join(finding.reason for finding in open_ones) + note, findings, rows)
    if rows < rules.minimum_rows:
        text = f"This step has seen fewer than {rules.minimum_rows} canary requests."
        return Decision("hold", text + note, findings, rows)
    if not any(finding.state == "fine" and finding.rule != "split" for finding in findings):
        return Decision("hold", "There is no rule that could show the canary to be no worse.", findings, rows)
    last = rollout["step"] + 1 >= len(rollout["steps"]) - 1
    told = " ".join(finding.reason for finding in findings if finding.state == "fine")
    return Decision("promote" if last else "advance", told, findings, rows)


def _split(phases: Sequence[Phase], rules: Guardrails) -> list[Finding]:
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
    judged = _judge("split", log_e, rules, detail)
    if log_e < math.log(rules.threshold):
        return [judged("fine", f"The canary answered {got} of {total} {what}; {due:.0f} were its share.")]
    text = f"The canary answered {got} of {total} {what}, where {due:.0f} were its share"
    if got < due:
        return [judged("harm", f"{text}: it loses requests.")]
    return [judged("undecided", f"{text}: stable loses requests, or the split is not what it should be.")]


def _errors(phases: Sequence[Phase], service: Sequence[ServiceCount] | None, rules: Guardrails) -> list[Finding]:
    if rules.errors is None:
        return []
    rows: list[tuple[float, ...]] = [(p.share, p.canary, p.canary_failed, p.stable, p.stable_failed) for p in phases]
    if service is not None:
        rows = [(c.share, c.canary_requests, c.canary_errors, c.stable_requests, c.stable_errors) for c in service]
    return [_events("errors", "failed", np.array(rows, dtype=np.float64).reshape(-1, 5), rules.errors.margin, rules)]


def _latency(phases: Sequence[Phase], rules: Guardrails) -> list[Finding]:
    if rules.latency is None:
        return []
    rows = [(p.share, p.canary, p.canary_slow, p.stable, p.stable_slow) for p in phases]
    what = f"took more than {rules.latency.slo_ms:g} ms"
    return [_events("latency", what, np.array(rows, dtype=np.float64).reshape(-1, 5), rules.latency.margin, rules)]


def _events(rule: str, what: str, rows: sequential.Floats, margin: float, rules: Guardrails) -> Finding:
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
    judged = _judge(rule, log_e, rules, detail)
    told = f"{bad} of {asked} canary requests {what}, {stable_bad} of {stable_asked} on stable"
    if upper - lower <= margin:
        return judged("fine", f"{told}: at most {upper - lower:.2%} more.")
    if log_e >= math.log(rules.threshold):
        return judged("harm", f"{told}: evidence {_shown(log_e)} to 1 that the canary is worse.")
    return judged("undecided", f"{told}: up to {upper - lower:.2%} more is possible, {margin:.2%} is allowed.")


def _quality(losses: Losses, rules: Guardrails) -> Finding:
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
    judged = _judge("quality", log_e, rules, detail)
    told = f"On {len(values)} labelled requests the canary's {rule.loss} is {mean:+.4f} against stable's"
    if rule.minimum_span is not None and losses.span < parse_duration(rule.minimum_span):
        return judged("undecided", f"{told}: they span {losses.span / DAY:.1f} of {rule.minimum_span}.")
    if no_worse >= math.log(1 / rules.alpha):
        return judged("fine", f"{told}: shown to be less than {rule.margin:g} worse.")
    if log_e >= math.log(rules.threshold):
        return judged("harm", f"{told}: evidence {_shown(log_e)} to 1 that it is more than {rule.margin:g} worse.")
    return judged("undecided", f"{told}: neither beyond nor within {rule.margin:g} for sure.")


def _judge(rule: str, log_e: float, rules: Guardrails, detail: Mapping[str, Any]) -> Callable[[State, str], Finding]:
    e_value = math.exp(min(log_e, 700.0))
    return lambda state, reason: Finding(rule, state, reason, e_value, rules.threshold, detail)


def _shown(log_e: float) -> str:
    return f"{math.exp(log_e):,.0f}" if log_e < 14 else f"10^{log_e / math.log(10):.0f}"


def _record_hold(ws: Workspace, branch: str, deployment: Deployment, decision: Decision, by: str) -> None:
    """Record a hold, unless the last record of this deployment is a hold by the same rules."""
    states = {finding.rule: finding.state for finding in decision.findings}
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
