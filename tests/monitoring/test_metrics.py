import numpy as np
import pytest
from sklearn import metrics as oracle

from bascule.monitoring import metrics


def estimate(scores: np.ndarray, labels: np.ndarray, task: str = "binary") -> dict[str, metrics.Estimate]:
    return metrics.estimate_metrics(task, scores, labels)


def sample(rng: np.random.Generator, n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    scores = np.round(rng.beta(2, 4, n), 2)  # with ties
    return scores, (rng.random(n) < scores).astype(float)


def test_values_are_scikit_learns() -> None:
    scores, labels = sample(np.random.default_rng(1))
    found = estimate(scores, labels)
    assert found["auc"].value == pytest.approx(oracle.roc_auc_score(labels, scores))
    assert found["log_loss"].value == pytest.approx(oracle.log_loss(labels, scores))
    assert found["brier"].value == pytest.approx(oracle.brier_score_loss(labels, scores))
    assert found["accuracy"].value == pytest.approx(oracle.accuracy_score(labels, scores >= 0.5))
    regression = estimate(scores, labels, "regression")
    assert regression["mae"].value == pytest.approx(oracle.mean_absolute_error(labels, scores))
    assert regression["r2"].value == pytest.approx(oracle.r2_score(labels, scores))
    assert regression["rmse"].value == pytest.approx(oracle.root_mean_squared_error(labels, scores))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task"),
    [(name, "binary") for name in ("auc", "log_loss", "brier", "accuracy")]
    + [(name, "regression") for name in ("rmse", "mae", "r2")],
)
def test_intervals_cover(name: str, task: str) -> None:
    rng = np.random.default_rng(2)
    scores, labels = sample(rng, 400_000)
    truth = estimate(scores, labels, task)[name].value
    covered = [(e := estimate(*sample(rng), task)[name]).low <= truth <= e.high for _ in range(400)]
    assert 0.92 <= np.mean(covered) <= 0.98


def classes(rng: np.random.Generator, n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    scores = rng.dirichlet([3.0, 2.0, 1.5], n)
    return scores, (rng.random((n, 1)) > scores.cumsum(axis=1)).sum(axis=1).astype(float)


def test_values_of_several_classes_are_scikit_learns() -> None:
    scores, labels = classes(np.random.default_rng(4))
    found = estimate(scores, labels, "multiclass")
    assert set(found) == {"log_loss", "auc", "accuracy", "ece"}
    assert found["auc"].value == pytest.approx(oracle.roc_auc_score(labels, scores, multi_class="ovr"))
    assert found["log_loss"].value == pytest.approx(oracle.log_loss(labels, scores))
    assert found["accuracy"].value == pytest.approx(oracle.accuracy_score(labels, scores.argmax(axis=1)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["log_loss", "accuracy", "auc"])
def test_intervals_of_several_classes_cover(name: str) -> None:
    rng = np.random.default_rng(5)
    truth = estimate(*classes(rng, 400_000), "multiclass")[name].value
    covered = [
        (e := estimate(*classes(rng), "multiclass")[name]).low <= truth <= e.high and e.low < e.value < e.high
        for _ in range(300)
    ]
    assert np.mean(covered) >= (0.95 if name == "auc" else 0.92)


def test_the_calibration_interval_knows_that_a_calibrated_model_may_be_perfect() -> None:
    rng = np.random.default_rng(3)
    calibrated = [estimate(*sample(rng))["ece"].low for _ in range(100)]
    assert np.mean(np.array(calibrated) <= 0.015) >= 0.9
    scores, labels = sample(rng, 2000)
    assert estimate(np.clip(scores + 0.2, 0, 1), labels)["ece"].low > 0.1


def test_one_class_has_no_auc() -> None:
    assert "auc" not in estimate(np.array([0.2, 0.3]), np.zeros(2))
