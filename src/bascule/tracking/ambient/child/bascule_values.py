"""What may be said of a run: names and values of metrics, their steps, parameters and tags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bascule_journal import BETWEEN

# Steps are whole numbers of 64 bits.
LEAST_STEP, MOST_STEP = -(2**63) + 1, 2**63 - 1
# Of a metric's name, in characters: of two longer ones, cut, one would be taken for the other. As `told.LONGEST_NAME`.
LONGEST_METRIC = 250
# What stores and other systems take for something else in an artifact's name, and how many bytes a part of it has.
NOT_IN_A_NAME = set("\\#?\0")
LONGEST_PART = 255


def plain(value: Any) -> Any:
    """Return a parameter's value as JSON can hold it: its text where it cannot."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)[:1000]
    return value


def named(key: Any) -> str:
    """Return a metric's name.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(key, str) or not key or BETWEEN in key:
        raise ValueError(f"{key!r} is no name of a metric.")
    if len(key) > LONGEST_METRIC:
        raise ValueError(f"{key[:60]!r}… has {len(key)} characters; a metric's name has {LONGEST_METRIC} at most.")
    return key


def number(key: str, value: Any) -> float:
    """Return a metric's value.

    Raises:
        TypeError, ValueError: it is no number.
    """
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"The metric {key!r} is given {repr(value)[:60]}, which is no number.") from None


def whole(step: Any) -> int:
    """Return a step.

    Raises:
        TypeError, ValueError: it is no whole number of 64 bits.
    """
    try:
        number = int(step)
    except (TypeError, ValueError, OverflowError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"A step is a whole number; {repr(step)[:60]} is none. run.log(loss=0.3, step=1)") from None
    if not LEAST_STEP <= number <= MOST_STEP:
        raise ValueError(f"A step is a whole number of 64 bits; {number} is none.")
    return number


def plain_all(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters or tags, each as `plain` does.

    Raises:
        TypeError: they are no dict.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"Parameters and tags are a dict of names and values; {type(values).__name__} is none.")
    return {str(key): plain(value) for key, value in values.items()}


def checked_artifact(name: str) -> str:
    """Return an artifact's name, with `/` between its parts.

    Raises:
        ValueError: it leaves the run's folder, or holds what other systems take for something else.
    """
    clean = name.replace("\\", "/")
    if clean.startswith("/") or ".." in clean.split("/") or not clean.strip("/"):
        raise ValueError(f"{name!r} is no name for an artifact: it must stay in the run's folder.")
    if (
        NOT_IN_A_NAME & set(clean)
        or not clean.isprintable()
        or max(len(part.encode()) for part in clean.split("/")) > LONGEST_PART
    ):
        raise ValueError(f"{name[:60]!r} is no name for an artifact: it has # or ?, is not printable or too long.")
    return clean
