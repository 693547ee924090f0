"""Dividing rows into train, validation and test so that the past never learns from the future."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bascule.durations import parse_duration
from bascule.errors import InputError
from bascule.training.spec import Split

TRAIN, VALIDATION, TEST, EMBARGOED = 0, 1, 2, -1
NAMES = ("train", "validation", "test")
FEW_GROUPS = 1_000


@dataclass(frozen=True)
class Bounds:
    """Where the splits meet, in microseconds since 1970 UTC: validation begins, test begins, the last row plus one."""

    validation: int
    test: int
    end: int


def split_by_time(
    prediction_time: np.ndarray, label_time: np.ndarray | None, split: Split
) -> tuple[np.ndarray, Bounds]:
    """Divide rows by the moment of their prediction, with an embargo on labels that came late.

    A row is in `train` if its prediction was asked for before validation starts *and* its label was known, plus the
    embargo, by then; `validation` likewise with the start of the test. Rows in between teach the model what it could
    not have known, so they are in no split. A share takes the last rows in time; equal times are never separated.

    Args:
        prediction_time: int64 [rows], microseconds UTC.
        label_time: int64 [rows] or None, when the label is known at once.
        split: the sizes.

    Returns:
        int8 [rows] with TRAIN, VALIDATION, TEST or EMBARGOED, and the bounds.

    Raises:
        InputError: a size cannot be read or a split is empty.
    """
    bounds = _bounds(prediction_time, split)
    embargo = parse_duration(split.embargo, key="split.embargo")
    known = (prediction_time if label_time is None else label_time) + embargo
    sides = np.full(len(prediction_time), EMBARGOED, dtype=np.int8)
    before_validation = prediction_time < bounds.validation
    before_test = ~before_validation & (prediction_time < bounds.test)
    sides[before_validation & (known < bounds.validation)] = TRAIN
    sides[before_test & (known < bounds.test)] = VALIDATION
    sides[prediction_time >= bounds.test] = TEST
    _refuse_empty(sides, "The label time plus the embargo must lie before the next split starts.")
    return sides, bounds


def split_by_hash(uniform: np.ndarray, split: Split) -> np.ndarray:
    """Divide rows by a hash of their group.

    A group keeps its side when other groups are added. With fewer than 1,000 groups the shares are made
    exact by the rank of the hash instead, because chance would leave a side empty.

    Args:
        uniform: float64 [rows] in [0, 1): the hash of the row's group.
        split: the sizes; both must be shares.

    Returns:
        int8 [rows] with TRAIN, VALIDATION or TEST.

    Raises:
        InputError: a size is not a share or a split is empty.
    """
    test, validation = _share(split.test, "split.test"), _share(split.validation, "split.validation")
    _refuse_no_train(validation, test)
    groups, where = np.unique(uniform, return_inverse=True)
    if len(groups) < FEW_GROUPS:
        place = np.arange(len(groups), dtype=np.float64)[where]
        test = round(test * len(groups)) or 1
        validation = round(validation * len(groups)) or 1
    else:
        place = uniform
    sides = np.full(len(uniform), TRAIN, dtype=np.int8)
    sides[place < test + validation] = VALIDATION
    sides[place < test] = TEST
    _refuse_empty(sides, f"There are {len(groups):,} groups of rows.")
    return sides


def _bounds(times: np.ndarray, split: Split) -> Bounds:
    end = int(times.max()) + 1
    if isinstance(split.test, str) != isinstance(split.validation, str):
        raise InputError(
            f"split.validation is {split.validation!r} and split.test is {split.test!r}.",
            hint="Write both as spans of time (30d) or both as shares (0.15).",
        )
    if isinstance(split.test, str):
        test = end - parse_duration(split.test, key="split.test")
        return Bounds(test - parse_duration(str(split.validation), key="split.validation"), test, end)
    share, before = _share(split.test, "split.test"), _share(split.validation, "split.validation")
    _refuse_no_train(before, share)
    ordered = np.sort(times)
    return Bounds(_start_of_last(ordered, share + before), _start_of_last(ordered, share), end)


def _start_of_last(ordered: np.ndarray, share: float) -> int:
    first = len(ordered) - max(1, round(share * len(ordered)))
    return int(ordered[max(first, 0)])


def _share(size: str | float, key: str) -> float:
    if isinstance(size, str):
        raise InputError(
            f"{key} is {size!r}, a span of time, but no prediction_time was declared.",
            hint="Declare prediction_time, or write a share such as 0.15.",
        )
    if not 0 < size < 1:
        raise InputError(f"{key} is {size!r}; a share lies between 0 and 1.", hint="Write a share such as 0.15.")
    return size


def _refuse_no_train(validation: float, test: float) -> None:
    if validation + test >= 1:
        raise InputError(
            f"split.validation is {validation} and split.test is {test}: nothing is left to train on.",
            hint="Make them smaller; 0.15 each is usual.",
        )


def _refuse_empty(sides: np.ndarray, detail: str) -> None:
    sizes = {name: int((sides == code).sum()) for code, name in enumerate(NAMES)}
    empty = [name for name, rows in sizes.items() if rows == 0]
    if empty:
        shown = ", ".join(f"{name} {rows:,}" for name, rows in sizes.items())
        raise InputError(
            f"The {' and the '.join(empty)} split would be empty (rows: {shown}). {detail}",
            hint="Make split.validation and split.test smaller, or bring more rows.",
        )
