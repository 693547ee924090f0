"""CatBoost's models that an own trainer learned from texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bascule.training import TrainingData, encode, pack_model, train, unpack_model

catboost = pytest.importorskip("catboost")
pytestmark = pytest.mark.slow

OWN = """
import tempfile
from pathlib import Path

from catboost import CatBoost, Pool

from bascule.training import TrainedModel


def texts(data, settings, progress):
    rows = data.train.rows.to_pandas()
    rows["kind"] = rows["kind"].fillna("nan")
    model = CatBoost({"loss_function": "Logloss", "iterations": 20, "verbose": 0, "allow_writing_files": False})
    model.fit(Pool(rows, data.train.label, cat_features=["kind"]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.cbm"
        model.save_model(str(path))
        return TrainedModel(format="catboost", artifact=path.read_bytes(), signature=data.signature)
"""


def test_an_own_trainer_learns_from_texts(made_data: Callable[..., TrainingData], tmp_path: Path) -> None:
    (tmp_path / "own_texts.py").write_text(OWN)
    data = made_data()
    trained = train(data, "own_texts:texts", folder=tmp_path)
    kind = next(one for one in trained.signature.inputs if one.name == "kind")
    assert kind.hashed
    assert kind.categories == ("k0", "k1", "k2", "k3")
    bundle = unpack_model(pack_model(trained))
    model = catboost.CatBoost()
    model.load_model(blob=trained.artifact)
    rows = data.validation.rows.to_pandas()
    rows["kind"] = rows["kind"].fillna("nan")
    said = model.predict(rows, prediction_type="Probability")[:, 1]
    np.testing.assert_array_equal(bundle.predict(data.validation.rows), said)
    assert bundle.baseline is not None
    coded = encode(bundle.signature.by_place(), data.validation.rows)
    assert np.nanmax(coded[:, bundle.signature.names().index("kind")]) == 3.0
