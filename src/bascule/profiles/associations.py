"""What columns tell of each other, from a sample: rank correlation, Cramér's V and the correlation ratio.

Spearman's rho between numbers, and Pearson's r beside it. Spearman, American Journal of Psychology 15, 1904. Ranks
are those among all values of a column; rows that lack one of the two do not count.
Cramér's V between categories, corrected for chance: Bergsma, Journal of the Korean Statistical Society 42, 2013;
and Theil's U in both directions: Theil, American Journal of Sociology 76, 1970.
The correlation ratio (eta) of a number given a category, corrected for chance as epsilon squared: Kelley,
Proceedings of the National Academy of Sciences 21, 1935.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bascule.profiles.results import Matrix, Pair

ROWS = 50_000
MOST_COLUMNS = 50
MOST_LEVELS = 100
MOST_PAIRS = 30
WORTH_TELLING = 0.2
FEWEST_ROWS = 20

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def associate(
    numbers: Mapping[str, Floats], categories: Mapping[str, Codes], order: Sequence[str]
) -> tuple[Matrix | None, tuple[Pair, ...]]:
    """Measure every pair of columns, of the first fifty that vary.

    Args:
        numbers: name to values, NaN where there is none; as long as each other, in a shuffled order.
        categories: name to whole numbers that stand for the values, -1 where there is none.
        order: all columns as the table has them.

    Returns:
        All values, and the strongest pairs.
    """
    numbers = {name: values[:ROWS] for name, values in numbers.items() if _varies(values[:ROWS])}
    categories = {name: codes[:ROWS] for name, codes in categories.items() if 2 <= _levels(codes[:ROWS]) <= MOST_LEVELS}
    columns = [name for name in order if name in numbers or name in categories][:MOST_COLUMNS]
    if len(columns) < 2:
        return None, ()
    found = _numeric(columns, numbers)
    for left, right in combinations(columns, 2):
        pair = _mixed(left, right, numbers, categories)
        if pair is not None:
            found[left, right] = pair
    kinds: tuple[Literal["number", "category"], ...] = tuple("number" if n in numbers else "category" for n in columns)
    values = tuple(tuple(_value(found, left, right) for right in columns) for left in columns)
    strong = [one for one in found.values() if abs(one.value) >= WORTH_TELLING]
    strong.sort(key=lambda one: (-abs(one.value), one.left, one.right))
    return Matrix(columns=tuple(columns), kinds=kinds, values=values), tuple(strong[:MOST_PAIRS])


def ranks(values: Floats) -> Floats:
    """Return the ranks of the values that there are, equal ones at the mean of theirs; NaN where there is none."""
    known = ~np.isnan(values)
    _, inverse, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    found = np.full(values.shape, np.nan)
    found[known] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return found


def cramers_v(left: Codes, right: Codes) -> tuple[float, float, float, int] | None:
    """Return V with Bergsma's correction, Theil's U of the right given the left and the reverse, and the rows."""
    both = (left >= 0) & (right >= 0)
    n = int(both.sum())
    if n < FEWEST_ROWS:
        return None
    table = np.zeros((int(left.max()) + 1, int(right.max()) + 1))
    np.add.at(table, (left[both], right[both]), 1)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    r, k = table.shape
    if r < 2 or k < 2:
        return None
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / n
    phi = float(((table - expected) ** 2 / expected).sum()) / n
    phi = max(0.0, phi - (k - 1) * (r - 1) / (n - 1))
    smaller = min(k - (k - 1) ** 2 / (n - 1), r - (r - 1) ** 2 / (n - 1)) - 1
    of_left, of_right, joint = (_entropy(one / n) for one in (table.sum(1), table.sum(0), table.ravel()))
    mutual = of_left + of_right - joint
    v = math.sqrt(phi / smaller) if smaller > 0 else 0.0
    return min(v, 1.0), max(0.0, mutual / of_right), max(0.0, mutual / of_left), n


def correlation_ratio(codes: Codes, values: Floats) -> tuple[float, int] | None:
    """Return eta, corrected for chance, of a number given a category: 0 for none to 1, and the rows."""
    both = (codes >= 0) & ~np.isnan(values)
    n = int(both.sum())
    if n < FEWEST_ROWS:
        return None
    known, numbers = codes[both], values[both] - values[both].mean()
    counts = np.bincount(known)
    groups = int((counts > 0).sum())
    total = float((numbers**2).sum())
    if groups < 2 or n <= groups or not total > 0:
        return None
    sums = np.bincount(known, weights=numbers)
    between = float((sums[counts > 0] ** 2 / counts[counts > 0]).sum()) / total
    return math.sqrt(max(0.0, 1 - (1 - between) * (n - 1) / (n - groups))), n


def _numeric(columns: Sequence[str], numbers: Mapping[str, Floats]) -> dict[tuple[str, str], Pair]:
    names = [name for name in columns if name in numbers]
    if len(names) < 2:
        return {}
    values = np.column_stack([numbers[name] for name in names])
    pearson, rows = _correlations(values)
    spearman, _ = _correlations(np.column_stack([ranks(numbers[name]) for name in names]))
    found = {}
    for i, j in combinations(range(len(names)), 2):
        if rows[i, j] >= FEWEST_ROWS and np.isfinite(spearman[i, j]):
            found[names[i], names[j]] = Pair(
                left=names[i],
                right=names[j],
                measure="spearman",
                value=float(spearman[i, j]),
                pearson=float(pearson[i, j]) if np.isfinite(pearson[i, j]) else None,
                rows=int(rows[i, j]),
            )
    return found


def _correlations(values: Floats) -> tuple[Floats, Floats]:
    """Return Pearson's r of every two columns over the rows that have both, and how many these are."""
    known = (~np.isnan(values)).astype(np.float64)
    counts = known.sum(0)
    centred = np.where(known > 0, values, 0.0) - np.where(known > 0, np.nansum(values, 0) / np.maximum(counts, 1), 0.0)
    scale = np.sqrt((centred**2).sum(0) / np.maximum(counts, 1))
    centred = centred / np.where(scale > 0, scale, 1.0)
    n = known.T @ known
    with np.errstate(divide="ignore", invalid="ignore"):
        sums, squares, products = centred.T @ known, (centred**2).T @ known, centred.T @ centred
        covariance = products - sums * sums.T / n
        variance = squares - sums**2 / n
        found = covariance / np.sqrt(variance * variance.T)
    return np.clip(found, -1.0, 1.0), n


def _mixed(left: str, right: str, numbers: Mapping[str, Floats], categories: Mapping[str, Codes]) -> Pair | None:
    if left in categories and right in categories:
        both = cramers_v(categories[left], categories[right])
        if both is None:
            return None
        v, by_left, by_right, rows = both
        return Pair(
            left=left,
            right=right,
            measure="cramers_v",
            value=v,
            told_by_left=by_left,
            told_by_right=by_right,
            rows=rows,
        )
    if left in categories or right in categories:
        name, number = (left, right) if left in categories else (right, left)
        ratio = correlation_ratio(categories[name], numbers[number])
        if ratio is not None:
            return Pair(left=left, right=right, measure="correlation_ratio", value=ratio[0], rows=ratio[1])
    return None


def _value(found: Mapping[tuple[str, str], Pair], left: str, right: str) -> float | None:
    if left == right:
        return 1.0
    pair = found.get((left, right)) or found.get((right, left))
    return round(pair.value, 4) if pair is not None else None


def _varies(values: Floats) -> bool:
    known = values[~np.isnan(values)]
    return known.size >= FEWEST_ROWS and float(known.min()) < float(known.max())


def _levels(codes: Codes) -> int:
    return int(np.unique(codes[codes >= 0]).size)


def _entropy(shares: Floats) -> float:
    known = shares[shares > 0]
    return float(-(known * np.log(known)).sum())
