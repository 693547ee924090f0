"""Lengths of time written as text: `6h`, `30d`, `1d12h`."""

from __future__ import annotations

import re

from bascule.errors import InputError

UNITS = {
    "w": 7 * 86_400_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
_PART = re.compile(r"(\d+)(ms|us|[wdhms])")
_WHOLE = re.compile(r"(?:\d+(?:ms|us|[wdhms]))+")


def parse_duration(text: str, *, where: str = "") -> int:
    """Return a length of time in microseconds.

    Args:
        text: whole numbers with the units w, d, h, m, s, ms and us: `6h`, `1d12h`.
        where: what to name in the error, such as `[features.weather] ttl`.

    Raises:
        InputError: the text is not a length of time, or is zero.
    """
    place = f"{where}: " if where else ""
    if not isinstance(text, str) or not _WHOLE.fullmatch(text.strip()):
        raise InputError(f"{place}{text!r} is not a length of time.", hint="Write it as 90m, 6h, 7d, 2w or 1d12h.")
    length = sum(int(number) * UNITS[unit] for number, unit in _PART.findall(text))
    if length == 0:
        raise InputError(f"{place}{text!r} is no time at all.", hint="Leave the setting out to mean no limit.")
    return length


def format_duration(length: int) -> str:
    """Write microseconds as text that `parse_duration` reads back: 129600000000 is `1d12h`."""
    parts = []
    for unit, size in UNITS.items():
        number, length = divmod(length, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"
