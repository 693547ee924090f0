"""What a model owes to each feature (SHAP values), and which features a model takes again in each span of time.

SHAP values are exact: TreeSHAP for trees (LightGBM's own), and for linear models what a term adds beyond its mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bascule.training.bundle import ModelBundle
from bascule.training.label import Target
from bascule.training.signature import Signature, encode, infer_signature
from bascule.training.threads import calm_threads

Floats = npt.NDArray[np.float64]
EXPLAINED = 2_000
FITTED = 20_000
ROUNDS = 40
FEWEST = 100
CHANCE = 2.33


def shap_sizes(bundle: ModelBundle, rows: pa.Table) -> dict[str, float]:
    """Return how much each input moves the model's score (log-odds, or the value) on average.

    The mean size of its SHAP values over at most 2,000 evenly spaced rows, summed over classes; empty for a model
    that cannot tell.
    """
    explain = getattr(bundle.predictor, "contributions", None)
    if explain is None or rows.num_rows == 0:
        return {}
    some = _spaced(np.arange(rows.num_rows), EXPLAINED)
    parts = explain(encode(bundle.signature, rows.take(pa.array(some))))
    return dict(zip(bundle.signature.names(), _sizes(parts, centred=bundle.format == "linear").tolist(), strict=True))


def selected_in(
    rows: pa.Table, features: Sequence[str], target: Target, folds: int, seed: int = 0
) -> dict[str, float] | None:
    """Return the share of the time folds in which trees take a feature.

    For each fold small boosted trees learn from the others. A feature is taken when the fold's rows are predicted
    worse, by more than chance (once in a hundred times), without the feature's SHAP values. So what tells something
    only together with others is seen, and what was learned by heart is not.

    Args:
        rows: in the order of time, with the column `label` (class code or value).

    Returns:
        None when LightGBM is not installed, or a fold has fewer than 100 rows.
    """
    calm_threads()
    try:
        import lightgbm
    except ImportError:
        return None
    if rows.num_rows < folds * FEWEST:
        return None
    signature = infer_signature(rows.select(list(features)), target)
    taken = np.zeros(len(features))
    matrix, label = encode(signature, rows), rows.column("label").to_numpy()
    places = np.arange(rows.num_rows)
    for span in np.array_split(places, folds):
        others = np.setdiff1d(places, span, assume_unique=True)
        fit, judge = _spaced(others, FITTED), _spaced(span, EXPLAINED)
        if len(np.unique(label[fit])) > 1:
            worse = _worse_without(lightgbm, (matrix[fit], label[fit]), (matrix[judge], label[judge]), signature, seed)
            taken += _beyond_chance(worse)
    return dict(zip(signature.names(), (taken / folds).tolist(), strict=True))


def _spaced(places: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """At most so many of some places, evenly spaced."""
    return places[np.unique(np.linspace(0, len(places) - 1, min(len(places), most)).astype(np.int64))]


def _worse_without(
    lightgbm: Any, fit: tuple[Floats, Floats], judge: tuple[Floats, Floats], signature: Signature, seed: int
) -> Floats:
    """How much worse each row to be judged is predicted without each feature: [rows, features]."""
    output, (matrix, label), (shown, truth) = signature.output, fit, judge
    settings: dict[str, Any] = {
        "objective": {"binary": "binary", "multiclass": "multiclass"}.get(output.task, "regression"),
        "verbosity": -1,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "num_leaves": 15,
        "min_data_in_leaf": max(5, len(label) // 200),
        "learning_rate": 0.1,
    }
    if output.task == "multiclass":
        settings["num_class"] = len(output.classes)
    data = lightgbm.Dataset(matrix, label, categorical_feature=signature.categorical())
    booster = lightgbm.train(settings, data, num_boost_round=ROUNDS)
    parts = np.asarray(booster.predict(shown, pred_contrib=True)).reshape(len(shown), -1, matrix.shape[1] + 1)
    score = parts.sum(axis=2)
    whole = _loss(score, truth, output.task)
    each = [_loss(score - parts[:, :, place], truth, output.task) - whole for place in range(matrix.shape[1])]
    return np.stack(each, axis=1)


def _loss(score: Floats, label: Floats, task: str) -> Floats:
    """Each row's loss, of scores [rows, outputs]: of logits, of a softmax, or squared."""
    if task == "regression":
        return np.asarray((score[:, 0] - label) ** 2)
    if task == "binary":
        return np.asarray(np.logaddexp(0.0, np.where(label > 0.5, -score[:, 0], score[:, 0])))
    chosen = score[np.arange(len(label)), label.astype(np.int64)]
    return np.asarray(np.logaddexp.reduce(score, axis=1) - chosen)


def _beyond_chance(worse: Floats) -> npt.NDArray[np.bool_]:
    error = worse.std(axis=0) / np.sqrt(max(len(worse), 1))
    found: npt.NDArray[np.bool_] = worse.mean(axis=0) > CHANCE * error
    return found


def _sizes(parts: Floats, *, centred: bool) -> Floats:
    """Mean absolute contributions by input, summed over outputs; of [rows, outputs, inputs and base]."""
    values = parts[:, :, :-1]
    if centred:
        values = values - values.mean(axis=0, keepdims=True)
    found: Floats = np.abs(values).mean(axis=0).sum(axis=0)
    return found
