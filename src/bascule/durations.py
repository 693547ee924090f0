"""Spans of time as people write them: `30d`, `6h`, `90m`, `1d12h`. The one place that reads and writes them."""

from __future__ import annotations

import re

from bascule.errors import InputError

UNITS = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
DAY = UNITS["d"]
PATTERN = r"^(\d+(\.\d+)?(us|ms|s|m|h|d|w))+$"
HOW = "Write a number and a unit, such as 30d, 6h, 90m or 1d12h (us, ms, s, m, h, d, w)."
_WHOLE = re.compile(PATTERN)
_PARTS_OF = re.compile(r"\d+[a-z]+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d|w)")


def parse_duration(text: str, *, key: str = "The duration") -> int:
    """Return a span such as `30d`, `1.5h` or `1d12h` in microseconds.

    Args:
        text: numbers with the units us, ms, s, m, h, d and w.
        key: the setting that is read, for the message.

    Raises:
        InputError: the text is something else.
    """
    if not isinstance(text, str) or not _WHOLE.match(text.strip()):
        negative = isinstance(text, str) and text.strip().startswith("-") and _WHOLE.match(text.strip()[1:])
        why = ": it is negative" if negative else ""
        raise InputError(f"{key} is {text!r}, which is not a span of time{why}.", hint=HOW)
    return sum(round(float(number) * UNITS[unit]) for number, unit in _PART.findall(text))


def format_duration(span: int) -> str:
    """Return microseconds as the text that `parse_duration` reads back: 129600000000 is `1d12h`."""
    parts = []
    for unit, size in UNITS.items():
        number, span = divmod(span, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def rough_duration(span: int) -> str:
    """Return microseconds in their two largest units, of whole seconds: 93784005000 is `1d2h`."""
    return "".join(_PARTS_OF.findall(format_duration(span // UNITS["s"] * UNITS["s"]))[:2])
