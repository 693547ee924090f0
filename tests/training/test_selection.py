"""What each feature tells: of known information, of noise, of a copy, of what held for a while only."""

from __future__ import annotations

import math
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
import pytest

from bascule.training import selection
from bascule.training.attribution import selected_in, shap_sizes
from bascule.training.bundle import ModelBundle
from bascule.training.formats import load_lightgbm
from bascule.training.label import Target
from bascule.training.linear import fit_linear, write_linear
from bascule.training.selection import information, judge_features
from bascule.training.signature import infer_signature

ROWS = 4000
BINARY = Target(task="binary", classes=("0", "1"))


def table() -> pa.Table:
    random = np.random.default_rng(5)
    label = random.integers(0, 2, ROWS)
    good = label + random.normal(0, 0.7, ROWS)
    passing = np.where(np.arange(ROWS) < ROWS // 4, label + random.normal(0, 0.3, ROWS), random.normal(0, 1, ROWS))
    text = np.where(random.random(ROWS) < 0.7, label, 1 - label).astype(str)
    columns = {
        "good": good,
        "copy": np.exp(good) + random.normal(0, 0.01, ROWS),
        "noise": random.normal(0, 1, ROWS),
        "passing": passing,
        "text": text,
        "constant": np.ones(ROWS),
    }
    return pa.table({**{name: pa.array(values) for name, values in columns.items()}, "label": label.astype(float)})


def test_information_is_that_of_the_textbook() -> None:
    one = np.array([0, 0, 1, 1] * 1000)
    assert information(one, one) == pytest.approx(1, abs=1e-3)
    assert information(one, np.array([0, 1, 0, 1] * 1000)) == 0
    noisy = np.where(np.arange(4000) % 10 == 0, 1 - one, one)
    share = np.bincount(one * 2 + noisy) / 4000
    expected = sum(p * math.log2(p / 0.25) for p in share if p)
    assert information(one, noisy) == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_what_is_kept_and_why_not() -> None:
    found = judge_features(rows := table(), rows.column_names[:-1], target=BINARY, least=0.01, correlated=0.95, folds=4)
    judged = {one.feature: one for one in found}
    assert {name for name, one in judged.items() if one.kept} == {"text", max("good", "copy", key=_told(judged))}
    dropped = judged[min("good", "copy", key=_told(judged))]
    assert dropped.reason.startswith("says the same as")
    assert "bits of the label" in judged["noise"].reason
    assert "bits of the label" in judged["constant"].reason
    assert "of the time folds only" in judged["passing"].reason
    assert [one.information for one in found] == sorted((one.information for one in found), reverse=True)


def test_a_label_that_is_a_number() -> None:
    rows = table()
    rows = rows.set_column(rows.num_columns - 1, "label", pa.array(np.asarray(rows.column("good")) * 3))
    found = judge_features(
        rows, ["good", "noise"], target=Target(task="regression"), least=0.01, correlated=0.95, folds=3
    )
    assert [one.kept for one in found] == [True, False]


@pytest.mark.parametrize(("task", "grown"), [("binary", 0.02), ("regression", 0.2)])
def test_what_the_model_does_not_do_without_is_kept(monkeypatch: pytest.MonkeyPatch, task: Any, grown: float) -> None:
    """Small trees take one of two that tell nearly the same; the model's loss says whether it needs the other."""
    rows, names = table(), ["good", "text"]
    if task == "regression":
        rows = rows.set_column(rows.num_columns - 1, "label", pa.array(np.asarray(rows.column("good")) * 3))
    monkeypatch.setattr(selection, "selected_in", lambda *_: dict.fromkeys(names, 0.0))
    monkeypatch.setattr(selection, "_permuted", lambda *_: {"good": grown, "text": grown / 20})
    monkeypatch.setattr(selection, "shap_sizes", lambda *_: {})
    model: Any = object()
    target = BINARY if task == "binary" else Target(task="regression")
    found = judge_features(rows, names, target=target, least=0.01, correlated=0.95, folds=3, bundle=model, unseen=rows)
    assert {one.feature: one.reason for one in found} == {"good": "", "text": "trees take it in none of the time folds"}


@pytest.mark.slow
def test_what_tells_something_only_together_is_taken() -> None:
    random = np.random.default_rng(2)
    one, other = random.integers(0, 2, ROWS), random.integers(0, 2, ROWS)
    columns = {"one": one, "other": other, "noise": random.normal(0, 1, ROWS)}
    label = ((one ^ other) ^ (random.random(ROWS) < 0.1)).astype(float)
    rows = pa.table({**{name: pa.array(np.asarray(v, float)) for name, v in columns.items()}, "label": label})
    assert information(one, label.astype(np.int64)) == 0
    taken = selected_in(rows, list(columns), BINARY, 4)
    assert taken is not None
    assert (taken["one"], taken["other"]) == (1, 1)
    assert taken["noise"] == 0
    found = judge_features(rows, list(columns), target=BINARY, least=0.01, correlated=0.95, folds=4)
    assert {one.feature: one.kept for one in found} == {"one": True, "other": True, "noise": False}
    assert selected_in(rows.slice(0, 300), list(columns), BINARY, 4) is None


@pytest.mark.slow
def test_shap_values_are_exact() -> None:
    random = np.random.default_rng(8)
    rows = pa.table({name: random.normal(0, 1, 500) for name in ("a", "b", "c")})
    matrix = np.stack([rows.column(name).to_numpy() for name in rows.column_names], axis=1)
    label = matrix @ np.array([3.0, -1.0, 0.0]) + 7
    signature = infer_signature(rows, Target(task="regression"))
    fitted = fit_linear(matrix, label, signature)
    model = ModelBundle(format="linear", model=write_linear(fitted), signature=signature)
    sizes = shap_sizes(model, rows)
    slope = fitted.predict(np.eye(3)) - fitted.predict(np.zeros((3, 3)))
    expected = np.abs(slope * (matrix - matrix.mean(axis=0))).mean(axis=0)
    assert list(sizes.values()) == pytest.approx(expected.tolist(), abs=1e-9)

    # Of trees: they add up to what is predicted.
    grid = {"objective": "regression", "verbosity": -1, "num_leaves": 4, "min_data_in_leaf": 5, "seed": 1}
    booster = lightgbm.train(grid, lightgbm.Dataset(matrix, label), num_boost_round=3)
    tree = load_lightgbm(booster.model_to_string().encode(), signature)
    parts = tree.contributions(matrix[:50])  # type: ignore[attr-defined]
    assert parts.shape == (50, 1, 4)
    assert parts.sum(axis=(1, 2)) == pytest.approx(tree.predict(matrix[:50]))
    assert parts[:, 0, 2] == pytest.approx(np.zeros(50), abs=0.2)
    model = ModelBundle(format="lightgbm", model=booster.model_to_string().encode(), signature=signature)
    sizes = shap_sizes(model, rows)
    assert sizes["a"] > sizes["b"] >= sizes["c"]
    assert sizes["a"] == pytest.approx(np.abs(tree.contributions(matrix)[:, 0, 0]).mean())  # type: ignore[attr-defined]


def _told(judged: dict[str, object]):  # type: ignore[no-untyped-def]
    return lambda name: judged[name].information  # type: ignore[attr-defined]
