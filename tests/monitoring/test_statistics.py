import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from bascule.monitoring import statistics


@given(st.floats(0.001, 5000), st.integers(1, 2000))
@settings(max_examples=300, deadline=None)
def test_the_chi_squared_tail_is_scipys(statistic: float, freedom: int) -> None:
    expected = stats.chi2.sf(statistic, freedom)
    assert statistics.chi_squared_p(statistic, freedom) == pytest.approx(expected, rel=1e-7, abs=1e-14)


@given(st.integers(0, 40), st.integers(40, 300), st.integers(0, 60), st.integers(60, 5000))
@settings(max_examples=200, deadline=None)
def test_the_exact_tail_is_scipys(x: int, n: int, r: int, m: int) -> None:
    found = statistics.excess_p(x, n, r, m)
    if x * m > r * n:
        assert found == pytest.approx(stats.hypergeom.sf(x - 1, n + m, x + r, n), rel=1e-6)
    else:
        assert found == 1.0


@given(st.lists(st.floats(0, 1), max_size=50))
@settings(deadline=None)
def test_adjusted_p_values_are_scipys(p: list[float]) -> None:
    expected = stats.false_discovery_control(p) if p else []
    assert statistics.false_discovery(p) == pytest.approx(list(expected))


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=30))
@settings(deadline=None)
def test_the_distance_is_scipys(counts: list[tuple[int, int]]) -> None:
    a, b = np.array(counts, dtype=float).T
    if a.sum() and b.sum():
        expected = jensenshannon(a, b, base=2)
        assert math.sqrt(statistics.divergence(a, b)) == pytest.approx(expected, abs=1e-7)


def test_p_values_of_common_cells_are_scipys_contingency_test() -> None:
    rng = np.random.default_rng(1)
    window, reference = rng.multinomial(900, [0.1] * 10), rng.multinomial(5000, [0.1] * 10)
    expected = stats.chi2_contingency([window, reference]).pvalue
    assert statistics.compare(window, reference).p == pytest.approx(min(1, 2 * expected), rel=1e-9)


@pytest.mark.parametrize(
    ("cells", "n", "m"), [(18, 200, 50_000), (18, 1000, 5000), (50, 2000, 2000), (3, 300, 100_000)]
)
def test_without_drift_p_is_honest_and_the_effect_is_small(cells: int, n: int, m: int) -> None:
    rng = np.random.default_rng(2)
    shares = rng.dirichlet(np.full(cells, 0.7))  # some cells are rare
    found = [statistics.compare(rng.multinomial(n, shares), rng.multinomial(m, shares)) for _ in range(1500)]
    assert np.mean([f.p <= 0.05 for f in found]) <= 0.06
    assert np.mean([f.p <= 0.001 for f in found]) <= 0.004
    beyond = np.mean([f.distance**2 - f.null_level for f in found])
    assert abs(beyond) <= 0.25 * np.mean([f.null_level for f in found])


@pytest.mark.parametrize("n", [300, 3000])
def test_the_effect_does_not_depend_on_the_number_of_rows(n: int) -> None:
    rng = np.random.default_rng(3)
    edges = np.quantile(rng.normal(size=100_000), np.linspace(0, 1, 17)[1:-1])
    cell = lambda x: np.bincount(np.searchsorted(edges, x), minlength=16)  # noqa: E731
    reference = cell(rng.normal(size=50_000))
    found = [statistics.compare(cell(rng.normal(0.5, 1, n)), reference) for _ in range(300)]
    exact = math.sqrt(statistics.divergence(cell(rng.normal(0.5, 1, 2_000_000)) * 1.0, reference * 1.0))
    assert np.mean([f.effect for f in found]) == pytest.approx(exact, rel=0.1)
    assert np.mean([f.low <= exact <= f.high for f in found]) >= 0.9
    assert all(f.p < 0.001 for f in found)


def test_what_the_reference_never_saw_is_found() -> None:
    constant = statistics.compare([140, 60], [50_000, 0])
    assert constant.p < 1e-9
    assert constant.effect > 0.3
    whole = statistics.compare([0, 0, 200], [30_000, 20_000, 0])
    assert whole.p < 1e-9
    assert whole.distance == pytest.approx(1.0)


def test_one_row_in_a_new_cell_is_no_drift() -> None:
    found = statistics.compare([499, 1], [50_000, 0])
    assert found.p > 0.01
    assert found.effect < 0.05


@pytest.mark.slow
def test_equal_counts() -> None:
    found = statistics.compare([10, 20, 30], [100, 200, 300])
    assert found.effect == 0
    assert found.p == 1.0
    with pytest.raises(ValueError, match="cannot compare"):
        statistics.compare([0, 0], [1, 2])
