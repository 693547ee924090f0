import numpy as np
import pytest
from sklearn import metrics as oracle

from bascule.monitoring import metrics


def sample(rng: np.random.Generator, n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    scores = np.round(rng.beta(2, 4, n), 2)  # with ties
    return scores, (rng.random(n) < scores).astype(float)


def test_values_are_scikit_learns() -> None:
    scores, labels = sample(np.random.default_rng(1))
    found = metrics.binary_metrics(scores, labels)
    assert found["auc"].value == pytest.approx(oracle.roc_auc_score(labels, scores))
    assert found["log_loss"].value == pytest.approx(oracle.log_loss(labels, scores))
    assert found["brier"].value == pytest.approx(oracle.brier_score_loss(labels, scores))
    assert found["accuracy"].value == pytest.approx(oracle.accuracy_score(labels, scores >= 0.5))
    cells = np.minimum((scores * 10).astype(int), 9)
    naive = sum(abs((scores - labels)[cells == c].sum()) for c in range(10)) / len(scores)
    assert found["ece"].value == pytest.approx(naive)
    regression = metrics.regression_metrics(scores, labels)
    assert regression["mae"].value == pytest.approx(oracle.mean_absolute_error(labels, scores))
    assert regression["rmse"].value == pytest.approx(oracle.root_mean_squared_error(labels, scores))


@pytest.mark.parametrize("name", ["auc", "log_loss", "brier", "accuracy"])
def test_intervals_cover(name: str) -> None:
    rng = np.random.default_rng(2)
    scores, labels = sample(rng, 400_000)
    truth = metrics.binary_metrics(scores, labels)[name].value
    covered = [(e := metrics.binary_metrics(*sample(rng))[name]).low <= truth <= e.high for _ in range(400)]
    assert 0.92 <= np.mean(covered) <= 0.98


def test_the_calibration_interval_knows_that_a_calibrated_model_may_be_perfect() -> None:
    rng = np.random.default_rng(3)
    calibrated = [metrics.calibration_error(*sample(rng)).low for _ in range(100)]
    assert np.mean(np.array(calibrated) <= 0.015) >= 0.9
    scores, labels = sample(rng, 2000)
    assert metrics.calibration_error(np.clip(scores + 0.2, 0, 1), labels).low > 0.1


def test_one_class_has_no_auc() -> None:
    assert "auc" not in metrics.binary_metrics(np.array([0.2, 0.3]), np.zeros(2))
