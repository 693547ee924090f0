"""The statistics of drift, on counts in cells: how far apart two samples are, and whether chance explains it.

Sources:
    Lin, Divergence measures based on the Shannon entropy, IEEE Transactions on Information Theory 1991.
    Pearson's chi-squared test of homogeneity; Fisher's exact test (hypergeometric tail) for cells that are rare.
    Benjamini & Hochberg, Controlling the false discovery rate, JRSS-B 1995.
    Patnaik, The non-central chi-squared and F distributions, Biometrika 1949, for the spread of the distance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]

# A cell that should hold fewer rows than this in the window is rare: Pearson's approximation asks for five.
RARE = 5.0
# The divergence in bits of two close samples is chi-squared / (8 ln 2) * (1/n + 1/m).
PER_BIT = 8.0 * math.log(2.0)
Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a window's counts lie from the reference's.

    Attributes:
        effect: the Jensen-Shannon distance (base 2, 0 to 1) of what is *not* explained by the size of the samples: the
            root of the divergence less its null level, 0 when there is nothing left.
        low: lower end of a 95 % interval of `effect`.
        high: upper end.
        distance: the Jensen-Shannon distance as observed.
        null_level: the divergence, in bits, that two samples of these sizes have on average without any drift.
        p: the chance of so much difference without drift.
    """

    effect: float
    low: float
    high: float
    distance: float
    null_level: float
    p: float


def compare(window: Sequence[float] | Counts, reference: Sequence[float] | Counts) -> Difference:
    """Compare counts in the same cells.

    Cells in which fewer than five of the window's rows are to be expected count as one, tested exactly and only for
    excess; the others are tested by Pearson's chi-squared. The p-value is twice the smaller one. What is expected is
    the cell's share of both samples together: given that, the null says nothing else of the cell, and the choice
    cannot bend the tests.

    Args:
        window: rows of the window in each cell.
        reference: rows of the reference in each cell.

    Raises:
        ValueError: when either is empty or the cells differ.
    """
    x, r = np.asarray(window, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    n, m = float(x.sum()), float(r.sum())
    if x.shape != r.shape or n <= 0 or m <= 0:
        raise ValueError(f"cannot compare {n:g} rows in {x.shape} cells with {m:g} rows in {r.shape} cells")
    rare = (x + r) * n / (n + m) < RARE
    regular_x, regular_r = x[~rare], r[~rare]
    rare_x, rare_r = float(x[rare].sum()), float(r[rare].sum())
    pooled_x, pooled_r = np.append(regular_x, rare_x), np.append(regular_r, rare_r)
    p = min(1.0, 2.0 * min(_homogeneity(pooled_x, pooled_r), excess_p(rare_x, n, rare_r, m)))
    sizes = 1.0 / n + 1.0 / m
    freedom = max(1, len(regular_x) - 1 + (rare_x + rare_r > 0))
    observed, null = divergence(pooled_x, pooled_r), freedom * sizes / PER_BIT
    beyond = observed - null
    # The scaled divergence is about non-central chi-squared: its variance is 2 (k + 2 lambda).
    spread = Z95 * math.sqrt(2.0 * (freedom + 2.0 * max(0.0, beyond) * PER_BIT / sizes)) * sizes / PER_BIT
    return Difference(
        effect=_root(beyond),
        low=_root(beyond - spread),
        high=_root(beyond + spread),
        distance=_root(observed),
        null_level=null,
        p=p,
    )


def divergence(a: Counts, b: Counts) -> float:
    """The Jensen-Shannon divergence of two samples in bits, between 0 and 1."""
    p, q = a / a.sum(), b / b.sum()
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log2(p / middle), 0.0) + np.where(q > 0, q * np.log2(q / middle), 0.0)
    return max(0.0, float(terms.sum()) / 2)


def _homogeneity(x: Counts, r: Counts) -> float:
    """Pearson's test that two samples have one distribution. The last cell, of the rare ones, may be left out."""
    n, m = x.sum(), r.sum()
    keep = np.ones(len(x), dtype=bool)
    keep[-1] = (x[-1] + r[-1]) * n / (n + m) >= RARE
    x, r = x[keep], r[keep]
    if len(x) < 2 or x.sum() == 0 or r.sum() == 0:
        return 1.0
    both = (x + r) / (x.sum() + r.sum())
    n, m = x.sum(), r.sum()
    statistic = float((((x - n * both) ** 2) / (n * both)).sum() + (((r - m * both) ** 2) / (m * both)).sum())
    return chi_squared_p(statistic, len(x) - 1)


def excess_p(x: float, n: float, r: float, m: float) -> float:
    """Fisher's exact chance of x or more of n rows in a cell that holds r of m reference rows, without drift."""
    total = x + r
    if x <= 0 or x * m <= r * n:
        return 1.0
    log_all = _log_choose(n + m, total)
    chance, k = 0.0, x
    while k <= min(total, n):
        term = math.exp(_log_choose(n, k) + _log_choose(m, total - k) - log_all)
        chance += term
        if term <= chance * 1e-12:
            break
        k += 1
    return min(1.0, chance)


def chi_squared_p(statistic: float, freedom: int) -> float:
    """The upper tail of the chi-squared distribution: the regularised incomplete gamma function Q(k/2, x/2).

    By its series below the mean and its continued fraction above (Press et al., Numerical Recipes, section 6.2).
    """
    a, x = freedom / 2.0, statistic / 2.0
    if x <= 0:
        return 1.0
    front = math.exp(-x + a * math.log(x) - math.lgamma(a))
    if x < a + 1:
        term = total = 1.0 / a
        step = a
        while abs(term) > abs(total) * 1e-15:
            step += 1
            term *= x / step
            total += term
        return max(0.0, 1.0 - total * front)
    b = x + 1.0 - a
    c, d = 1e300, 1.0 / b
    value = d
    for i in range(1, 10_000):
        an = -i * (i - a)
        b += 2.0
        d = 1.0 / (an * d + b)
        c = b + an / c
        value *= d * c
        if abs(d * c - 1.0) < 1e-15:
            break
    return front * value


def false_discovery(p: Sequence[float]) -> list[float]:
    """The p-values of one window adjusted by Benjamini and Hochberg: reject those below the rate that is allowed."""
    if len(p) == 0:
        return []
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)[::-1]
    ranks = np.arange(len(values), 0, -1)
    found = np.empty(len(values))
    found[order] = np.minimum.accumulate(np.minimum(values[order] * len(values) / ranks, 1.0))
    return [float(q) for q in found]


def _log_choose(n: float, k: float) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _root(value: float) -> float:
    return math.sqrt(max(0.0, value))
