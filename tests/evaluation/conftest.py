"""Trained models on made data, and the rows to judge them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from bascule.training import (
    ModelBundle,
    Part,
    TrainerSettings,
    TrainingData,
    encode_target,
    infer_signature,
    infer_target,
    pack_model,
    train,
    unpack_model,
)

DAY = 86_400_000_000
FAST = TrainerSettings(seed=1, trials=2)


@dataclass(frozen=True)
class Case:
    """A model and later rows with their labels: `x` and `kind` decide, `z` is noise, `site` is a slice."""

    data: TrainingData
    bundle: ModelBundle
    test: pa.Table


def make_rows(task: str, rows: int, seed: int) -> tuple[pa.Table, pa.ChunkedArray]:
    random = np.random.default_rng(seed)
    x, z, kind = random.normal(size=rows), random.normal(size=rows), random.integers(0, 4, rows)
    # The bend is what trees see and a straight line does not.
    noisy = 2 * np.abs(x) + (kind == 2) * 1.5 - 2 + random.normal(size=rows)
    labels = {
        "binary": pa.array(noisy > 0),
        "multiclass": pa.array(np.digitize(noisy, [-1.0, 1.0])),
        "regression": pa.array(noisy),
    }
    table = pa.table(
        {
            "x": x,
            "kind": [f"k{one}" for one in kind],
            "z": z,
            "site": [f"s{one}" for one in random.integers(0, 3, rows)],
            "asked": pa.array(np.arange(rows) * (40 * DAY // rows), pa.timestamp("us", "UTC")),
        }
    )
    return table, pa.chunked_array([labels[task]])


@pytest.fixture(scope="session")
def make_case() -> Callable[..., Case]:
    """Train on 2,000 rows; test on 1,200 later ones that span forty days."""
    kept: dict[tuple[str, str, bool], Case] = {}

    def make(task: str = "binary", trainer: str = "lightgbm", shuffled: bool = False) -> Case:
        key = (task, trainer, shuffled)
        if key not in kept:
            kept[key] = _train(*key)
        return kept[key]

    return make


def _train(task: str, trainer: str, shuffled: bool) -> Case:
    rows, label = make_rows(task, 2_000, seed=1)
    target = infer_target(label)
    codes = encode_target(label, target)
    if shuffled:
        codes = np.random.default_rng(9).permutation(codes)
    features = rows.select(["x", "kind", "z"])
    parts = [Part(features.slice(0, 1_400), codes[:1_400]), Part(features.slice(1_400), codes[1_400:])]
    data = TrainingData(infer_signature(parts[0].rows, target), *parts)
    bundle = unpack_model(pack_model(train(data, trainer, FAST)))
    later, truth = make_rows(task, 1_200, seed=2)
    return Case(data, bundle, later.append_column("label", pa.array(encode_target(truth, target))))
