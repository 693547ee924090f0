"""What is watched afterwards, and when a model is trained again."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from bascule.project.section import Duration, Fraction, Metric, Positive, Section

Persistence = Annotated[
    tuple[Positive, Positive], Meta(description="[k, n]: in k of the last n periods.", examples=[[3, 5]])
]


class Drift(Section, frozen=True, kw_only=True):
    """When a changed distribution is an alert.

    Attributes:
        minimum_rows: periods with fewer rows are not judged.
        effect: the least distance that matters, 0 to 1.
        over: how many periods are counted together, the judged one last: 24 hours, 7 days or 1 when not given.
        persistence: `[k, n]`: in k of the last n periods.
    """

    minimum_rows: Annotated[int, Meta(ge=1, description="Periods with fewer rows are not judged.")] = 200
    effect: Annotated[Fraction, Meta(description="The least distance that matters.")] = 0.1
    over: Annotated[Positive | None, Meta(description="Periods counted together: 24 hours, 7 days, else 1.")] = None
    persistence: Persistence = (3, 5)


class Quality(Section, frozen=True, kw_only=True):
    """How quality on arrived labels is measured.

    Attributes:
        metric: what is measured; chosen by the task when not given.
        minimum_coverage: the share of predictions whose label must have arrived before a period is judged.
    """

    metric: Annotated[Metric | None, Meta(description="What is measured; chosen by the task when not given.")] = None
    minimum_coverage: Annotated[Fraction, Meta(description="Share of labels that must have arrived.")] = 0.8


class Skew(Section, frozen=True, kw_only=True):
    """When features that were served otherwise than training would have seen them are an alert.

    Attributes:
        limit: the share of a feature's answers that may differ from the offline join.
        drift: how far the distributions of what was served and of what the join gives may be apart, 0 to 1.
        minimum_rows: days with fewer answers of a feature are no alert.
        sample: the share of the keys whose answers are logged for services.
        every: how often `bascule up` compares; `bascule monitor` does, too. Only when it is asked for when left out.
    """

    limit: Annotated[Fraction, Meta(description="The share of a feature's answers that may differ.")] = 0.01
    drift: Annotated[Fraction, Meta(description="How far the distributions may be apart, 0 to 1.")] = 0.1
    minimum_rows: Annotated[int, Meta(ge=1, description="Days with fewer answers are no alert.")] = 20
    sample: Annotated[Fraction, Meta(description="The share of the keys whose answers are logged.")] = 0.1
    every: Annotated[Duration | None, Meta(description="How often bascule up compares.", examples=["1h"])] = None


class Monitoring(Section, frozen=True, kw_only=True):
    """What is watched.

    Attributes:
        by: the length of a period.
        drift: when a changed distribution is an alert.
        quality: how quality is measured.
        skew: when features that are served otherwise than learned are an alert.
    """

    by: Annotated[Literal["hour", "day", "week"], Meta(description="The length of a period.")] = "day"
    drift: Drift = Drift()
    quality: Quality = Quality()
    skew: Skew = Skew()


class Retrain(Section, frozen=True, kw_only=True):
    """What starts a retraining.

    Attributes:
        when: a rule such as `quality.auc < training.auc - 0.03 for 3 of 5 days`.
        schedule: a cron expression in UTC, such as `0 3 * * 1`.
        cooldown: the least time between two retrainings that `when` starts, by the days that were watched.
    """

    when: Annotated[
        str | None,
        Meta(
            description="A rule over what is watched.", examples=["quality.auc < training.auc - 0.03 for 3 of 5 days"]
        ),
    ] = None
    schedule: Annotated[str | None, Meta(description="A cron expression, UTC.", examples=["0 3 * * 1"])] = None
    cooldown: Annotated[Duration, Meta(description="The least time between two that `when` starts.")] = "7d"
