"""What a model must fulfil before it may be registered."""

from __future__ import annotations

import msgspec

from bascule.errors import InputError
from bascule.evaluation.metrics import MAIN_METRIC, Task, metric_named


class SliceFloor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The least that every slice with enough rows must reach.

    Attributes:
        metric: which is measured.
        minimum: for a metric whose higher values are better.
        maximum: for a metric whose lower values are better.
        rows: slices with fewer rows are not judged.
    """

    metric: str
    minimum: float | None = None
    maximum: float | None = None
    rows: int = 500


class GateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which gates there are and how strict they are.

    Attributes:
        metric: by which models are compared; log loss or, for a regression, RMSE when not given.
        better_than_baseline: the model must beat a linear model on the same rows, and the best constant.
        minimum_skill: the least improvement over the best constant, as a share of the constant's metric.
        better_than_current: the model must not be worse than the current version by more than `margin`.
        margin: of non-inferiority, as a share of the current version's metric.
        slices: the columns to slice by.
        slice_floor: what every slice must reach.
        calibration: the greatest expected calibration error; None means no limit.
        signature: callers of the current version must be able to call the new one.
        signature_change: why they need not be; a reason lets a changed signature pass.
        level: of the intervals.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """

    metric: str | None = None
    better_than_baseline: bool = True
    minimum_skill: float = 0.005
    better_than_current: bool = True
    margin: float = 0.01
    slices: tuple[str, ...] = ()
    slice_floor: SliceFloor | None = None
    calibration: float | None = None
    signature: bool = True
    signature_change: str = ""
    level: float = 0.95
    resamples: int = 1_000
    seed: int = 0


def main_metric(settings: GateSettings, task: Task) -> str:
    """Return the metric that models are compared by."""
    return settings.metric or MAIN_METRIC[task]


def refuse_unfit(settings: GateSettings, task: Task) -> None:
    """Refuse settings that a task cannot fulfil or that would do nothing.

    Raises:
        NotFound: a metric that the task does not have.
        InputError: a limit without a meaning, or a number out of its range.
    """
    metric_named(main_metric(settings, task), task)
    if settings.calibration is not None and task == "regression":
        raise InputError(
            "A calibration limit was set for a regression, which gives no probabilities.",
            hint="Remove [gates] calibration.",
        )
    if not 0.5 <= settings.level < 1:
        raise InputError(f"[gates] level is {settings.level}; it lies between 0.5 and 1.", hint="0.95 is usual.")
    if settings.resamples < 100:
        raise InputError(
            f"[gates] resamples is {settings.resamples}; an interval needs at least 100.", hint="1000 is the default."
        )
    if settings.margin < 0 or settings.minimum_skill < 0:
        raise InputError("[gates] margin and minimum_skill cannot be negative.", hint="0 asks for no margin.")
    if settings.slice_floor is not None:
        _refuse_unfit_floor(settings.slice_floor, settings.slices, task)


def _refuse_unfit_floor(floor: SliceFloor, slices: tuple[str, ...], task: Task) -> None:
    if not slices:
        raise InputError("[gates] slice_floor was set without slices.", hint='Add slices = ["a column"].')
    wanted, unfit = (
        ("minimum", "maximum") if metric_named(floor.metric, task).higher_is_better else ("maximum", "minimum")
    )
    if getattr(floor, wanted) is None or getattr(floor, unfit) is not None:
        direction = "higher" if wanted == "minimum" else "lower"
        raise InputError(
            f"[gates] slice_floor of {floor.metric!r} needs {wanted} and no {unfit}: {direction} is better.",
            hint=f'Write slice_floor = {{ metric = "{floor.metric}", {wanted} = …, rows = {floor.rows} }}.',
        )
