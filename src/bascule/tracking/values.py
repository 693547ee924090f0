"""Values as parameters and tags hold them: texts. JSON has no NaN and no infinity; they are told apart from null."""

from __future__ import annotations

import math
from typing import Any

import msgspec


def as_text(value: Any) -> str:
    """Return a value as parameters hold it: a text as it is, anything else as JSON.

    `NaN`, `Infinity` and `-Infinity` stand for themselves; inside of lists and objects they are texts.
    """
    found = _sayable(value)
    return found if isinstance(found, str) else msgspec.json.encode(found).decode()


def _sayable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _sayable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_sayable(one) for one in value]
    return value
