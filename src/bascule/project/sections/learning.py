"""How a model is made of it, and when it is good enough."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from bascule.project.section import TRAINER_PATTERN, Column, Duration, Fraction, Function, Metric, Name, Section, Share


class Split(Section, frozen=True, kw_only=True):
    """How rows are divided: spans of time (the last ones), or shares of the rows.

    Attributes:
        validation: what is set aside for choosing.
        test: what is set aside for judging.
        embargo: time that must lie between a label becoming known and the next part.
        group: the column whose values stay together when there is no prediction time.
        entities_apart: no entity of one split may be in another: else the training set is not built.
        duplicates: the greatest share of a split's rows that may be in another one, equal in all features and the
            label; they are counted and told when it is left out.
    """

    validation: Annotated[Duration | Share, Meta(description="Set aside for choosing: a span or a share.")] = 0.15
    test: Annotated[Duration | Share, Meta(description="Set aside for judging: a span or a share.")] = 0.15
    embargo: Annotated[Duration, Meta(description="Time between a label becoming known and the next part.")] = "0s"
    group: Annotated[str | None, Meta(description="Rows of one group stay together when there is no time.")] = None
    entities_apart: Annotated[bool, Meta(description="No entity of one split may be in another.")] = False
    duplicates: Annotated[Fraction | None, Meta(description="The greatest share of rows that two splits have.")] = None


class Training(Section, frozen=True, kw_only=True):
    """What is learned, from which examples.

    Attributes:
        population: an SQL file with one row for each example: keys, request columns, times, and what the label needs.
        label: a column or an expression over the population's columns.
        task: what kind of question the label answers; inferred from its values when `auto`.
        positive: the class whose probability a binary model gives.
        prediction_time: the column with the moment at which the question is asked; without it the split is by hash.
        label_time: the column with the moment at which the answer becomes known.
        cut_off: nothing learned after this moment is used.
        features: the feature views that the model reads.
        request: columns of the population that are features themselves.
        outcomes: columns of the label's table, beside its own, that nobody knows before `label_time`; a feature that
            is made from one of them too early is a leak.
        trusted: features that may tell the label nearly by themselves: they are honest, however good they look.
        split: how rows are divided.
    """

    population: Annotated[str, Meta(min_length=1, description="An SQL file with one row for each example.")]
    label: Annotated[str, Meta(min_length=1, description="A column or an expression.", examples=["arr_delay > 15"])]
    task: Annotated[
        Literal["auto", "binary", "multiclass", "regression"],
        Meta(description="What kind of question the label answers."),
    ] = "auto"
    positive: Annotated[str | None, Meta(description="The class whose probability a binary model gives.")] = None
    prediction_time: Annotated[str | None, Meta(description="The column with the moment of the question.")] = None
    label_time: Annotated[str | None, Meta(description="The column with the moment the answer is known.")] = None
    cut_off: Annotated[str | None, Meta(description="Nothing learned after this ISO 8601 moment is used.")] = None
    features: Annotated[tuple[str, ...], Meta(description="The feature views that the model reads.")] = ()
    request: Annotated[tuple[Column, ...], Meta(description="Population columns that are features themselves.")] = ()
    outcomes: Annotated[tuple[Column, ...], Meta(description="More columns that are unknown before label_time.")] = ()
    trusted: Annotated[
        tuple[str, ...],
        Meta(description="Features that are honest, however good they look.", examples=[["plane.built", "distance"]]),
    ] = ()
    split: Split = Split()


class Search(Section, frozen=True, kw_only=True):
    """How settings of the model are searched.

    Attributes:
        trials: how many settings are tried; 1 tries the defaults only.
    """

    trials: Annotated[int, Meta(ge=1, description="How many settings are tried; 1 tries the defaults only.")] = 12


class Steps(Section, frozen=True, kw_only=True):
    """What stands around the model when it answers: functions of the project, kept with each version.

    Attributes:
        before: `before(rows) -> rows`, from what requests bring to what the model reads; rows are dicts.
        after: `after(rows, outputs) -> outputs`.
        route: `route(rows) -> names`: which model answers each row, by its own name or a member's.
        combine: `combine(rows, outputs) -> outputs`, of a dict with what the model and each member say.
        members: name to another model, as `MODEL`, `MODEL@3` or `MODEL@production`; its version is kept too.
        takes: column to type, when requests bring other columns than the model reads.
    """

    before: Annotated[Function | None, Meta(description="rows -> rows, before the model.")] = None
    after: Annotated[Function | None, Meta(description="(rows, outputs) -> outputs, after the model.")] = None
    route: Annotated[Function | None, Meta(description="rows -> the name of the model that answers each.")] = None
    combine: Annotated[
        Function | None, Meta(description="(rows, outputs by model) -> outputs, of the model and its members.")
    ] = None
    members: Annotated[dict[Name, str], Meta(description="Other models: MODEL, MODEL@3 or MODEL@production.")] = {}
    takes: Annotated[
        dict[Column, Literal["varchar", "blob", "double", "bigint", "boolean"]],
        Meta(description="The columns of requests, when `before` makes the model's inputs of others."),
    ] = {}


class Model(Section, frozen=True, kw_only=True):
    """How the model is made.

    Attributes:
        name: the name in the registry.
        trainer: `lightgbm`, `linear`, or `module:function` for one of your own.
        search: how settings are searched.
        seed: the seed of everything random.
        steps: what stands around it when it answers.
        optimize: each new version is answered by the fastest engine that answers alike, as `bascule optimize` finds it.
    """

    name: Name
    trainer: Annotated[
        str,
        Meta(
            pattern=TRAINER_PATTERN, description="lightgbm, or module:function.", examples=["lightgbm", "my.train:fit"]
        ),
    ] = "lightgbm"
    search: Search = Search()
    seed: Annotated[int, Meta(ge=0, description="The seed of everything random.")] = 0
    steps: Steps = Steps()
    optimize: Annotated[
        bool, Meta(description="Find and choose the fastest engine for each new version (bascule optimize).")
    ] = False


class SliceFloor(Section, frozen=True, kw_only=True):
    """What each slice must reach.

    Attributes:
        metric: what is measured.
        minimum: the least that is accepted, of a metric whose higher values are better.
        maximum: the most that is accepted, of a metric whose lower values are better.
        rows: slices with fewer test rows are not judged.
    """

    metric: Metric = "auc"
    minimum: Annotated[float | None, Meta(description="The least accepted, where higher is better.")] = None
    maximum: Annotated[float | None, Meta(description="The most accepted, where lower is better.")] = None
    rows: Annotated[int, Meta(ge=1, description="Slices with fewer test rows are not judged.")] = 500


class Gates(Section, frozen=True, kw_only=True):
    """What a model must pass to be registered as passed.

    Attributes:
        metric: the metric that models are compared by; chosen by the task when not given.
        better_than_baseline: the interval of the paired difference to the baseline must be on the good side.
        better_than_current: must not be worse than the version in production; passes when there is none.
        margin: how much worse the interval may end and still count as not worse, a share of the current metric.
        minimum_skill: the least improvement over the best constant, a share of the constant's metric.
        slices: columns whose values are judged one by one.
        slice_floor: what each slice must reach.
        calibration: the greatest expected calibration error that is accepted.
        signature: the inputs must be the ones that are served now.
        signature_change: why they need not be; a reason lets a changed signature pass.
        approvals: how many people, other than who registered it, must approve a version before it is merged into a
            protected branch or deployed. One rejection stops it.
    """

    metric: Annotated[Metric | None, Meta(description="The metric that models are compared by.")] = None
    better_than_baseline: Annotated[bool, Meta(description="Must beat the baseline, with its interval.")] = True
    better_than_current: Annotated[bool, Meta(description="Must not be worse than production, if any.")] = True
    margin: Annotated[Fraction, Meta(description="How much worse still counts as not worse, as a share.")] = 0.01
    minimum_skill: Annotated[Fraction, Meta(description="The least improvement over the best constant, a share.")] = (
        0.005
    )
    slices: Annotated[tuple[Column, ...], Meta(description="Columns whose values are judged one by one.")] = ()
    slice_floor: Annotated[SliceFloor | None, Meta(description="What each slice must reach.")] = None
    calibration: Annotated[Fraction | None, Meta(description="The greatest calibration error accepted.")] = None
    signature: Annotated[bool, Meta(description="The inputs must be the ones that are served now.")] = True
    signature_change: Annotated[str, Meta(description="Why the signature may change; empty: it may not.")] = ""
    approvals: Annotated[int, Meta(ge=0, le=20, description="How many others must approve a version to ship it.")] = 0
