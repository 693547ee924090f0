"""What each input added to a score, drawn: from the base, one input after the other, to the sum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple

MARK = 0.8  # percent of the width: how thick the base and the score are drawn
MARKED, MORE, LESS = "6", "1", "2"


class Bar(NamedTuple):
    """One row of the drawing.

    Attributes:
        name: of the input; `base` and `sum` of the first and the last row.
        text: its number, of an input with its sign.
        start: where its bar begins, in percent of the width.
        width: of its bar, in percent; 0 where there is none.
        tone: of its bar: whether the input adds or takes away.
    """

    name: str
    text: str
    start: float
    width: float
    tone: str


def waterfall(numbers: Mapping[str, float]) -> list[Bar]:
    """Return a row for the base, one for each input, and one for their sum, the score.

    Args:
        numbers: the base first, then what each input adds.
    """
    names, values = list(numbers), list(numbers.values())
    sums = list(accumulate(values))
    low, high = (min(sums), max(sums)) if all(map(math.isfinite, sums)) else (0.0, 0.0)
    room = high - low

    def bar(name: str, text: str, sides: tuple[float, float], tone: str) -> Bar:
        if not room:
            return Bar(name, text, 0.0, 0.0, tone)
        start, end = ((side - low) / room * (100 - MARK) for side in sorted(sides))
        return Bar(name, text, start, end - start + (MARK if tone == MARKED else 0.0), tone)

    rows = [bar(names[0], f"{values[0]:.4g}", (sums[0], sums[0]), MARKED)]
    for place, (name, value) in enumerate(zip(names[1:], values[1:], strict=True), start=1):
        rows.append(bar(name, f"{value:+.4g}", (sums[place - 1], sums[place]), MORE if value >= 0 else LESS))
    return [*rows, bar("sum", f"{sums[-1]:.4g}", (sums[-1], sums[-1]), MARKED)]
