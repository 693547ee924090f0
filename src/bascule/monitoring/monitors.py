"""What is watched, how often and how strictly: the object `monitors/NAME`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from bascule.errors import InputError, suggestion
from bascule.evaluation import metrics_of

PERIODS = ("hour", "day", "week", "month")


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What windows are compared with.

    Attributes:
        training_set: id of the training set.
        profile: digest of the blob with its profile (`encode_profile`).
    """

    training_set: str = ""
    profile: str = ""


class DriftRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a column has drifted in a window: the effect and the adjusted p-value must both say so.

    Attributes:
        minimum_rows: windows with fewer predictions are not judged.
        effect: the least Jensen-Shannon distance beyond chance that matters.
        over: how many windows are counted together: the one that is judged and those before it with rows of the same
            version. By the day, 7 keep the rhythm of the week from being drift. Until so many have come none is judged.
        alpha: the false discovery rate within a window, over its columns.
        persistence: [k, n]: an alert opens when k of the last n windows have drifted; None takes the monitor's.
    """

    minimum_rows: int = 200
    effect: float = 0.1
    over: int = 1
    alpha: float = 0.05
    persistence: tuple[int, int] | None = None


class QualityRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the quality on arrived labels has fallen in a window.

    Attributes:
        metric: the one that alerts; all of the task are measured.
        task: what the predictions are: the probability of the positive class, of each class, or a value.
        minimum_rows: windows with fewer labelled predictions are not judged.
        minimum_coverage: the least share of a window's predictions whose labels must have arrived.
        tolerance: how much worse than at release is still right, in the metric's units. A window is in breach when
            even the better end of its 95 % interval is worse than that.
        persistence: as for drift.
    """

    metric: str = "auc"
    task: Literal["binary", "multiclass", "regression"] = "binary"
    minimum_rows: int = 100
    minimum_coverage: float = 0.8
    tolerance: float = 0.02
    persistence: tuple[int, int] | None = None


class Monitor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A monitor.

    Attributes:
        deployment: whose predictions are watched, by the time that they are about (`event_time`).
        by: the length of a window.
        persistence: [k, n] of what has none of its own.
    """

    name: str
    deployment: str
    reference: Reference = Reference()
    by: Literal["hour", "day", "week", "month"] = "day"
    drift: DriftRules = DriftRules()
    quality: QualityRules = QualityRules()
    persistence: tuple[int, int] = (3, 5)

    def as_object(self) -> dict[str, Any]:
        """The monitor as the history holds it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return {"kind": "monitor", **found, "persistence": list(self.persistence)}

    def persistence_of(self, measure: str) -> tuple[int, int]:
        """The [k, n] of a measure: `quality` has its own, all else goes with drift."""
        rules = self.quality if measure == "quality" else self.drift
        return rules.persistence or self.persistence


def read_monitor(settings: Mapping[str, Any]) -> Monitor:
    """Read a monitor from its object or from plain settings.

    Raises:
        InputError: for an unknown key or metric, with the nearest right one, or for a value that cannot be used.
    """
    plain = {key: value for key, value in settings.items() if key != "kind"}
    try:
        found = msgspec.convert(plain, Monitor)
    except msgspec.ValidationError as error:
        raise InputError(f"This monitor cannot be used: {error}", hint=_hint(str(error))) from error
    metrics = [metric.name for metric in metrics_of(found.quality.task)]
    if found.quality.metric not in metrics:
        raise InputError(
            f"Monitor {found.name!r} asks for {found.quality.metric!r}; a {found.quality.task} task has none such.",
            hint=suggestion(found.quality.metric, metrics, "metric"),
        )
    _check(found)
    return found


def _check(monitor: Monitor) -> None:
    for where, pair in (
        ("persistence", monitor.persistence),
        ("drift.persistence", monitor.drift.persistence),
        ("quality.persistence", monitor.quality.persistence),
    ):
        if pair is not None and not 1 <= pair[0] <= pair[1]:
            raise InputError(
                f"{where} of monitor {monitor.name!r} is {list(pair)}.", hint="Write [k, n]: k of n windows."
            )
    if monitor.drift.over < 1:
        raise InputError(
            f"drift.over of monitor {monitor.name!r} is {monitor.drift.over}.",
            hint="Write how many windows, 1 or more.",
        )
    shares = {
        "drift.effect": monitor.drift.effect,
        "drift.alpha": monitor.drift.alpha,
        "quality.minimum_coverage": monitor.quality.minimum_coverage,
    }
    for where, share in shares.items():
        if not 0 <= share <= 1:
            raise InputError(
                f"{where} of monitor {monitor.name!r} is {share:g}; it must lie between 0 and 1.",
                hint="0.1 is a tenth.",
            )


def _hint(message: str) -> str:
    unknown = re.search(r"unknown field `(\w+)`", message)
    place = re.search(r"\$\.(\w+)", message)
    kinds = {"drift": DriftRules, "quality": QualityRules, "reference": Reference}
    kind = kinds.get(place[1] if place else "", Monitor)
    return suggestion(unknown[1], kind.__struct_fields__, "key") if unknown else ""
