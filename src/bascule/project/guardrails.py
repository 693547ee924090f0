"""`[deployment.guardrails]`: what a canary is judged by, as `delivery` takes it, with bounds for editors."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from bascule.project.section import Duration, Name, Section


class EventGuardrail(Section, frozen=True, kw_only=True):
    """A share of requests that some event may have: `margin` is how far the canary's may exceed stable's."""

    margin: Annotated[float, Meta(gt=0, lt=1, description="The excess share that is accepted.")] = 0.01


class LatencyGuardrail(Section, frozen=True, kw_only=True):
    """Answers slower than `slo_ms` are events, as in `EventGuardrail`."""

    slo_ms: Annotated[float, Meta(gt=0, description="Slower answers count, in milliseconds.")] = 250.0
    margin: Annotated[float, Meta(gt=0, lt=1, description="The excess share that is accepted.")] = 0.05


class QualityGuardrail(Section, frozen=True, kw_only=True):
    """The loss on arrived labels.

    Attributes:
        loss: what is measured; each lies between 0 and 1. By the task when not given.
        margin: how far the canary's mean loss may exceed stable's.
        scale: the error that counts as a whole one, for `absolute_error`; by the test split's errors when not given.
        minimum_span: the least time that labelled requests must span before quality is judged.
    """

    loss: Annotated[
        Literal["brier", "log_loss", "error", "absolute_error"] | None,
        Meta(description="What is measured, 0 to 1; by the task when not given."),
    ] = None
    margin: Annotated[float, Meta(gt=0, lt=1, description="How far its mean may exceed stable's.")] = 0.005
    scale: Annotated[Annotated[float, Meta(gt=0)] | None, Meta(description="The error that counts as a whole one.")] = (
        None
    )
    minimum_span: Annotated[Duration | None, Meta(description="Judged only when labels span this.")] = None


class TailGuardrail(Section, frozen=True, kw_only=True):
    """A quantile of the latency: `margin` is the share of stable's by which the canary's may exceed it."""

    quantile: Annotated[float, Meta(gt=0, lt=1, description="Which quantile, such as 0.99.")] = 0.99
    margin: Annotated[float, Meta(gt=0, description="0.5 accepts half as much again.")] = 0.5


class DisagreementGuardrail(Section, frozen=True, kw_only=True):
    """Requests that both versions answer differently: `margin` is the share that may be."""

    margin: Annotated[float, Meta(gt=0, lt=1, description="The share of requests that is accepted.")] = 0.05
    tolerance: Annotated[float, Meta(ge=0, lt=1, description="How far apart two numbers may be, relatively.")] = 0.05


class MeasureGuardrail(Section, frozen=True, kw_only=True):
    """A value that SQL over the records gives, as `prediction_id` and `value`."""

    sql: Annotated[str, Meta(min_length=1, description="SELECT prediction_id, … AS value FROM …")]
    margin: Annotated[float, Meta(gt=0, description="How much worse its mean may be.")]
    better: Annotated[Literal["higher", "lower"], Meta(description="Whether more of it is better.")] = "lower"


class Goal(Section, frozen=True, kw_only=True):
    """What an A/B test or a bandit is for: a value of each unit whose mean is to be better.

    Attributes:
        measure: `outcome` is the ground truth that arrives, `score` the prediction; or SQL that gives `prediction_id`
        and
            `value`, and `at` where it came later.
    """

    measure: Annotated[str, Meta(min_length=1, description="outcome, score, or SQL over the records.")] = "outcome"
    better: Annotated[Literal["higher", "lower"], Meta(description="Whether more of it is better.")] = "higher"


class Guardrails(Section, frozen=True, kw_only=True):
    """What a canary is judged by. A rule that is `false` is not applied.

    Attributes:
        alpha: the chance that a harmless canary is ever rolled back.
        minimum_rows: canary requests that every step must have seen.
        split: whether the canary must answer the share of requests that it was given.
        errors: failed requests.
        latency: slow answers.
        quality: the loss on arrived labels.
        tail: the latency's slowest answers; not judged unless it is given.
        disagreement: answers that differ between both versions; not judged unless it is given.
        measures: further values, by name.
        time_limit: how long a rollout may be undecided before a person is asked.
    """

    alpha: Annotated[float, Meta(gt=0, lt=1, description="The chance of a needless rollback.")] = 0.05
    minimum_rows: Annotated[int, Meta(ge=1, description="Canary requests that a step must have seen.")] = 200
    split: Annotated[bool, Meta(description="Whether the canary must answer its share.")] = True
    errors: EventGuardrail | bool = EventGuardrail()
    latency: LatencyGuardrail | bool = LatencyGuardrail()
    quality: QualityGuardrail | bool = QualityGuardrail()
    tail: TailGuardrail | bool = False
    disagreement: DisagreementGuardrail | bool = False
    measures: Annotated[dict[Name, MeasureGuardrail], Meta(description="Further values, by name.")] = field(
        default_factory=dict
    )
    time_limit: Annotated[Duration | None, Meta(description="Undecided for so long: a person is asked.")] = None
