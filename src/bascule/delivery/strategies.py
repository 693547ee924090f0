"""The ways in which a version may come into service, and what each of them asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from bascule.durations import parse_duration
from bascule.errors import InputError, suggestion

STRATEGIES = ("canary", "all_at_once", "blue_green", "ab", "shadow", "bandit")
# Those that compare the new version with the one that serves before it takes its place.
COMPARING = ("canary", "blue_green", "ab", "shadow", "bandit")
# Those that a version which was forced past its gates may go by: it gets little traffic, or none, before it is judged.
CAREFUL = ("canary", "shadow")
# Those whose end a goal decides.
BY_GOAL = ("ab", "bandit")

OUTCOME, SCORE = "outcome", "score"
_QUERY = re.compile(r"\s*(select|with|from)\b", re.IGNORECASE)


class Goal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an A/B test or a bandit is for: a value of each unit whose mean is to be better.

    Attributes:
        measure: `outcome` is the ground truth that arrives for a prediction, `score` the prediction itself; or SQL over
            the records that gives `prediction_id` and `value`, and `at` where the value came later.
        better: whether more of it is better, or less.
    """

    measure: str = OUTCOME
    better: Literal["higher", "lower"] = "higher"


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a strategy goes by beside the canary's steps and the guardrails.

    Attributes:
        goal: what `ab` and `bandit` are for.
        share: the new version's percentage in an A/B test, and a bandit's first.
        floor: the percentage that a bandit leaves to the worse one, so that it goes on learning.
        keep: how long blue/green keeps the version before warm, for an instant way back.
        automatic: whether the controller goes on and promotes by itself. It rolls back by itself always.
    """

    goal: Goal | None = None
    share: int = 50
    floor: int = 5
    keep: str = "1h"
    automatic: bool = True


def read_plan(settings: Mapping[str, Any] | None, strategy: str = "") -> Plan:
    """Read a plan from plain settings; what is not given has its default.

    Args:
        strategy: what it is for; empty leaves out whether it is whole.

    Raises:
        InputError: an unknown key, a value that cannot be used, or a strategy that needs what is missing.
    """
    try:
        found = msgspec.convert(dict(settings or {}), Plan)
    except msgspec.ValidationError as error:
        unknown = re.search(r"unknown field `(\w+)`", str(error))
        kind: Any = Goal if "$.goal" in str(error) else Plan
        hint = suggestion(unknown[1], kind.__struct_fields__, "key") if unknown else ""
        raise InputError(f"The strategy's settings cannot be used: {error}", hint=hint) from error
    if not 1 <= found.share <= 99:
        raise InputError(f"share is {found.share}; it is a percentage from 1 to 99.", hint="50 learns most.")
    if not 1 <= found.floor <= 50:
        raise InputError(f"floor is {found.floor}; it is a percentage from 1 to 50.", hint="5 is the default.")
    parse_duration(found.keep, key="keep")
    if found.goal is not None:
        _check_goal(found.goal)
    if strategy in BY_GOAL and found.goal is None:
        raise InputError(f"The strategy {strategy!r} needs a goal: what is to be better.", hint=GOAL_HINT)
    return found


GOAL_HINT = (
    'Write goal = { measure = "outcome" } (the ground truth that arrives), "score", or SQL over the records that gives '
    "prediction_id and value."
)


def _check_goal(goal: Goal) -> None:
    if goal.measure in (OUTCOME, SCORE):
        return
    why = sql_problem(goal.measure)
    if why and _QUERY.match(goal.measure):
        raise InputError(
            f"The goal's SQL {why}.", hint="Such as: select prediction_id, label as value from ground_truth"
        )
    if why:
        hint = suggestion(goal.measure, (OUTCOME, SCORE), "measure")
        raise InputError(f"There is no measure {goal.measure!r}.", hint=f"{hint} {GOAL_HINT}".strip())


def sql_problem(sql: str) -> str:
    """Return what is wrong with the SQL of a measure, as far as it shows without running it; empty when nothing is."""
    if not _QUERY.match(sql):
        return "is no query: it begins with neither SELECT nor WITH"
    missing = [name for name in ("prediction_id", "value") if not re.search(rf"\b{name}\b", sql)]
    return f"does not give {' and '.join(missing)}" if missing else ""


def queries_of(deployment: Mapping[str, Any]) -> list[str]:
    """Return the SQL that a deployment's rollout is judged by: of its measures, and of its goal."""
    rollout = deployment.get("rollout") or {}
    measures = (rollout.get("guardrails") or {}).get("measures") or {}
    goal = ((rollout.get("plan") or {}).get("goal") or {}).get("measure", OUTCOME)
    return [*(one["sql"] for one in measures.values()), *([goal] if goal not in (OUTCOME, SCORE) else [])]


def first_steps(strategy: str, rules: Mapping[str, Any]) -> list[int]:
    """Return the new version's percentages, step by step: the canary's own, or the one that the strategy gives it."""
    if strategy == "canary":
        return list(rules["steps"])
    plan = read_plan(rules.get("plan"))
    return [{"shadow": 0, "blue_green": 100}.get(strategy, plan.share), 100]


def words(strategy: str) -> str:
    """Return what a rollout by a strategy is called in a sentence."""
    named = {"ab": "an A/B test", "blue_green": "a blue/green switch", "shadow": "a shadow", "bandit": "a bandit"}
    return named.get(strategy, "a canary")
