"""The pictures of a profile as numbers for SVG: bars between 0 and 100, without scripts, colours or styles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from bascule.profiles.results import Bin, ColumnProfile, Histogram, Matrix, Times
from bascule.project.reviewing.words import figure

HEIGHT = 60.0
CELL = 18


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart that is 100 wide and `HEIGHT` high, and what it stands for."""

    x: float
    width: float
    y: float
    height: float
    said: str
    open: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars with the words below them: at the left, the middle and the right."""

    said: str
    bars: tuple[Bar, ...]
    left: str
    middle: str
    right: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the matrix: where, how strong (0 to 1), whether negative, and what is said of it."""

    x: int
    y: int
    strength: float
    negative: bool
    said: str


def of_histogram(name: str, found: Histogram, least: float | None = None) -> Chart:
    """Draw counts of numbers, of which `least` is the least: the axis begins there, not where its bin does."""
    most = max((one.rows for one in found.bins), default=0) or 1
    width = 100 / len(found.bins)
    bars = []
    for place, one in enumerate(found.bins):
        height = _height(one.rows, most)
        span = _span(one, whole=found.whole)
        bars.append(
            Bar(place * width, width, HEIGHT - height, height, f"{span}: {one.rows:,}", None in (one.low, one.high))
        )
    first, last = found.bins[0], found.bins[-1]
    left = f"≤ {figure(first.high)}" if first.low is None else figure(_start(first.low, least, whole=found.whole))
    right = f"> {figure(last.low)}" if last.high is None else figure(last.high)
    middle = "log scale" if found.scale == "log" else ""
    return Chart(f"Histogram of {name}, {left} to {right}", tuple(bars), left, middle, right)


def of_times(name: str, found: Times) -> Chart | None:
    """Draw how many rows each period has; each period has its place, also one without rows."""
    if not found.counts:
        return None
    moments = [_seconds(at) for at, _ in found.counts]
    if None in moments:
        return None
    seconds = [one for one in moments if one is not None]
    steps = [b - a for a, b in pairwise(seconds)]
    step = min(steps) if steps else 1.0
    span = seconds[-1] - seconds[0] + step
    most = max(count for _, count in found.counts) or 1
    bars = []
    for at, (told, count) in zip(seconds, found.counts, strict=True):
        height = _height(count, most)
        bars.append(
            Bar(100 * (at - seconds[0]) / span, 100 * step / span, HEIGHT - height, height, f"{told}: {count:,}")
        )
    words = f"rows a {found.unit}, up to {most:,}"
    return Chart(f"Rows of {name} over time", tuple(bars), found.counts[0][0][:10], words, found.counts[-1][0][:10])


def chart(column: ColumnProfile) -> Chart | None:
    """Return a column's chart over numbers or time; None when its values are shown one by one, or not at all."""
    if column.histogram is not None and column.histogram.bins:
        least = column.numbers.minimum if column.numbers is not None else None
        return of_histogram(column.name, column.histogram, least)
    return of_times(column.name, column.times) if column.times is not None else None


def cells(found: Matrix) -> list[Cell]:
    """Return the cells of a matrix, those that are known."""
    drawn = []
    for row, left in enumerate(found.columns):
        for column, right in enumerate(found.columns):
            value = found.values[row][column]
            if value is not None:
                drawn.append(Cell(column * CELL, row * CELL, abs(value), value < 0, f"{left}, {right}: {value:.2f}"))
    return drawn


def widths(rows: Sequence[int]) -> list[float]:
    """Return the widths of horizontal bars, 0 to 100."""
    most = max(rows, default=0)
    return [100 * one / most if most else 0.0 for one in rows]


def _start(low: float, least: float | None, *, whole: bool) -> float:
    start = low + 1 if whole else low
    return start if least is None else max(start, least)


def _span(one: Bin, *, whole: bool) -> str:
    """Return what values a bin holds; of whole numbers the first one is said."""
    low, high = figure(one.low + 1 if whole and one.low is not None else one.low), figure(one.high)
    if one.low is None:
        return f"at most {high}"
    if one.high is None:
        return f"from {low}" if whole else f"above {low}"
    return high if low == high else f"{low} to {high}"


def _height(count: int, most: int) -> float:
    """Return a bar's height: what is there is seen, however little."""
    return max(HEIGHT * count / most, 0.7) if count else 0.0


def _seconds(text: str) -> float | None:
    try:
        return (datetime.fromisoformat(text) - datetime(1970, 1, 1)).total_seconds()
    except ValueError:
        return None
