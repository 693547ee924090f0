"""What a rollout must not hurt, and by how much at most: the rules that a canary is judged by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from bascule.delivery.strategies import sql_problem
from bascule.durations import parse_duration
from bascule.errors import InputError, suggestion


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share of requests that some event may have.

    Attributes:
        margin: by how much the canary's share of events may exceed stable's and still be promoted, between 0 and 1.
    """

    margin: float = 0.01


class LatencyRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Answers slower than the objective are events.

    Attributes:
        slo_ms: the objective, in milliseconds.
        margin: by how much the canary's share of slow answers may exceed stable's.
    """

    slo_ms: float = 250.0
    margin: float = 0.05


class TailRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How slow the slowest answers are: a quantile of the latency.

    Attributes:
        quantile: which one, strictly between 0 and 1.
        margin: by which share of stable's the canary's may exceed it: 0.5 accepts 30 ms where stable has 20.
    """

    quantile: float = 0.99
    margin: float = 0.5


class DisagreementRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often both versions, asked the same, answer differently. Only where both score each request.

    Attributes:
        margin: the share of requests on which they may.
        tolerance: the relative difference of two numbers that counts as the same answer; classes are alike or not.
    """

    margin: float = 0.05
    tolerance: float = 0.05


class MeasureRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Any value that SQL over the records gives.

    Attributes:
        sql: gives `prediction_id` and `value`, and `at` where the value came later than the prediction.
        margin: by how much the canary's mean may be worse than stable's, in the value's own unit.
        better: whether more of it is better, or less.
    """

    sql: str
    margin: float
    better: Literal["higher", "lower"] = "lower"


class QualityRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The loss on arrived labels.

    Attributes:
        loss: `brier` and `log_loss` for a probability (log loss is clipped at 0.01 and 0.99 and divided by ln 100),
            `error` for a class (1 when the likeliest one is not the right one), `absolute_error` for a number, divided
            by `scale` and clipped at 1. All lie between 0 and 1.
        margin: by how much the canary's mean loss may exceed stable's, in the loss's units: below it the canary is no
            worse, above it is harm.
        minimum_span: the least time, such as `7d`, that the labelled requests must span before quality is judged either
            way. What happens on one day is alike (weather, a holiday), so a thousand rows of it are little evidence.
        scale: the error that counts as a whole one, for `absolute_error`.
    """

    loss: Literal["brier", "log_loss", "error", "absolute_error"] = "brier"
    margin: float = 0.005
    scale: float = 1.0
    minimum_span: str | None = None


class Guardrails(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules of one rollout. A rule that is null is not applied.

    Attributes:
        alpha: the chance that a canary that does no harm is ever rolled back, over all rules together.
        minimum_rows: canary requests that every step must have seen before the next one begins.
        split: whether the canary must get (and answer) the share of requests that it was given.
        tail: a quantile of the latency; off unless it is given.
        disagreement: answers that differ between both versions; off unless it is given.
        measures: further values, by name.
        time_limit: how long a rollout may be undecided before it is called inconclusive, such as `14d`. It is then
            held for a person to decide, never promoted.
    """

    alpha: float = 0.05
    minimum_rows: int = 200
    split: bool = True
    errors: Rule | None = Rule()
    latency: LatencyRule | None = LatencyRule()
    quality: QualityRule | None = QualityRule()
    time_limit: str | None = None
    tail: TailRule | None = None
    disagreement: DisagreementRule | None = None
    measures: dict[str, MeasureRule] = {}

    @property
    def threshold(self) -> float:
        """The e-value at which one rule rolls back: 1/alpha, with alpha shared equally among the rules (Bonferroni)."""
        return max(1, self.applied) / self.alpha

    @property
    def applied(self) -> int:
        """How many rules there are."""
        rules = (self.errors, self.latency, self.quality, self.tail, self.disagreement)
        return self.split + sum(rule is not None for rule in rules) + len(self.measures)


# What a task's answers can be judged by, the default first.
LOSSES = {"binary": ("brier", "log_loss", "error"), "multiclass": ("error",), "regression": ("absolute_error",)}
# Errors of this many mean absolute errors count as whole ones.
WHOLE_ERROR = 4.0


def read_guardrails(
    settings: Mapping[str, Any] | None, task: str | None = None, metrics: Mapping[str, float] | None = None
) -> Guardrails:
    """Read rules from plain settings; what is not given has its default.

    Args:
        task: binary, multiclass or regression: the loss has the default that fits it. None takes the rules as they are.
        metrics: of the version, such as `test.mae`, which says how large an error of a regression is.

    Raises:
        InputError: for an unknown key, with the nearest right one, or for a value that cannot be used.
    """
    plain = dict(settings or {})
    if task in LOSSES and (quality := plain.get("quality", {})) is not None:
        plain["quality"] = _fit_to(task, quality, metrics or {}) if isinstance(quality, Mapping) else quality
    try:
        found = msgspec.convert(plain, Guardrails)
    except msgspec.ValidationError as error:
        raise InputError(f"The rollout's guardrails cannot be used: {error}", hint=_hint(str(error))) from error
    _check(found)
    if task in LOSSES and found.quality is not None and found.quality.loss not in LOSSES[task]:
        raise InputError(
            f"guardrails.quality.loss is {found.quality.loss!r}, which a {task} model's answers do not have.",
            hint=f"Take one of: {', '.join(LOSSES[task])}.",
        )
    return found


def _fit_to(task: str, quality: Mapping[str, Any], metrics: Mapping[str, float]) -> dict[str, Any] | None:
    """Return a rule with the loss of the task; None for a regression of which nothing says how large an error is."""
    error = metrics.get("test.mae")
    if task == "regression" and not quality and not error:
        return None
    scale = {"scale": WHOLE_ERROR * error} if task == "regression" and error else {}
    return {"loss": LOSSES[task][0], **scale, **quality}


def _check(found: Guardrails) -> None:
    if not 0 < found.alpha < 1:
        raise InputError(
            f"guardrails.alpha is {found.alpha}; it must lie between 0 and 1.",
            hint="0.05 rolls one harmless canary in twenty back.",
        )
    if found.minimum_rows < 1:
        raise InputError(
            f"guardrails.minimum_rows is {found.minimum_rows}; it must be at least 1.", hint="200 is the default."
        )
    for name in ("errors", "latency", "quality", "disagreement"):
        rule = getattr(found, name)
        if rule is not None and not 0 < rule.margin < 1:
            raise InputError(
                f"guardrails.{name}.margin is {rule.margin}; it must lie between 0 and 1.",
                hint="0.01 accepts one event more in a hundred requests.",
            )
    if found.latency is not None and found.latency.slo_ms <= 0:
        raise InputError(
            f"guardrails.latency.slo_ms is {found.latency.slo_ms}; it must be more than 0.",
            hint="Write the objective in milliseconds, such as 250.",
        )
    if found.tail is not None and not (0 < found.tail.quantile < 1 and found.tail.margin > 0):
        raise InputError(
            f"guardrails.tail is quantile {found.tail.quantile}, margin {found.tail.margin}.",
            hint="The quantile lies between 0 and 1, such as 0.99; a margin of 0.5 accepts half as much again.",
        )
    if found.disagreement is not None and not 0 <= found.disagreement.tolerance < 1:
        raise InputError(
            f"guardrails.disagreement.tolerance is {found.disagreement.tolerance}; it lies between 0 and 1.",
            hint="0.05 takes 100 and 104 for the same answer.",
        )
    for name, measure in found.measures.items():
        if measure.margin <= 0:
            raise InputError(
                f"guardrails.measures.{name}.margin is {measure.margin}; it must be more than 0.",
                hint="Write by how much the canary's mean may be worse, in the value's own unit.",
            )
        if why := sql_problem(measure.sql):
            raise InputError(
                f"guardrails.measures.{name}.sql {why}.",
                hint="Such as: select prediction_id, score as value from predictions",
            )
    if found.quality is not None and found.quality.scale <= 0:
        raise InputError(
            f"guardrails.quality.scale is {found.quality.scale}; it must be more than 0.",
            hint="Write the error that counts as a whole one, in the label's unit.",
        )
    if found.quality is not None and found.quality.minimum_span is not None:
        parse_duration(found.quality.minimum_span, key="guardrails.quality.minimum_span")
    if found.time_limit is not None:
        parse_duration(found.time_limit, key="guardrails.time_limit")


def _hint(message: str) -> str:
    unknown = re.search(r"unknown field `(\w+)`", message)
    place = re.search(r"\$\.(\w+)", message)
    kinds = {
        "errors": Rule,
        "latency": LatencyRule,
        "quality": QualityRule,
        "tail": TailRule,
        "disagreement": DisagreementRule,
        "measures": MeasureRule,
    }
    kind = kinds.get(place[1] if place else "", Guardrails)
    return suggestion(unknown[1], kind.__struct_fields__, "key") if unknown else ""
