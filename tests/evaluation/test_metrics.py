from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics as theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule import evaluation as ours
from bascule.errors import NotFound
from bascule.evaluation.metrics import RankedScores, Task, equal_mass_bins

LABELED = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=80)


@pytest.mark.slow
@settings(deadline=None)
@given(LABELED)
def test_binary_metrics_are_those_of_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    label = np.array([float(one) for one, _ in rows])
    said = np.array([score / 20 for _, score in rows])
    assert ours.brier(label, said) == pytest.approx(theirs.brier_score_loss(label, said, pos_label=1))
    assert ours.log_loss(label, said) == pytest.approx(theirs.log_loss(label, said, labels=[0, 1]))
    assert ours.accuracy(label, said) == pytest.approx(theirs.accuracy_score(label, said >= 0.5))
    if len(set(label)) == 2:
        assert ours.auc(label, said) == pytest.approx(theirs.roc_auc_score(label, said))
    else:
        assert math.isnan(ours.auc(label, said))


def test_multiclass_metrics_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    label = random.integers(0, 4, 500).astype(float)
    said = random.dirichlet([1, 1, 1, 1], 500)
    assert ours.log_loss(label, said) == pytest.approx(theirs.log_loss(label, said))
    assert ours.accuracy(label, said) == pytest.approx(theirs.accuracy_score(label, said.argmax(axis=1)))
    assert ours.auc(label, said) == pytest.approx(theirs.roc_auc_score(label, said, multi_class="ovr"))
    assert math.isnan(ours.auc(np.zeros(500), said))


def test_regression_metrics_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    label = random.normal(size=300) + 1e6
    said = label + random.normal(size=300)
    assert ours.rmse(label, said) == pytest.approx(theirs.root_mean_squared_error(label, said))
    assert ours.mae(label, said) == pytest.approx(theirs.mean_absolute_error(label, said))
    assert ours.r2(label, said) == pytest.approx(theirs.r2_score(label, said))
    assert math.isnan(ours.r2(np.ones(3), np.ones(3)))


def test_a_weighted_area_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 200).astype(float)
    said = random.integers(0, 10, 200) / 10
    ranked = RankedScores(label, said)
    weights = random.integers(0, 4, (5, 200)).astype(float)
    found = ranked.weighted(weights[:, ranked.order])
    for one, area in zip(weights, found, strict=True):
        assert area == pytest.approx(theirs.roc_auc_score(label, said, sample_weight=one))


def test_calibration_error_is_zero_only_when_frequencies_match() -> None:
    said = np.repeat([0.2, 0.8], 1_000)
    label = np.tile([1, 0, 0, 0, 0], 400).astype(float)
    label[1_000:] = 1 - label[1_000:]
    assert ours.ece(label, said) == pytest.approx(0, abs=1e-12)
    assert ours.ece(label, said + 0.1) == pytest.approx(0.1)
    assert ours.ece(label, 1 - said) == pytest.approx(0.6)


def test_bins_hold_equally_many_rows_and_equal_values_share_one() -> None:
    values = np.random.default_rng(0).random(3_000)
    assert np.bincount(equal_mass_bins(values)).tolist() == [200] * 15
    assert np.unique(equal_mass_bins(np.ones(3_000))).tolist() == [0]
    assert equal_mass_bins(values[:150]).max() == 0


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_metric_can_be_measured_by_its_name(task: Task) -> None:
    random = np.random.default_rng(0)
    said = random.dirichlet([1, 1, 1], 400) if task == "multiclass" else random.random(400)
    label = random.random(400) if task == "regression" else random.integers(0, said.ndim + 1, 400).astype(float)
    for metric in ours.metrics_of(task):
        expected = getattr(ours, metric.name)(label, said)
        assert ours.measure(metric.name, task, label, said) == pytest.approx(expected)
        assert ours.measure(metric.name, task, label[:0], said[:0]) is None


def test_what_is_not_defined_is_none_and_what_is_unknown_is_not_found() -> None:
    assert ours.measure("auc", "binary", np.zeros(5), np.linspace(0, 1, 5)) is None
    assert ours.measure("r2", "regression", np.ones(5), np.ones(5)) is None
    with pytest.raises(NotFound) as error:
        ours.measure("acu", "binary", np.zeros(5), np.zeros(5))
    assert "Did you mean 'auc'?" in error.value.hint
    with pytest.raises(NotFound, match="metric for a regression model"):
        ours.measure("auc", "regression", np.zeros(5), np.zeros(5))
