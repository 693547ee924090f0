from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from bascule.errors import InputError
from bascule.training import TrainingData, fit_linear
from bascule.training.linear import read_linear, write_linear

Make = Callable[..., TrainingData]


def pipeline(model: object) -> object:
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    # A missing category is no category: all columns zero.
    names = make_pipeline(
        SimpleImputer(strategy="constant", fill_value=-1.0),
        OneHotEncoder(categories=[[0.0, 1.0, 2.0, 3.0]], handle_unknown="ignore"),
    )
    return make_pipeline(ColumnTransformer([("n", numbers, [0, 2, 3]), ("c", names, [1])]), model)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_predictions_are_those_of_the_scikit_learn_pipeline(made_data: Make, task: str) -> None:
    data = made_data(task)
    matrix, fresh = data.matrix(data.train), data.matrix(data.validation)
    ours = fit_linear(matrix, data.train.label, data.signature)
    if task == "regression":
        theirs = pipeline(Ridge(alpha=1.0)).fit(matrix, data.train.label).predict(fresh)  # type: ignore[attr-defined]
    else:
        model = pipeline(LogisticRegression(C=1.0, tol=1e-10, max_iter=5_000))
        theirs = model.fit(matrix, data.train.label).predict_proba(fresh)  # type: ignore[attr-defined]
        theirs = theirs[:, 1] if task == "binary" else theirs
    np.testing.assert_allclose(ours.predict(fresh), theirs, atol=2e-5)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_model_survives_as_json(made_data: Make, task: str) -> None:
    data = made_data(task)
    model = fit_linear(data.matrix(data.train), data.train.label, data.signature)
    again = read_linear(write_linear(model))
    assert again == model
    fresh = data.matrix(data.validation)
    assert (again.predict(fresh) == model.predict(fresh)).all()
    assert sum(model.prior) == pytest.approx(1.0 if task != "regression" else data.train.label.mean())


def test_what_was_never_seen_is_filled_in(made_data: Make) -> None:
    data = made_data("binary")
    model = fit_linear(data.matrix(data.train), data.train.label, data.signature)
    strange = np.array([[np.nan] * 4, [np.inf, 99.0, -np.inf, 1.0], [0.0, -5.0, 0.0, 0.0]])
    predicted = model.predict(strange)
    assert np.isfinite(predicted).all()
    assert model.predict(strange[:0]).shape == (0,)


def test_inputs_that_weigh_more_are_more_important(made_data: Make) -> None:
    data = made_data("binary")
    importance = fit_linear(data.matrix(data.train), data.train.label, data.signature).importance()
    assert importance.argmax() == 0


def test_a_draw_with_one_class_gives_that_class(made_data: Make) -> None:
    data = made_data("multiclass")
    matrix = data.matrix(data.train)
    model = fit_linear(matrix, np.full(len(matrix), 2.0), data.signature)
    assert (model.predict(matrix).argmax(axis=1) == 2).all()
    two = fit_linear(matrix, np.where(data.train.label == 1, 1.0, 0.0), data.signature)
    assert two.predict(matrix)[:, 2].max() < 1e-5
    binary = made_data("binary")
    sure = fit_linear(binary.matrix(binary.train), np.ones(len(binary.train.label)), binary.signature)
    assert sure.predict(binary.matrix(binary.validation)).min() > 0.999


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b'{"task": "binary"}', b"[1]"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="not a linear model"):
        read_linear(data)
