"""Rows made up after a profile: types, missing values, distributions, categories, unique keys, valid references.

Numbers and times follow their histograms, and each other by the ranks' correlations (a Gaussian copula: Nelsen, An
Introduction to Copulas, 2006); all else is drawn column by column. Values of private columns are invented, and so are
texts that fewer than `FEWEST` rows share.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bascule.contracts.families import family_of
from bascule.errors import InputError
from bascule.profiles import figures, invented
from bascule.profiles.associations import ranks
from bascule.profiles.results import ColumnProfile, TableProfile

FEWEST = 5
TRIES = 60
PROSE = ("free text",)
DAY = 86_400
# Seconds of a period, so short that a moment in it is before the next one.
_EPOCH = datetime(1970, 1, 1)
_LENGTHS = {"minute": 60, "hour": 3600, "day": DAY, "week": 7 * DAY, "month": 28 * DAY, "quarter": 90 * DAY}

Random = np.random.Generator
Values = list[Any]


@dataclass(frozen=True)
class Reference:
    """Rows that columns refer to.

    Attributes:
        columns: the columns here.
        rows: for each of them the values there, as long as each other.
    """

    columns: tuple[str, ...]
    rows: tuple[Sequence[Any], ...]


@dataclass
class _Made:
    """What is known while rows are made."""

    profile: TableProfile
    random: Random
    rows: int
    private: frozenset[str]
    columns: dict[str, Values] = field(default_factory=dict)


def mock_rows(
    profile: TableProfile,
    schema: pa.Schema,
    rows: int,
    seed: int,
    *,
    key: Sequence[str] = (),
    references: Sequence[Reference] = (),
    private: Collection[str] = (),
) -> pa.Table:
    """Make up rows.

    Args:
        profile: what the rows are like.
        schema: the columns and types of the result.
        seed: the same one gives the same rows.
        key: columns that name a row; no two rows have the same values in them.
        references: rows of other tables that columns refer to.
        private: columns of which no value may be copied, besides those that the profile calls private.

    Raises:
        InputError: there are not as many different keys as rows are asked for.
    """
    tagged = frozenset(private) | {one.name for one in profile.private}
    made = _Made(profile, np.random.default_rng([seed, *profile.name.encode()]), rows, tagged)
    referring = {name for one in references for name in one.columns}
    uniform = _together(made)
    for column in profile.columns:
        if column.name in referring:
            continue
        if tuple(key) == (column.name,):
            made.columns[column.name] = _unique(made, column)
        else:
            made.columns[column.name] = _drawn(made, column, uniform.get(column.name))
    for one in references:
        _refer(made, one, alone=set(key) <= set(one.columns) and bool(key))
    _blank(made, {*key, *referring})
    if len(key) > 1 or set(key) & referring:
        _make_unique(made, key, references)
    arrays = [pa.array(_fitted(made.columns[one.name], one.type), one.type, from_pandas=True) for one in schema]
    return pa.Table.from_arrays(arrays, schema=pa.schema([pa.field(one.name, one.type) for one in schema]))


def _together(made: _Made) -> dict[str, NDArray[np.float64]]:
    """Return for each column of the matrix's numbers uniform values whose ranks correlate as the profile's do."""
    matrix = made.profile.matrix
    if matrix is None or made.rows < 2:
        return {}
    places = [place for place, kind in enumerate(matrix.kinds) if kind == "number"]
    if len(places) < 2:
        return {}
    rho = np.array([[matrix.values[i][j] or 0.0 for j in places] for i in places])
    wanted = 2 * np.sin(np.pi / 6 * rho)
    values, vectors = np.linalg.eigh((wanted + wanted.T) / 2)  # pairwise correlations need not fit together
    root = vectors * np.sqrt(np.clip(values, 1e-9, None))
    normal = made.random.standard_normal((made.rows, len(places))) @ root.T
    return {matrix.columns[place]: (ranks(normal[:, at]) - 0.5) / made.rows for at, place in enumerate(places)}


def _drawn(made: _Made, column: ColumnProfile, uniform: NDArray[np.float64] | None) -> Values:
    family, n = family_of(column.type), made.rows
    if column.missing >= made.profile.rows_read:
        return [None] * n
    if column.times is not None:
        return _times(made, column)
    if family in ("integer", "number"):
        return _numbers(made, column, uniform)
    if family == "boolean":
        yes = sum(one.rows for one in column.top if one.value == "true")
        return list(made.random.random(n) < yes / max(1, sum(one.rows for one in column.top)))
    if family == "string":
        return _texts(made, column)
    if family == "time":
        return [
            (datetime(1970, 1, 1) + timedelta(seconds=int(one))).time() for one in made.random.integers(86_400, size=n)
        ]
    return [None] * n  # lists, structures and bytes


def _numbers(made: _Made, column: ColumnProfile, uniform: NDArray[np.float64] | None) -> Values:
    found, n = column.numbers, made.rows
    whole = family_of(column.type) == "integer"
    at = uniform if uniform is not None else made.random.random(n)
    if found is None or found.minimum is None or found.maximum is None or column.name in made.private:
        values = made.random.integers(10**8, 10**9, size=n).astype(np.float64)  # its real ones are nobody's business
        return [int(one) if whole else float(one) for one in values]
    low, high = float(found.minimum), float(found.maximum)
    if column.top and (column.distinct or 0) <= len(column.top):
        weights = {float(one.value): one.rows for one in column.top if math.isfinite(float(one.value))}
        values = np.sort(np.array(list(weights)))
        shares = np.cumsum([weights[float(one)] for one in values]) / sum(weights.values())
        picked = values[np.searchsorted(shares, at, side="right").clip(0, len(values) - 1)]
    else:
        knots, levels = _distribution(column, low, high)
        scale = figures.SHRINK if max(abs(low), abs(high)) > figures.HUGE else 1.0
        picked = np.interp(at, levels, knots / scale) * scale
    if whole:
        # As whole numbers: 2^63 - 1 is a larger one as a float.
        return [min(max(int(one), int(found.minimum)), int(found.maximum)) for one in np.round(picked)]
    if found.decimals is not None:
        picked = np.round(picked, found.decimals)
    return [float(one) for one in picked]


def _distribution(column: ColumnProfile, low: float, high: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the values and levels between which the distribution function runs straight."""
    assert column.numbers is not None
    if column.histogram is not None:
        bins = column.histogram.bins
        ends = [high if one.high is None else min(max(one.high, low), high) for one in bins]
        counts = np.cumsum([0, *(one.rows for one in bins)])
        return np.array([low, *ends]), counts / max(int(counts[-1]), 1)
    known = column.numbers.quantiles
    return np.array([low, *(value for _, value in known), high]), np.array([0.0, *(level for level, _ in known), 1.0])


def _texts(made: _Made, column: ColumnProfile) -> Values:
    n, random = made.rows, made.random
    texts = column.texts
    shapes = [one.value for one in texts.shapes] if texts else []
    mean = round((texts.mean or 8) if texts else 8)
    shape = shapes[0] if shapes else "a"
    if column.name in made.private:
        kind = column.private or "private"
        return [invented.private(random, kind, shape, mean) for _ in range(n)]
    if column.meaning == "email":
        return [invented.private(random, "email", shape, mean) for _ in range(n)]
    if column.meaning == "uuid":
        return [str(UUID(bytes=random.bytes(16), version=4)) for _ in range(n)]
    if column.meaning == "url":
        return [f"https://example.org/{invented.word(random, 8)}" for _ in range(n)]
    common = [one for one in column.top if one.rows >= FEWEST and len(one.value) < 80]
    if column.meaning in PROSE and not common:
        return [invented.prose(random, int(one)) for one in random.poisson(max(mean, 4), size=n)]
    filled = max(made.profile.rows_read if column.top_of == "rows" else made.profile.rows_sampled, 1) - column.missing
    covered = min(1.0, sum(one.rows for one in common) / max(filled, 1)) if common else 0.0
    rest = max((column.distinct or 0) - len(common), 0)
    others = _others(made, column, shapes, mean, rest)
    covered = 1.0 if not others else covered if common else 0.0
    weights = np.array([one.rows for one in common], dtype=float)
    known = random.choice(len(common), size=n, p=weights / weights.sum()) if common else np.zeros(n, dtype=int)
    rare = random.integers(max(len(others), 1), size=n)
    often = random.random(n) < covered
    return [common[k].value if one else others[r] for one, k, r in zip(often, known, rare, strict=True)]


def _others(made: _Made, column: ColumnProfile, shapes: Sequence[str], mean: int, count: int) -> list[str]:
    """Return invented values that stand for those that few rows share, none of them one that many do."""
    if not count:
        return []
    texts = column.texts
    weights = np.array([one.rows for one in texts.shapes], dtype=float) if texts and texts.shapes else np.ones(1)
    shapes = list(shapes) or ["a"]
    real = {one.value for one in column.top}
    found: dict[str, None] = {}
    for _ in range(2 * min(count, made.rows)):
        shape = shapes[int(made.random.choice(len(shapes), p=weights / weights.sum()))]
        value = invented.like(made.random, shape, mean) if shape else ""
        if value not in real:
            found[value] = None
        if len(found) >= min(count, made.rows):
            break
    return list(found) or [invented.word(made.random, max(mean, 3))]


def _times(made: _Made, column: ColumnProfile) -> Values:
    times, n, random = column.times, made.rows, made.random
    assert times is not None
    if column.name in made.private or not times.counts:
        first, last = ((_EPOCH + timedelta(seconds=_seconds(at))).year for at in (times.minimum, times.maximum))
        span = (datetime(last, 12, 31) - datetime(first, 1, 1)).total_seconds()
        moments = [datetime(first, 1, 1) + timedelta(seconds=float(one)) for one in random.random(n) * span]
        if family_of(column.type) == "date" or times.midnight > 0.99:
            moments = [one.replace(hour=0, minute=0, second=0, microsecond=0) for one in moments]
    else:
        moments = _moments(made, column)
    return _written(column, moments)


def _moments(made: _Made, column: ColumnProfile) -> list[datetime]:
    times, random = column.times, made.random
    assert times is not None
    starts = np.array([_seconds(at) for at, _ in times.counts])
    weights = np.array([count for _, count in times.counts], dtype=float)
    length = _LENGTHS.get(times.unit, 365 * 86_400)
    picked = starts[random.choice(len(starts), size=made.rows, p=weights / weights.sum())]
    picked = picked + random.random(made.rows) * length
    picked = np.clip(picked, _seconds(times.minimum), _seconds(times.maximum))
    step = 86_400 if times.midnight > 0.99 or family_of(column.type) == "date" else 1
    return [_EPOCH + timedelta(seconds=int(one // step) * step) for one in picked]


def _written(column: ColumnProfile, moments: Sequence[datetime]) -> Values:
    """Return moments as the column holds them: dates, times, texts of its commonest shape, or numbers."""
    family, read = family_of(column.type), (column.times.read_as if column.times else None) or ""
    if family == "date":
        return [one.date() for one in moments]
    if family == "timestamp":
        zone = UTC if "ZONE" in column.type.upper() or column.type.upper() == "TIMESTAMPTZ" else None
        return [one.replace(tzinfo=zone) for one in moments]
    if family in ("integer", "number"):
        if "%Y%m%d" in read:
            return [int(one.strftime("%Y%m%d")) for one in moments]
        if "make_timestamp" in read:
            return [one.year for one in moments]
        unit = 1000 if "/ 1000" in read else 1
        return [int(one.replace(tzinfo=UTC).timestamp()) * unit for one in moments]
    if format_ := re.search(r"strptime\(.*?, '([^']+)'\)", read):
        return [one.strftime(format_[1]) for one in moments]
    shape = column.texts.shapes[0].value if column.texts and column.texts.shapes else ""
    if ":" not in shape:
        return [one.date().isoformat() for one in moments]
    return [one.isoformat(sep="T" if "A" in shape else " ") + ("Z" if shape.endswith("A") else "") for one in moments]


def _unique(made: _Made, column: ColumnProfile) -> Values:
    """Return as many different values as there are rows."""
    n, family = made.rows, family_of(column.type)
    order = made.random.permutation(n)
    if family in ("integer", "number") and column.times is None:
        hidden = column.name in made.private or column.numbers is None or column.numbers.minimum is None
        first = 10**9 if hidden else int(column.numbers.minimum or 0)  # type: ignore[union-attr]
        return [first + int(one) for one in order]
    if family == "string" and column.times is None:
        if column.meaning == "uuid":
            return [str(UUID(bytes=made.random.bytes(16), version=4)) for _ in range(n)]
        if "email" in (column.private, column.meaning):
            return [f"mock.{int(one)}@example.org" for one in order]
        if column.private == "phone":
            return [f"+1 555 {int(one):09d}" for one in order]
        texts = column.texts
        shape = texts.shapes[0].value if texts and texts.shapes else "A9"
        return list(invented.numbered(shape, order, round((texts.mean or 6) if texts else 6)))
    made.columns[column.name] = _drawn(made, column, None)
    _make_unique(made, (column.name,), ())
    return made.columns[column.name]


def _refer(made: _Made, one: Reference, *, alone: bool) -> None:
    """Let columns refer to rows of another table; to each at most once when they are the key."""
    count = len(one.rows[0])
    if alone and count < made.rows:
        raise InputError(
            f"{made.profile.name} is named by {', '.join(one.columns)}, and only {count:,} rows can be referred to.",
            hint=f"Ask for at most {count:,} rows, or mock the other table too.",
        )
    if not count:
        raise InputError(
            f"{', '.join(one.columns)} of {made.profile.name} refer to a table without rows.",
            hint="Mock that table too.",
        )
    picked = made.random.permutation(count)[: made.rows] if alone else _often(made, one)
    for name, values in zip(one.columns, one.rows, strict=True):
        made.columns[name] = [values[int(at)] for at in picked]


def _often(made: _Made, one: Reference) -> NDArray[np.int64]:
    """Draw rows to refer to, some as often as the commonest are in the real table: those, where they are there."""
    count = len(one.rows[0])
    column = made.profile.column(one.columns[0])
    common = column.top if column is not None and len(one.columns) == 1 and one.columns[0] not in made.private else ()
    if column is None or not common:
        return made.random.integers(count, size=made.rows)
    places = {str(value): place for place, value in enumerate(one.rows[0])}
    there = [(places[top.value], top.rows) for top in common if top.value in places]
    there = there or list(zip(range(count), (top.rows for top in common), strict=False))
    known = {place for place, _ in there}
    others = [place for place in range(count) if place not in known][: max((column.distinct or 0) - len(common), 0)]
    total = made.profile.rows_read if column.top_of == "rows" else made.profile.rows_sampled
    rest = max(total - column.missing - sum(top.rows for top in common), 0)
    weights = np.array(
        [*(rows for _, rows in there), *([rest / len(others)] * len(others) if others else [])], dtype=float
    )
    drawn: NDArray[np.int64] = made.random.choice(
        [*(place for place, _ in there), *others], size=made.rows, p=weights / weights.sum()
    )
    return drawn


def _blank(made: _Made, never: Collection[str]) -> None:
    """Take values away as they are missing: the patterns of the sample, or each column alone when those are not all."""
    profile, n = made.profile, made.rows
    missing = {
        one.name: one.missing / profile.rows_read for one in profile.columns if one.missing and profile.rows_read
    }
    found = profile.missing
    shown = sum(one.rows for one in found.patterns)
    if found.rows_sampled and shown >= 0.99 * found.rows_sampled:
        weights = np.array([one.rows for one in found.patterns], dtype=float) / shown
        picks = made.random.choice(len(found.patterns), size=n, p=weights)
        gone = {
            name: np.isin(picks, [k for k, one in enumerate(found.patterns) if name in one.columns]) for name in missing
        }
    else:
        gone = {name: made.random.random(n) < share for name, share in missing.items()}
    for name, rows in gone.items():
        if name not in never:
            values = made.columns[name]
            made.columns[name] = [None if out else value for value, out in zip(values, rows, strict=True)]


def _make_unique(made: _Made, key: Sequence[str], references: Sequence[Reference]) -> None:
    """Draw the keys of rows anew that another row has too.

    Raises:
        InputError: after many tries there are some left: the columns have too few values.
    """
    profile = made.profile
    for _ in range(TRIES):
        seen: set[tuple[Any, ...]] = set()
        again = []
        for row in range(made.rows):
            value = tuple(made.columns[name][row] for name in key)
            if value in seen:
                again.append(row)
            seen.add(value)
        if not again:
            return
        few = _Made(profile, made.random, len(again), made.private)
        referring = {name for one in references for name in one.columns}
        for name in key:
            column = profile.column(name)
            if column is not None and name not in referring:
                few.columns[name] = _drawn(few, column, None)
        for one in references:
            if set(one.columns) & set(key) and not set(key) <= set(one.columns):
                _refer(few, one, alone=False)
        for name, values in few.columns.items():
            for row, value in zip(again, values, strict=True):
                made.columns[name][row] = value
    raise InputError(
        f"{made.rows:,} rows of {profile.name} cannot all be told apart by {', '.join(key)}: {len(again):,} are alike.",
        hint="Ask for fewer rows.",
    )


def _fitted(values: Values, kind: pa.DataType) -> Values:
    """Return values that a type can hold."""
    if pa.types.is_decimal(kind):
        from decimal import Decimal

        return [None if one is None else Decimal(f"{float(one):.{kind.scale}f}") for one in values]
    if pa.types.is_integer(kind):
        return [None if one is None else int(one) for one in values]
    if pa.types.is_floating(kind):
        return [None if one is None else float(one) for one in values]
    if pa.types.is_timestamp(kind) and kind.tz is None:
        return [one.replace(tzinfo=None) if isinstance(one, datetime) else one for one in values]
    return values


def _seconds(text: str) -> float:
    """Return a moment as `moments.told` writes it, in seconds since 1970; the nearest that Python has a year for."""
    far, beyond, _ = text.partition(" s since 1970")
    if beyond:
        least, most = ((end - _EPOCH).total_seconds() for end in (datetime.min, datetime(9999, 12, 31)))
        return min(max(float(far), least), most)
    return (datetime.fromisoformat(text) - _EPOCH).total_seconds()
