"""Small models of each library, and rows at which engines that are nearly right differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bascule.training import Field, ModelBundle, Output, Signature, pack_model
from bascule.training.trainer import TrainedModel

RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(600, 4))
ROWS[:, 3] = RNG.integers(0, 40, len(ROWS))
BINARY = (ROWS[:, 0] * ROWS[:, 1] + ROWS[:, 2] + ROWS[:, 3] % 3 > 1).astype(int)
THREE = BINARY + (ROWS[:, 2] > 0.5)
NUMBER = ROWS[:, 0] * 3 + ROWS[:, 1] ** 2
HOLES = ROWS.copy()
HOLES[RNG.random(ROWS.shape) < 0.05] = np.nan


def signature(task: str = "binary", width: int = 4) -> Signature:
    classes = {"binary": ("0", "1"), "multiclass": ("0", "1", "2"), "regression": ()}[task]
    inputs = tuple(Field(name=f"x{k}", type="double") for k in range(width))
    return Signature(inputs=inputs, output=Output(task=task, classes=classes))  # type: ignore[arg-type]


def lightgbm(objective: str = "binary", task: str = "binary", categorical: Any = (), **settings: Any) -> ModelBundle:
    library = pytest.importorskip("lightgbm")
    label = {"binary": BINARY, "multiclass": THREE, "regression": np.abs(NUMBER)}[task]
    data = library.Dataset(HOLES, label, categorical_feature=list(categorical))
    asked = {"objective": objective, "verbose": -1, "num_threads": 1, "num_leaves": 7, **settings}
    return ModelBundle("lightgbm", library.train(asked, data, 12).model_to_string().encode(), signature(task))


def xgboost(objective: str = "binary:logistic", task: str = "binary", **settings: Any) -> ModelBundle:
    library = pytest.importorskip("xgboost")
    label = {"binary": BINARY, "multiclass": THREE, "regression": np.abs(NUMBER)}[task]
    kinds = {"feature_types": ["q", "q", "q", "c"], "enable_categorical": True} if settings.pop("sets", False) else {}
    asked = {"objective": objective, "max_depth": 3, "nthread": 1, **settings}
    booster = library.train(asked, library.DMatrix(HOLES, label, nthread=1, **kinds), 12)
    return ModelBundle("xgboost", bytes(booster.save_raw("ubj")), signature(task))


def sklearn(estimator: Any, task: str = "binary", rows: np.ndarray = ROWS) -> ModelBundle:
    skops = pytest.importorskip("skops.io")
    label = {"binary": BINARY, "multiclass": THREE, "regression": NUMBER}[task]
    return ModelBundle("skops", skops.dumps(estimator.fit(rows, label)), signature(task))


def network() -> ModelBundle:
    """A small network as PyTorch exports it: float32 in, probabilities of two classes out."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, numbers = onnx.helper, onnx.numpy_helper
    weights = [RNG.normal(size=shape).astype(np.float32) for shape in ((4, 16), (16, 2))]
    held = [numbers.from_array(one, f"w{k}") for k, one in enumerate(weights)]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["c"]),
        helper.make_node("Softmax", ["c"], ["probabilities"]),
    ]
    given = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 4])
    told = helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, [None, 2])
    graph = helper.make_graph(nodes, "network", [given], [told], held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return ModelBundle("onnx", made.SerializeToString(), signature())


class Function:
    """A plain function as a format."""

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-np.nan_to_num(matrix).clip(-9, 9).sum(axis=1))))

    def importance(self) -> np.ndarray:
        return np.zeros(4)


def load_function(model: bytes, told: Signature) -> Function:
    return Function()


def packed(bundle: ModelBundle) -> bytes:
    return pack_model(
        TrainedModel(format=bundle.format, artifact=bundle.model, signature=bundle.signature, libraries={})
    )
