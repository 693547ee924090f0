"""What a training set is made of: the label, the times, the split and the seed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec

from bascule.errors import InputError

Task = Literal["binary", "multiclass", "regression"]


class Split(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How rows are divided into train, validation and test.

    A size is a span of time (`"30d"`: the last thirty days) or a share of the rows (`0.15`). With a prediction time the
    split goes by time: train, then validation, then test. Without one it goes by the hash of `group`, so that
    all rows of a group are on one side; without a group, by the hash of the row, so that equal rows are on one side.

    Attributes:
        validation: size of the validation split.
        test: size of the test split.
        embargo: time that must lie between the moment a label is known and the start of the next split.
        group: the column whose values stay together when there is no prediction time.
    """

    validation: str | float = 0.15
    test: str | float = 0.15
    embargo: str = "0s"
    group: str | None = None


class TrainingSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The definition of a training set. Together with the rows' bytes it decides the set's id.

    Attributes:
        name: what the set is for, usually the model's name; the set is called `NAME@<first 8 of its id>`.
        label: a column, or an SQL expression over the columns of the rows, such as `arr_delay > 15`.
        population: the text of the query that gave the rows, kept as part of the definition.
        prediction_time: the column with the moment at which the prediction is asked for.
        label_time: the column with the moment at which the label became known; null means that it is not known yet.
        cut_off: nothing that was learned after this moment is used; ISO 8601 text or microseconds since 1970 UTC.
        split: how rows are divided.
        features: the columns that the model may read; empty means those of the feature set, or, without one, every
            usable column that is neither part of the label nor a time nor the group.
        task: what kind of label it is; `auto` infers it.
        positive: the class that a binary model gives the probability of; the greater one when not given.
        seed: the seed of the split by rows.
    """

    name: str
    label: str
    population: str = ""
    prediction_time: str | None = None
    label_time: str | None = None
    cut_off: str | int | None = None
    split: Split = Split()
    features: tuple[str, ...] = ()
    task: Literal["auto", "binary", "multiclass", "regression"] = "auto"
    positive: str | None = None
    seed: int = 0


def cut_off_micros(spec: TrainingSpec) -> int | None:
    """Return the cut-off in microseconds since 1970 UTC, or None when there is none.

    A text without a zone is UTC.

    Raises:
        InputError: the text is not an ISO 8601 time.
    """
    if spec.cut_off is None or isinstance(spec.cut_off, int):
        return spec.cut_off
    try:
        moment = datetime.fromisoformat(spec.cut_off)
    except ValueError:
        raise InputError(
            f"cut_off is {spec.cut_off!r}, which is not a time.",
            hint="Write it as 2013-07-01 or 2013-07-01T00:00:00Z.",
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000)
