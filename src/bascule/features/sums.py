"""Sums of doubles, and the means and variances made of them: one rule, in SQL and in Python.

A sum is what the exact sum rounded once would be, as far as digits go: infinite where the exact sum is beyond the
largest double, and only there. That sums on the way would be does not matter, because values are added at a 2^32nd of
their size: so four billion of the largest fit, and nothing is lost but what a value has below 10^-313. Of values below
2^90 whole numbers are added exactly, as such, so that 10^17, 1 and -10^17 leave 1. A mean lies
between the least and the greatest value, and so is finite. A variance is infinite where the sum of the squared
deviations is. None of them is ever NaN: values that are not finite are left out before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

LARGEST = 1.7976931348623157e308
SHRUNK = 2.0**-32
GROWN = 2.0**32
WHOLE = 2.0**90
INFINITY = "CAST('Infinity' AS DOUBLE)"


def shrunk(double: str) -> str:
    """SQL of a double that can be added up."""
    return f"({double}) * CAST({SHRUNK!r} AS DOUBLE)"


def parts(double: str) -> tuple[str, str, str]:
    """SQL of the whole number in a double (HUGEINT), of its fraction, and of a double that is 2^90 or more.

    Each is exact, what a value does not have is 0, and null has none. Added up apart, amounts that take each other back
    leave what they should: whole numbers are added without loss (2^37 values fit), where an engine's compensated sum
    loses as many digits as the largest amount has more than what is left.
    """
    # Not by trunc(), which means dates to some engines.
    whole = f"CASE WHEN {double} < 0 THEN ceil({double}) ELSE floor({double}) END"
    none, fits = "CAST(0 AS DOUBLE)", f"abs({double}) < CAST({WHOLE!r} AS DOUBLE)"
    return (
        f"CASE WHEN {fits} THEN CAST({whole} AS HUGEINT) WHEN {double} IS NOT NULL THEN CAST(0 AS HUGEINT) END",
        f"CASE WHEN {fits} THEN {double} - {whole} WHEN {double} IS NOT NULL THEN {none} END",
        f"CASE WHEN {fits} THEN {none} ELSE {double} END",
    )


def grown(total: str) -> str:
    """SQL of what was added up so, or of its mean."""
    return f"{total} * CAST({GROWN!r} AS DOUBLE)"


def mean_sql(mean: str) -> str:
    """SQL of a mean, where rounding has led beyond the largest double that one."""
    largest = f"CAST({LARGEST!r} AS DOUBLE)"
    return f"CASE WHEN {mean} > {largest} THEN {largest} WHEN {mean} < -{largest} THEN -{largest} ELSE {mean} END"


def spread_sql(spread: str) -> str:
    """SQL of a variance or deviation as an engine gives it, where that is not finite Infinity, and null of none."""
    return f"CASE WHEN {spread} - {spread} = 0 THEN {spread} WHEN {spread} IS NOT NULL THEN {INFINITY} END"


def summed(values: Sequence[float]) -> float:
    """The sum of finite numbers, rounded once."""
    return math.fsum([value * SHRUNK for value in values]) * GROWN


def averaged(values: Sequence[float]) -> float:
    """The mean of one finite number or more."""
    return bounded(math.fsum([value * SHRUNK for value in values]) / len(values) * GROWN)


def bounded(mean: float) -> float:
    """A mean, where rounding has led beyond the largest double that one."""
    return min(max(mean, -LARGEST), LARGEST)


def varied(values: Sequence[float]) -> float:
    """The variance of a sample of two finite numbers or more; what the mean was rounded by is taken back."""
    mean, count = averaged(values), len(values)
    apart = [value - mean for value in values]
    squares = summed([distance * distance for distance in apart])
    if squares == math.inf:
        return math.inf if min(values) < max(values) else 0.0
    rest = summed(apart)
    return max(squares - rest * (rest / count), 0.0) / (count - 1)
