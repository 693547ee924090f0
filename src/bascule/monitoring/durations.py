"""Lengths of time as people write them: 6h, 14d."""

from __future__ import annotations

import re

from bascule.errors import InputError

PATTERN = re.compile(r"(\d+)\s*(s|m|h|d|w)")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def duration_us(text: str) -> int:
    """Return a length of time such as `6h` or `14d` in microseconds.

    Raises:
        InputError: when it is not one.
    """
    found = PATTERN.fullmatch(text.strip())
    if found is None:
        raise InputError(f"{text!r} is not a length of time.", hint="Write a number and one of s, m, h, d, w: 6h, 14d.")
    return int(found[1]) * SECONDS[found[2]] * 1_000_000
