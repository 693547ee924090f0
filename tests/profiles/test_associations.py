"""What goes together, against SciPy and worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.profiles.associations import associate, correlation_ratio, cramers_v, ranks

stats = pytest.importorskip("scipy.stats")


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_rank_correlation_is_scipys(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = random.integers(0, 20, 80).astype(float)
    y = np.round(x * random.random(80) * 3)
    _, pairs = associate({"x": x, "y": y}, {}, ["x", "y"])
    matrix, _ = associate({"x": x, "y": y}, {}, ["x", "y"])
    assert matrix is not None
    assert matrix.values[0][1] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-4)
    if pairs:
        assert pairs[0].pearson == pytest.approx(stats.pearsonr(x, y).statistic)


def test_rows_that_lack_a_value_do_not_count() -> None:
    x = np.array([float(k) for k in range(40)] + [np.nan] * 5)
    y = np.array([np.nan] * 3 + [2.0 * k for k in range(3, 40)] + [1e9] * 5)
    _, pairs = associate({"x": x, "y": y}, {}, ["x", "y"])
    assert (pairs[0].rows, pairs[0].pearson) == (37, pytest.approx(1.0))


def test_ranks_of_equal_values_are_the_mean() -> None:
    assert ranks(np.array([3.0, 1.0, np.nan, 3.0])).tolist()[:2] == [2.5, 1.0]


def test_cramers_v_and_theils_u() -> None:
    left = np.repeat([0, 1, 2, 3], 50)
    right = left // 2  # told wholly by the left; itself it leaves one bit of two open
    v, by_left, by_right, rows = cramers_v(left, right) or (0, 0, 0, 0)
    assert rows == 200
    assert (by_left, by_right) == (pytest.approx(1.0), pytest.approx(0.5))
    assert v == pytest.approx(1.0, abs=0.01)
    random = np.random.default_rng(1)
    apart = cramers_v(random.integers(0, 30, 300), random.integers(0, 30, 300))
    assert apart is not None
    assert apart[0] < 0.15  # without the correction it would be 0.3
    assert cramers_v(left[:5], right[:5]) is None


def test_the_correlation_ratio() -> None:
    codes = np.repeat([0, 1, 2], 40)
    values = codes * 10.0 + np.tile([-1.0, 1.0], 60)
    f = stats.f_oneway(*(values[codes == k] for k in range(3))).statistic
    k, n = 3, 120
    expected = math.sqrt(1 - (n - 1) / (n - k) / (1 + f * (k - 1) / (n - k)))
    found = correlation_ratio(codes, values)
    assert found == (pytest.approx(expected), 120)
    assert correlation_ratio(codes, np.full(120, 1.0)) is None


def test_a_matrix_has_numbers_and_categories() -> None:
    random = np.random.default_rng(2)
    kind = random.integers(0, 3, 400)
    matrix, pairs = associate(
        {"size": kind * 2.0 + random.random(400), "noise": random.random(400), "flat": np.ones(400)},
        {"kind": kind, "one": np.zeros(400, dtype=np.int64)},
        ["kind", "one", "noise", "size", "flat"],
    )
    assert matrix is not None
    assert (matrix.columns, matrix.kinds) == (("kind", "noise", "size"), ("category", "number", "number"))
    assert [(one.left, one.right, one.measure) for one in pairs] == [("kind", "size", "correlation_ratio")]
    assert matrix.values[0][2] == matrix.values[2][0]
