"""Small charts, drawn on the server so that they can be read without JavaScript.

A chart is three SVG pieces (the y axis, the plot, the x axis), so that its text keeps its size while the plot takes the
width that there is. `charts.js` puts a plot with a cursor in its place where there is JavaScript.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import msgspec

from bascule.web.text import metric

WIDTH, HEIGHT = 1000.0, 100.0
# In percent of the plot: a character of a mark's words at the narrowest, where they turn to the left of their line, and
# how far apart the words of two limits must be. `charts.js` does the same in pixels.
CHARACTER, LATE, NEAR_LIMITS, MARK_ROWS = 3.0, 70.0, 14.0, 4
LEAST_SPAN = 1e-300  # of an axis: below it a fourth of it may be no number
SECOND = 1_000_000
TIME_STEPS = tuple(
    SECOND * seconds
    for seconds in (
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
        86400, 2 * 86400, 7 * 86400, 14 * 86400, 30 * 86400, 91 * 86400, 182 * 86400, 365 * 86400,
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One series. `low` and `high` draw a band behind it; `tone` is its place among the series' colours."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    tone: int = 1


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across the plot: a threshold (`y`) or a moment (`x`), with words."""

    label: str
    x: float | None = None
    y: float | None = None
    tone: str = "note"


@dataclass(frozen=True, slots=True)
class Label:
    """A tick: its place in percent of the plot and its text."""

    place: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A line as SVG paths in the plot's 1000 × 100 units."""

    name: str
    tone: int
    path: str
    band: str
    dots: str
    last: str


@dataclass(frozen=True, slots=True)
class DrawnMark:
    """A mark as an SVG path, and where its words go in percent: below those of near moments, left of a near limit's."""

    label: str
    tone: str
    path: str
    x: float | None
    y: float | None
    row: int = 0
    left: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """All that the template needs. `data` is what `charts.js` reads."""

    title: str
    unit: str
    x_unit: str
    lines: list[Drawn]
    marks: list[DrawnMark]
    x_labels: list[Label]
    y_labels: list[Label]
    data: str
    rows: list[list[str]]
    head: list[str]
    empty: str = ""

    @property
    def said(self) -> str:
        """The chart in words: what, from when to when, and the last value of each line."""
        if not self.rows:
            return self.title
        last = []
        for place, name in enumerate(self.head[1:], 1):
            value = next((row[place] for row in reversed(self.rows) if row[place]), "")
            last.append(f"{name} {value}")
        unit = f", {self.unit}" if self.unit else ""
        x = self.x_unit or self.head[0]
        span = (
            f"from {self.rows[0][0]} to {self.rows[-1][0]} ({x})"
            if len(self.rows) > 1
            else f"at {self.rows[0][0]} ({x})"
        )
        return f"{self.title}{unit}, {span}; last: {', '.join(last)}"


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    ticks: list[float] = field(default_factory=list)

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5


def chart(
    title: str,
    lines: Sequence[Line],
    *,
    unit: str = "",
    x_unit: str = "",
    time: bool = True,
    from_zero: bool = False,
    marks: Sequence[Mark] = (),
    empty: str = "Nothing was measured yet.",
) -> Chart:
    """Draw lines over time (x in microseconds since the epoch, shown in UTC) or over any number.

    Args:
        unit: of the values: a word such as "ms", or "%" for shares, which are then shown times 100.
        x_unit: of x, when it is not a time.
        from_zero: let the y axis begin at zero.
    """
    drawn = [line for line in lines if any(_finite(y) for y in line.ys)]
    if not drawn:
        return Chart(title, unit, x_unit, [], [], [], [], "", [], [], empty)
    xs = _extent([x for line in drawn for x in line.xs])
    values = [v for line in drawn for v in (*line.ys, *line.low, *line.high) if v is not None and math.isfinite(v)]
    values += [mark.y for mark in marks if mark.y is not None]
    y = _number_scale(*_extent([*values, *([0.0] if from_zero else [])]))
    x = _time_scale(*xs) if time else _Scale(*xs, [t for t in _number_scale(*xs).ticks if xs[0] <= t <= xs[1]])
    show = _share_text if unit == "%" else _number_text(y.ticks)
    x_text = _time_text(x) if time else _number_text(x.ticks)
    return Chart(
        title=title,
        unit=unit,
        x_unit="UTC" if time else x_unit,
        lines=[_draw(line, x, y) for line in drawn],
        marks=_spread([_draw_mark(mark, x, y) for mark in marks if mark.x is None or x.low <= mark.x <= x.high]),
        x_labels=_x_labels(x, x_text),
        y_labels=[Label(100 - 100 * y.share(tick), show(tick), "end") for tick in y.ticks],
        data=_data(drawn, marks, unit, time, y, [show(tick) for tick in y.ticks]),
        rows=_rows(drawn, time, _share_text if unit == "%" else metric),
        head=["Time (UTC)" if time else x_unit or "x", *(line.name for line in drawn)],
    )


def bars(values: Iterable[tuple[str, float]], most: float | None = None) -> list[tuple[str, float, float]]:
    """Return (name, value, width in percent) for a list of horizontal bars."""
    found = list(values)
    top = most if most is not None else max((abs(value) for _, value in found), default=0.0)
    return [(name, value, 100 * abs(value) / top if top else 0.0) for name, value in found]


def sparkline(ys: Sequence[float | None]) -> str:
    """Return the path of a line without axes, in 1000 × 100 units; empty when there is nothing to draw."""
    known = [y for y in ys if y is not None and math.isfinite(y)]
    if len(known) < 2:
        return ""
    return _path(range(len(ys)), ys, _Scale(0, max(len(ys) - 1, 1)), _Scale(*_padded(min(known), max(known))))


def _draw(line: Line, x: _Scale, y: _Scale) -> Drawn:
    path = _path(line.xs, line.ys, x, y)
    few = len(line.xs) <= 40
    dots = "".join(f"M{_at(a, b, x, y)}h0" for a, b in zip(line.xs, line.ys, strict=True) if _finite(b)) if few else ""
    last = next((f"M{_at(a, b, x, y)}h0" for a, b in zip(line.xs[::-1], line.ys[::-1], strict=True) if _finite(b)), "")
    return Drawn(line.name, line.tone, path, _band(line, x, y), dots, last)


def _path(xs: Iterable[float], ys: Iterable[float | None], x: _Scale, y: _Scale) -> str:
    parts, pen_down = [], False
    for a, b in zip(xs, ys, strict=True):
        if not _finite(b):
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{_at(a, b, x, y)}")
        pen_down = True
    return "".join(parts)


def _band(line: Line, x: _Scale, y: _Scale) -> str:
    edges = [
        (a, low, high)
        for a, low, high in zip(line.xs, line.low or (), line.high or (), strict=False)
        if _finite(low) and _finite(high)
    ]
    if len(edges) < 2:
        return ""
    there = "L".join(_at(a, high, x, y) for a, _, high in edges)
    back = "L".join(_at(a, low, x, y) for a, low, _ in reversed(edges))
    return f"M{there}L{back}Z"


def _at(a: float, b: float | None, x: _Scale, y: _Scale) -> str:
    assert b is not None
    return f"{WIDTH * x.share(a):.1f} {HEIGHT - HEIGHT * y.share(b):.2f}"


def _draw_mark(mark: Mark, x: _Scale, y: _Scale) -> DrawnMark:
    if mark.y is not None:
        place = HEIGHT - HEIGHT * y.share(mark.y)
        return DrawnMark(mark.label, mark.tone, f"M0 {place:.2f}H{WIDTH:.0f}", None, 100 * place / HEIGHT)
    place = WIDTH * x.share(mark.x or 0.0)
    return DrawnMark(mark.label, mark.tone, f"M{place:.1f} 0V{HEIGHT:.0f}", 100 * place / WIDTH, None)


def _spread(marks: Sequence[DrawnMark]) -> list[DrawnMark]:
    """Keep the marks' words off each other, also on a phone. What finds no room keeps its line and loses its words."""
    taken: list[list[tuple[float, float]]] = [[] for _ in range(MARK_ROWS)]
    heights: list[float] = []
    spread = []
    for mark in marks:
        if mark.y is not None:
            near = [y for y in heights if abs(y - mark.y) < NEAR_LIMITS]
            heights.append(mark.y)
            spread.append(replace(mark, left=len(near) == 1, label=mark.label if len(near) < 2 else ""))
        elif mark.x is not None:
            width = CHARACTER * (len(mark.label) + 1)
            span = (mark.x - width, mark.x) if mark.x > LATE else (mark.x, mark.x + width)
            row = next((n for n, row in enumerate(taken) if all(span[1] <= a or b <= span[0] for a, b in row)), None)
            if row is not None:
                taken[row].append(span)
            spread.append(replace(mark, row=row or 0, label="" if row is None else mark.label))
    return spread


def _extent(values: Sequence[float]) -> tuple[float, float]:
    return (min(values), max(values))


def _padded(low: float, high: float) -> tuple[float, float]:
    if low == high:
        room = abs(low) * 0.1 or 1.0
        return low - room, high + room
    return low, high


def _number_scale(low: float, high: float, wanted: int = 4) -> _Scale:
    """A scale that begins and ends at a round number."""
    low, high = _padded(low, high) if low != 0 or high != 0 else (0.0, 1.0)
    if high - low < LEAST_SPAN:
        high = low + 1.0
    rough = (high - low) / wanted
    exponent = math.floor(math.log10(rough))
    power = 10.0**exponent
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(step * k, max(12, 2 - exponent)) for k in range(first, last + 1)]
    return _Scale(ticks[0], ticks[-1], ticks)


def _time_scale(low: float, high: float, wanted: int = 5) -> _Scale:
    if low == high:
        low, high = low - 30 * SECOND, high + 30 * SECOND
    step = next((s for s in TIME_STEPS if (high - low) / s <= wanted), TIME_STEPS[-1])
    ticks = [float(t) for t in range(math.ceil(low / step) * step, int(high) + 1, step)]
    return _Scale(low, high, ticks)


def _x_labels(x: _Scale, text: Callable[[float], str]) -> list[Label]:
    labels = []
    for tick in x.ticks:
        place = 100 * x.share(tick)
        labels.append(Label(place, text(tick), "start" if place < 4 else "end" if place > 96 else "middle"))
    return labels


def _time_text(scale: _Scale) -> Callable[[float], str]:
    step = scale.ticks[1] - scale.ticks[0] if len(scale.ticks) > 1 else scale.high - scale.low
    day = 86400 * SECOND
    pattern = "%H:%M:%S" if step < 60 * SECOND else "%H:%M" if step < day else "%d %b" if step < 300 * day else "%Y"
    return lambda at: _moment(at, pattern)


def _moment(at: float, pattern: str) -> str:
    text = datetime.fromtimestamp(at / SECOND, UTC).strftime(pattern)
    return text.removeprefix("0") if pattern == "%d %b" else text


def _number_text(ticks: Sequence[float]) -> Callable[[float], str]:
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    digits = max(0, -math.floor(math.log10(abs(step)) + 1e-9)) if step else 0
    digits += 1 if step and round(step * 10**digits, 9) % 1 else 0
    return lambda value: short_number(value, digits)


def short_number(value: float, digits: int) -> str:
    """Return 12,500,000 as 12.5M: at most five characters where that can be."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.4g}{letter}"
    return f"{value:,.{digits}f}"


def _share_text(value: float) -> str:
    return f"{100 * value:.4g}"


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _data(lines: Sequence[Line], marks: Sequence[Mark], unit: str, time: bool, y: _Scale, ticks: Sequence[str]) -> str:
    scale = 1e-6 if time else 1.0
    xs = sorted({x for line in lines for x in line.xs})
    series = []
    for line in lines:
        found = {"name": line.name, "tone": line.tone, "y": _aligned(xs, line.xs, line.ys)}
        if line.low and line.high:
            found |= {"low": _aligned(xs, line.xs, line.low), "high": _aligned(xs, line.xs, line.high)}
        series.append(found)
    shown = [{"label": m.label, "tone": m.tone, "x": m.x * scale if m.x is not None else None, "y": m.y} for m in marks]
    said = {
        "x": [x * scale for x in xs],
        "series": series,
        "marks": shown,
        "unit": unit,
        "time": time,
        "y": y.ticks,
        "shown": ticks,
    }
    # "<" would let a name end the script element that holds this.
    return msgspec.json.encode(said).decode().replace("<", "\\u003c")


def _aligned(xs: Sequence[float], own: Sequence[float], values: Sequence[float | None]) -> list[float | None]:
    at = dict(zip(own, values, strict=True))
    return [value if _finite(value := at.get(x)) else None for x in xs]


def _rows(lines: Sequence[Line], time: bool, show: Callable[[float], str], most: int = 60) -> list[list[str]]:
    """The numbers behind a chart as a table, thinned to `most` rows, the last one kept."""
    xs = sorted({x for line in lines for x in line.xs})
    kept = xs[:: -(-len(xs) // most) * -1][::-1]
    columns = [dict(zip(line.xs, line.ys, strict=True)) for line in lines]
    rows = []
    for x in kept:
        when = datetime.fromtimestamp(x / SECOND, UTC).strftime("%Y-%m-%d %H:%M:%S") if time else f"{x:g}"
        values = [column.get(x) for column in columns]
        rows.append([when, *("" if value is None or not math.isfinite(value) else show(value) for value in values)])
    return rows
