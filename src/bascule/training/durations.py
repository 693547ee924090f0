"""Spans of time as people write them: `30d`, `6h`, `90m`."""

from __future__ import annotations

import re

from bascule.errors import InputError

UNITS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
DAY = UNITS["d"]
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d|w)\s*")


def parse_duration(text: str, *, key: str = "duration") -> int:
    """Return a span such as `30d` or `1.5h` in microseconds.

    Args:
        text: a number and a unit: us, ms, s, m, h, d or w.
        key: the setting that is read, for the message.

    Raises:
        InputError: the text is not a number and a unit.
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise InputError(
            f"{key} is {text!r}, which is not a span of time.",
            hint="Write a number and a unit, such as 30d, 6h or 90m (us, ms, s, m, h, d, w).",
        )
    return round(float(match[1]) * UNITS[match[2]])
