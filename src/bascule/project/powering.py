"""What a rollout of a deployment can see, before it begins: how many requests until an effect of some size is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import duckdb

from bascule.delivery.strategies import OUTCOME, SCORE, first_steps, read_plan
from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.project.querying import logged

Rule = Literal["errors", "latency", "quality", "goal"]
RULES: tuple[Rule, ...] = ("errors", "latency", "quality", "goal")
DAY_S = 86_400
SLO_MS, QUALITY_MARGIN = 250.0, 0.005


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of the power.

    Attributes:
        effect: how much worse (of a goal: better) the new version is, in the rule's unit: 0.01 is one request in a
            hundred more.
        base: the rate, or the goal's mean, as it is now; measured from the log when None.
        spread: the standard deviation of one value: of a goal, or of the differences in loss; measured likewise.
        share: the new version's percentage; the one that the deployment's strategy begins with when None.
        probability: the chance with which the effect is to be seen.
    """

    effect: float
    rule: Rule = "errors"
    base: float | None = None
    spread: float | None = None
    share: int | None = None
    probability: float = 0.8

    def checked(self) -> Question:
        """Return it, or raise NotFound for an unknown rule, InputError for a number out of its bounds."""
        if self.rule not in RULES:
            raise NotFound("rule", self.rule, RULES)
        _demand("effect", self.effect, self.effect > 0, "how much worse it is, more than 0")
        _demand("probability", self.probability, 0 < self.probability < 1, "between 0 and 1")
        if self.share is not None:
            _demand("share", self.share, 1 <= self.share <= 99, "a percentage from 1 to 99")
        return self


def power_of(workspace: Workspace, branch: str, name: str, question: Question) -> dict[str, Any]:
    """Return how many requests it takes until a rollout of a deployment sees an effect.

    Raises:
        NotFound: unknown deployment or rule.
        InputError: a number is out of its bounds, or neither given nor measurable.
    """
    from bascule.delivery.guardrails import read_guardrails

    asked = question.checked()
    deployment = workspace.history.get(branch, f"deployments/{name}")
    guardrails = read_guardrails(deployment["rules"].get("guardrails"))
    plan = read_plan(deployment["rules"].get("plan"))
    goal = plan.goal.measure if plan.goal else OUTCOME
    with logged(workspace, [goal] if asked.rule == "goal" and goal not in (OUTCOME, SCORE) else []) as connection:
        slo = guardrails.latency.slo_ms if guardrails.latency else SLO_MS
        log = _measured(connection, branch, name, asked.rule, slo, goal)
    share = asked.share if asked.share is not None else _first_share(deployment)
    found = _found(asked, guardrails, log, share / 100)
    days = found.requests / log["daily"] if found.requests and log["daily"] else None
    return {"branch": branch, "deployment": name, **asdict(found), "daily": log["daily"], "days": days}


def _first_share(deployment: Mapping[str, Any]) -> int:
    """Return the percentage that the deployment's strategy begins with."""
    first = first_steps(deployment.get("strategy", "canary"), deployment["rules"])[0]
    return first if 1 <= first <= 99 else 50  # both are asked everything, or one after the other


def _found(asked: Question, guardrails: Any, log: Mapping[str, float | None], share: float) -> Any:
    """Ask the simulation, or the bound, of one rule."""
    from bascule.delivery import power as powers

    base = log["base"] if asked.base is None else asked.base
    spread = log["spread"] if asked.spread is None else asked.spread
    if asked.rule == "quality":
        margin = guardrails.quality.margin if guardrails.quality else QUALITY_MARGIN
        known = _known("spread", spread, "of the differences in loss, such as 0.1")
        return powers.quality_power(known, asked.effect, margin, guardrails.threshold, asked.probability)
    if asked.rule == "goal":
        mean = _known("base", base, "the goal's mean now, such as 0.2")
        if spread is None and 0 < mean < 1:
            spread = (mean * (1 - mean)) ** 0.5
        known = _known("spread", spread, "of one value")
        return powers.mean_power(asked.rule, mean, known, asked.effect, share, guardrails.alpha, asked.probability)
    rate = _known("base", base, "the share of requests that fail or are slow now, such as 0.01")
    _demand("base", rate, 0 < rate < 1, "a share between 0 and 1; say one with --base")
    return powers.events_power(asked.rule, rate, asked.effect, share, guardrails.threshold, asked.probability)


def _measured(
    connection: duckdb.DuckDBPyConnection, branch: str, name: str, rule: Rule, slo_ms: float, goal: str
) -> dict[str, float | None]:
    """What the log says of a deployment: the rate or mean now, its spread, and the requests a day."""
    of = "from predictions where branch = $branch and deployment = $name"
    asked: dict[str, Any] = {"branch": branch, "name": name}
    count = connection.execute(
        f'select count(distinct "at"), epoch(max("at")) - epoch(min("at")) {of}', asked
    ).fetchone() or (0, 0.0)
    daily = count[0] / max(float(count[1] or 0.0), 3600.0) * DAY_S if count[0] else None
    base = spread = None
    if rule == "errors":
        base = _one(connection, f"select avg(if(score is null, 1.0, 0.0)) {of}", asked)
    elif rule == "latency":
        base = _one(connection, f"select avg(if(latency_us > $slo, 1.0, 0.0)) {of}", asked | {"slo": slo_ms * 1000})
    elif rule == "goal":
        from bascule.delivery.values import MEASURES

        sql = MEASURES.get(goal, goal).strip().rstrip(";")
        both = (
            f"from ({sql}) m join predictions p using (prediction_id) where p.branch = $branch and p.deployment = $name"
        )
        base = _one(connection, f"select avg(value) {both}", asked)
        spread = _one(connection, f"select stddev(value) {both}", asked)
    return {"base": base or None, "spread": spread or None, "daily": daily}


def _one(connection: duckdb.DuckDBPyConnection, sql: str, asked: Mapping[str, Any]) -> float | None:
    row = connection.execute(sql, dict(asked)).fetchone()
    return float(row[0]) if row and row[0] is not None else None


def _known(name: str, value: float | None, what: str) -> float:
    if value is None:
        raise InputError(f"The {name} is not known: nothing in the log says it yet.", hint=f"Say it: --{name}, {what}.")
    _demand(name, value, value >= 0, "not below 0")
    return value


def _demand(name: str, value: float, holds: bool, what: str) -> None:
    if not holds:
        raise InputError(f"--{name} is {value:g}; it is {what}.")
