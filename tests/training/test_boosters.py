"""What XGBoost's own library tells of its models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.serving.engines.models import HOLES, xgboost

from bascule.serving import load_runtime


@pytest.mark.parametrize(
    ("objective", "task", "settings"),
    [
        ("binary:logistic", "binary", {}),
        ("binary:logistic", "binary", {"sets": True}),
        ("multi:softprob", "multiclass", {"num_class": 3}),
        ("reg:squarederror", "regression", {"booster": "gblinear"}),
    ],
)
def test_what_each_input_adds_sums_up_to_the_raw_score(objective: str, task: str, settings: dict[str, Any]) -> None:
    library = pytest.importorskip("xgboost")
    if "booster" in settings:
        settings = {**settings, "max_depth": None}
    bundle = xgboost(objective, task, **settings)
    rows = HOLES[:50].copy()
    rows[:3, 3] = (99, np.nan, -1)  # never seen, missing, no category
    booster = library.Booster(model_file=bytearray(bundle.model))
    raw = booster.predict(library.DMatrix(rows), output_margin=True).reshape(50, -1)
    parts = load_runtime(bundle).contributions(rows)  # type: ignore[attr-defined]
    assert parts.shape == (50, raw.shape[1], 5)
    np.testing.assert_allclose(parts.sum(axis=2), raw, atol=1e-4)
    assert np.abs(parts[:, :, :-1]).max() > 0.01
    assert bundle.predictor.importance().shape == (4,)
    assert bundle.predictor.importance().max() > 0
