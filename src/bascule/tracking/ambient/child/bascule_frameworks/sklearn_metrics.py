"""sklearn.metrics: what its functions return, and curves of the predictions and the truth that pass through them."""

from __future__ import annotations

import sys
import zlib
from functools import partial
from types import ModuleType
from typing import Any

from bascule_frameworks.telling import allowed, emit, number, point
from bascule_frameworks.wrapping import Call, wrap

FRAMEWORK = "sklearn"
ENDS = ("_score", "_loss", "_error", "_deviance")
# Of predictions and truth that pass through, so many are drawn in one process, of at most so many rows.
MOST_EVALUATIONS = 20
MOST_ROWS = 100_000
MOST_CLASSES = 50
CURVE_POINTS = 200
BINS = 10
OF_LABELS = {
    "accuracy_score", "balanced_accuracy_score", "f1_score", "fbeta_score", "precision_score", "recall_score",
    "cohen_kappa_score", "matthews_corrcoef", "jaccard_score", "confusion_matrix", "classification_report",
    "precision_recall_fscore_support", "zero_one_loss", "hamming_loss",
}  # fmt: skip
OF_SCORES = {"roc_auc_score", "average_precision_score", "brier_score_loss", "log_loss", "roc_curve",
             "precision_recall_curve", "det_curve"}  # fmt: skip

_drawn: set[tuple[Any, ...]] = set()


def wrap_metrics(module: ModuleType) -> None:
    """Look at the functions of `sklearn.metrics` that a script calls; the framework's own calls go past."""
    for name in (*module.__all__, *OF_LABELS, *OF_SCORES):
        is_number = name.endswith(ENDS) or name == "matthews_corrcoef"
        if is_number or name in OF_LABELS or name in OF_SCORES:
            wrap(FRAMEWORK, module, name, partial(_measured, name=name, is_number=is_number))


def _measured(call: Call, *, name: str, is_number: bool) -> None:
    if is_number:
        point(name, call.result)
    if name in OF_LABELS:
        _draw("labels", call, _labels)
    elif name in OF_SCORES:
        _draw("scores", call, _scores)


def _draw(kind: str, call: Call, work: Any) -> None:
    truth, told = call.get(0, "y_true"), call.get(1, "y_pred" if kind == "labels" else "y_score")
    if told is None:
        told = call.kwargs.get("y_proba", call.kwargs.get("y_prob", call.kwargs.get("y_pred")))
    if truth is None or told is None or not 1 < len(truth) <= MOST_ROWS:
        return
    mark = _mark(kind, truth, told)
    if mark in _drawn or not allowed(f"evaluations of {kind}", MOST_EVALUATIONS):
        return
    _drawn.add(mark)
    entry = work(truth, told)
    if entry:
        emit({"kind": "evaluation", "rows": len(truth), "number": len(_drawn), **entry})


def _mark(kind: str, truth: Any, told: Any) -> tuple[Any, ...]:
    """Return what tells predictions apart: the same ones pass through many functions, and are drawn once."""
    numpy = sys.modules["numpy"]
    parts = [numpy.asarray(one) for one in (truth, told)]
    sums = [zlib.crc32(one.tobytes() if one.dtype.kind in "biuf" else repr(one.tolist()).encode()) for one in parts]
    return kind, len(truth), *sums


def _metrics() -> Any:
    """Return the framework's own functions, which nobody looks at."""
    return sys.modules["sklearn.metrics"]


def _labels(truth: Any, told: Any) -> dict[str, Any] | None:
    numpy = sys.modules["numpy"]
    left, right = numpy.asarray(truth), numpy.asarray(told)
    if left.ndim != 1 or right.ndim != 1 or (left.dtype.kind == "f" and not (left == left.round()).all()):
        return None
    classes = numpy.unique(numpy.concatenate([left, right]))
    if not 1 < len(classes) <= MOST_CLASSES:
        return None
    table = _metrics().confusion_matrix(left, right, labels=classes)
    return {"name": "confusion_matrix", "classes": [str(one) for one in classes], "matrix": table.tolist()}


def _scores(truth: Any, told: Any) -> dict[str, Any] | None:
    numpy, metrics = sys.modules["numpy"], _metrics()
    left, right = numpy.asarray(truth), numpy.asarray(told)
    if right.ndim == 2 and right.shape[1] == 2:
        right = right[:, 1]
    classes = numpy.unique(left)
    if left.ndim != 1 or right.ndim != 1 or len(classes) != 2:
        return None
    positive = left == classes[1]
    false, true, cuts = metrics.roc_curve(positive, right)
    precision, recall, limits = metrics.precision_recall_curve(positive, right)
    found: dict[str, Any] = {
        "name": "curves",
        "positive": str(classes[1]),
        "roc": _thin({"false_positive_rate": false, "true_positive_rate": true, "threshold": cuts}),
        "precision_recall": _thin({"precision": precision[:-1], "recall": recall[:-1], "threshold": limits}),
    }
    if right.min() >= 0 and right.max() <= 1:
        bins = numpy.minimum((right * BINS).astype(int), BINS - 1)
        counts = numpy.bincount(bins, minlength=BINS)
        held = counts > 0
        found["calibration"] = {
            "predicted": (numpy.bincount(bins, right, BINS)[held] / counts[held]).tolist(),
            "observed": (numpy.bincount(bins, positive, BINS)[held] / counts[held]).tolist(),
            "rows": counts[held].tolist(),
        }
    return found


def _thin(curves: dict[str, Any]) -> dict[str, list[Any]]:
    """Return curves at so many points at most, the first and the last among them."""
    length = len(next(iter(curves.values())))
    most = min(length, CURVE_POINTS)
    places = sorted({round(at * (length - 1) / max(most - 1, 1)) for at in range(most)})
    return {name: [number(values[at]) for at in places] for name, values in curves.items()}
