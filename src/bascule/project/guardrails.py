"""`[deployment.guardrails]`: what a canary is judged by, as `delivery` takes it, with bounds for editors."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from bascule.project.section import Duration, Section


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


class Guardrails(Section, frozen=True, kw_only=True):
    """What a canary is judged by. A rule that is `false` is not applied.

    Attributes:
        alpha: the chance that a harmless canary is ever rolled back.
        minimum_rows: canary requests that every step must have seen.
        split: whether the canary must answer the share of requests that it was given.
        errors: failed requests.
        latency: slow answers.
        quality: the loss on arrived labels.
        time_limit: how long a rollout may be undecided before a person is asked.
    """

    alpha: Annotated[float, Meta(gt=0, lt=1, description="The chance of a needless rollback.")] = 0.05
    minimum_rows: Annotated[int, Meta(ge=1, description="Canary requests that a step must have seen.")] = 200
    split: Annotated[bool, Meta(description="Whether the canary must answer its share.")] = True
    errors: EventGuardrail | bool = EventGuardrail()
    latency: LatencyGuardrail | bool = LatencyGuardrail()
    quality: QualityGuardrail | bool = QualityGuardrail()
    time_limit: Annotated[Duration | None, Meta(description="Undecided for so long: a person is asked.")] = None
