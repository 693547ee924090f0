"""Sizes as people write them: `128MB`, `1.5GB`, `4096`. The one place that reads and writes them."""

from __future__ import annotations

import re

from bascule.errors import InputError

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_WHOLE = re.compile(r"^(\d+(?:\.\d+)?) ?([KMGT]?B)?$", re.IGNORECASE)


def parse_size(text: str, *, key: str = "The size") -> int:
    """Return a size such as `128MB` in bytes.

    Args:
        text: a number, and a unit of B, KB, MB, GB and TB (thousands); without one it is bytes.
        key: the setting that is read, for the message.

    Raises:
        InputError: the text is something else.
    """
    match = _WHOLE.match(text.strip())
    if match is None:
        raise InputError(f"{key} is {text!r}, which is no size.", hint="Write a number and a unit, such as 128MB.")
    return round(float(match[1]) * UNITS[(match[2] or "B").upper()])


def format_size(size: int) -> str:
    """Return bytes as people read them: 128000000 is `128.0 MB`."""
    for unit, factor in reversed(UNITS.items()):
        if size >= factor and factor > 1:
            return f"{size / factor:,.1f} {unit}"
    return f"{size} B"
