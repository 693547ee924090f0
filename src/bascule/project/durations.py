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
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d|w)\s*")
HOW = 'Write a number and a unit, such as "30d", "6h" or "90m" (us, ms, s, m, h, d, w).'


def microseconds(text: str) -> int:
    """Return a span such as `30d` or `1.5h` in microseconds.

    Raises:
        InputError: the text is not a number and a unit.
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is not a span of time.", hint=HOW)
    return round(float(match[1]) * UNITS[match[2]])


def span_text(span: int) -> str:
    """Return microseconds as the shortest text that `microseconds` reads back: the greatest unit that divides them."""
    for unit in ("w", "d", "h", "m", "s", "ms"):
        if span and span % UNITS[unit] == 0 and not (unit == "w" and span // UNITS["w"] < 2):
            return f"{span // UNITS[unit]}{unit}"
    return f"{span}us"
