from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bascule.evaluation.bootstrap import interval, resample, resampled_values, with_interval
from bascule.evaluation.metrics import METRICS, brier, measure

DAY = 86_400_000_000


def binary(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    said = random.beta(2, 3, rows)
    return (random.random(rows) < said).astype(float), said


@pytest.mark.slow
@pytest.mark.parametrize("rows", [400, 5_000])
def test_an_interval_of_independent_rows_is_scipy_s(rows: int) -> None:
    label, said = binary(rows)
    found = with_interval(METRICS["brier"], label, said, brier(label, said), resample(rows, resamples=4_000))
    theirs = stats.bootstrap(
        ((said - label) ** 2,), np.mean, n_resamples=4_000, method="percentile", batch=100, rng=np.random.default_rng(0)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found.low == pytest.approx(theirs.low, abs=0.06 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.06 * width)


@pytest.mark.slow
def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    truth, hits = 2 * 3 / (5 * 6), 0  # E[p (1 − p)] of a beta(2, 3): the Brier score of a calibrated forecast
    for seed in range(200):
        label, said = binary(300, seed)
        low, high = interval(resampled_values(METRICS["brier"], label, said, resample(300, resamples=400)), 0.9)
        assert low is not None
        assert high is not None
        hits += low <= truth <= high
    assert 0.84 <= hits / 200 <= 0.95


def test_days_whose_rows_are_alike_widen_the_interval() -> None:
    days, per_day = 40, 100
    label = np.repeat(np.random.default_rng(0).integers(0, 2, days), per_day).astype(float)
    said = np.full(days * per_day, 0.4)
    times = np.repeat(np.arange(days) * DAY, per_day) + 3_600_000_000
    by_day, by_row = resample(len(label), times), resample(len(label))
    assert (by_day.unit, by_day.draws.shape[1]) == ("days", days)
    assert (by_row.unit, by_row.draws.shape[1]) == ("groups of rows", 2_000)
    widths = []
    for one in (by_day, by_row):
        low, high = interval(resampled_values(METRICS["brier"], label, said, one), 0.95)
        assert low is not None
        assert high is not None
        widths.append(high - low)
    assert widths[0] == pytest.approx(widths[1] * np.sqrt(per_day), rel=0.25)


def test_fewer_than_ten_days_are_not_resampled() -> None:
    assert resample(100, np.arange(100) // 12 * DAY).unit == "rows"
    assert resample(100, np.arange(100) // 10 * DAY).unit == "days"


def test_models_are_compared_on_the_same_resamples() -> None:
    label, said = binary(2_000)
    shared = resample(2_000)
    metric = METRICS["log_loss"]
    worse = np.clip(said * 0.98, 0, 1)
    difference = resampled_values(metric, label, said, shared) - resampled_values(metric, label, worse, shared)
    low, high = interval(difference, 0.95)
    alone = interval(resampled_values(metric, label, said, shared), 0.95)
    assert low is not None
    assert high is not None
    assert alone[0] is not None
    assert alone[1] is not None
    assert high - low < 0.1 * (alone[1] - alone[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["log_loss", "auc", "brier", "accuracy", "ece"])
def test_equal_seeds_give_equal_intervals_around_the_value(name: str) -> None:
    label, said = binary(1_500)
    value = measure(name, "binary", label, said)
    first, second = (with_interval(METRICS[name], label, said, value, resample(1_500, seed=4)) for _ in range(2))
    assert first == second
    assert first.low is not None
    assert first.high is not None
    assert value is not None
    assert first.low < first.high
    if name != "ece":  # a distance, which resampling can only widen
        assert first.low < value < first.high


def test_a_metric_of_several_classes_has_an_interval_too() -> None:
    random = np.random.default_rng(0)
    said = random.dirichlet([2, 2, 2], 900)
    label = np.array([random.choice(3, p=one) for one in said]).astype(float)
    value = measure("auc", "multiclass", label, said)
    found = with_interval(METRICS["auc"], label, said, value, resample(900, resamples=300))
    assert found.low is not None
    assert found.high is not None
    assert value is not None
    assert found.low < value < found.high


def test_a_value_that_is_not_defined_has_no_interval() -> None:
    label, said = np.zeros(200), np.linspace(0, 1, 200)
    assert with_interval(METRICS["auc"], label, said, None, resample(200)).low is None
    assert interval(resampled_values(METRICS["auc"], label, said, resample(200)), 0.95) == (None, None)
