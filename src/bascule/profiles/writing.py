"""How texts are written: their shapes, and values that differ in nothing but capitals."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from bascule.profiles.results import Top

MOST_SHAPES = 6
LONGEST_SHAPE = 40
_NUMBER = re.compile(r"\s*[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?\s*")


def shape(value: str) -> str:
    """Return how a text is written: `AB-1234` as `A-9`, `Ann Lee` as `Aa Aa`."""
    found: list[str] = []
    for letter in value[: 4 * LONGEST_SHAPE]:
        sign = "9" if letter.isdigit() else "A" if letter.isupper() else "a" if letter.isalpha() else letter
        if not found or found[-1] != sign:
            found.append(sign)
    text = "".join(found)
    return text if len(text) <= LONGEST_SHAPE else text[: LONGEST_SHAPE - 1] + "…"


def shapes(values: Sequence[str]) -> tuple[Top, ...]:
    """Return the commonest shapes of some values."""
    counted = Counter(map(shape, values))
    return tuple(
        Top(text, count) for text, count in sorted(counted.items(), key=lambda one: (-one[1], one[0]))[:MOST_SHAPES]
    )


def same_but_case(values: Sequence[str]) -> int:
    """Return how many different values are another one in other capitals, or with blanks around it."""
    different = set(values)
    return len(different) - len({value.strip().casefold() for value in different})


def numeric(values: Sequence[str]) -> float:
    """Return the share of values that read as a number."""
    return sum(bool(_NUMBER.fullmatch(value)) for value in values) / len(values) if values else 0.0
