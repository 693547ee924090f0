"""scikit-learn's pipelines that begin with a `ColumnTransformer` as ONNX: rows as they are encoded here, in float64.

What comes before the model is told in plain operators, since the converters' own have no float64 (imputers), cut
numbers to whole ones (encoders of numbers), or round thresholds. Texts are the codes that they have in a row here, so
one matrix goes in. Trees behind it are those that every other engine here walks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bascule.errors import MissingExtra
from bascule.serving.engines.exporting import IR, ML_OPSET, OPSET, onnx_of
from bascule.serving.engines.forest import Unfit
from bascule.serving.engines.sklearn_trees import forest_of_estimator, steps_of
from bascule.training import Signature

LINEAR = ("LogisticRegression", "LinearRegression", "Ridge", "Lasso", "ElasticNet")
OPERATORS = {"subtract": "Sub", "divide": "Div", "multiply": "Mul", "add": "Add"}


def onnx_of_columns(estimator: Any, signature: Signature) -> bytes:
    """Return a pipeline of a `ColumnTransformer` and what follows it as an ONNX model.

    Raises:
        Unfit: a part of it is none that is told here.
        MissingExtra: the package onnx is not installed.
    """
    try:
        from onnx import TensorProto, compose, helper, load_from_string
    except ImportError:
        raise MissingExtra("Pipelines as ONNX", "optimize") from None
    steps = [step for _, step in getattr(estimator, "steps", ())]
    if len(steps) < 2 or type(steps[0]).__name__ != "ColumnTransformer":
        raise Unfit("it is no pipeline that begins with a ColumnTransformer")
    graph = _Graph(signature)
    last, width = _transformed(graph, steps[0])
    for step in steps[1:-1]:
        last, width = _numbers(graph, step, last, width)
    final = steps[-1]
    if type(final).__name__ in LINEAR:
        graph.give(_linear(graph, final, last, signature))
        width = 1 if signature.output.task == "binary" else len(signature.output.classes)
        return bytes(graph.model("output", width).SerializeToString(deterministic=True))
    forest = forest_of_estimator(final)
    if forest.single:
        last = graph.add("Cast", [last], to=TensorProto.FLOAT)
    graph.give(last, "prepared")
    trees = load_from_string(onnx_of(forest, single=forest.single))
    before = graph.model("prepared", width, TensorProto.FLOAT if forest.single else TensorProto.DOUBLE)
    before.opset_import.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    merged = compose.merge_models(before, trees, io_map=[("prepared", "rows")])
    return bytes(merged.SerializeToString(deterministic=True))


class _Graph:
    """Nodes and constants that are put together over the one matrix that is read."""

    def __init__(self, signature: Signature) -> None:
        self.names = list(signature.names())
        self._codes = {
            one.name: {text: float(code) for code, text in enumerate(one.categories)}
            for one in signature.inputs
            if one.categories is not None
        }
        self._nodes: list[Any] = []
        self._held: list[Any] = []

    def is_text(self, name: str) -> bool:
        """Tell whether an input comes as codes of texts."""
        return name in self._codes

    def code(self, name: str, text: Any) -> float:
        """Return the code of a text, which is NaN where it is missing; one that no request has gets one of its own."""
        if text is None or text != text:
            return np.nan
        known = self._codes[name]
        return known.setdefault(str(text), float(len(known)))

    def column(self, name: str) -> str:
        """Return an input [rows, 1]."""
        return self.add("Gather", ["rows", self.hold(np.array([self.names.index(name)]))], axis=1)

    def add(self, operator: str, given: Sequence[str], **attributes: Any) -> str:
        """Add a node; return the name of what it gives."""
        from onnx import helper

        name = f"_{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(given), [name], **attributes))
        return name

    def hold(self, array: np.ndarray) -> str:
        """Add a constant; return its name."""
        from onnx import numpy_helper

        name = f"_held_{len(self._held)}"
        self._held.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def give(self, last: str, name: str = "output") -> None:
        """Call what a node gave by a name of its own."""
        from onnx import helper

        self._nodes.append(helper.make_node("Identity", [last], [name]))

    def model(self, output: str, width: int, element: int | None = None) -> Any:
        """Return the model that gives one matrix."""
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            self._nodes,
            "pipeline",
            [helper.make_tensor_value_info("rows", TensorProto.DOUBLE, [None, len(self.names)])],
            [helper.make_tensor_value_info(output, element or TensorProto.DOUBLE, [None, max(1, width)])],
            self._held,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, producer_name="bascule", ir_version=IR)


def _transformed(graph: _Graph, columns: Any) -> tuple[str, int]:
    """Return the matrix that a `ColumnTransformer` gives, and its width."""
    if columns.transformer_weights:
        raise Unfit("the weights of a ColumnTransformer's parts are not told here")
    parts = []
    for name, step, chosen in columns.transformers_:
        names = _names(graph, chosen)
        if not names or (isinstance(step, str) and step == "drop"):
            continue
        steps = [one for _, one in step.steps] if hasattr(step, "steps") else [step]
        parts.append(_part(graph, [one for one in steps if not _passes(one)], names, name))
    if not parts:
        raise Unfit("its ColumnTransformer gives no column")
    return graph.add("Concat", [last for last, _ in parts], axis=1), sum(width for _, width in parts)


def _passes(step: Any) -> bool:
    name = type(step).__name__
    whole = name == "FunctionTransformer" and step.func is None
    return whole or (isinstance(step, str) and step == "passthrough")


def _names(graph: _Graph, chosen: Any) -> list[str]:
    if isinstance(chosen, str):
        raise Unfit("a part reads one column as a list of texts")
    if isinstance(chosen, slice):
        chosen = graph.names[chosen] if all(not isinstance(one, str) for one in (chosen.start, chosen.stop)) else None
        if chosen is None:
            raise Unfit("a part reads a slice of named columns")
    found = np.asarray(chosen)
    if found.dtype == bool:
        found = np.flatnonzero(found)
    return [str(one) if isinstance(one, str) else graph.names[int(one)] for one in found.tolist()]


def _part(graph: _Graph, steps: list[Any], names: list[str], label: str) -> tuple[str, int]:
    """Return what the steps of one part give for its columns, and how wide that is."""
    columns, texts = [graph.column(name) for name in names], [graph.is_text(name) for name in names]
    last, width = _joined(graph, columns), len(names)
    for step in steps:
        if type(step).__name__ in ("OneHotEncoder", "OrdinalEncoder"):
            last, width = _encoded(graph, step, last, names if any(texts) else [])
            texts = [False]
        elif any(texts):
            last = _filled_texts(graph, step, last, names)
        else:
            last, width = _numbers(graph, step, last, width)
    if any(texts):
        raise Unfit(f"the part {label!r} gives texts, which nothing after it reads as numbers")
    return last, width


def _joined(graph: _Graph, columns: Sequence[str]) -> str:
    return graph.add("Concat", columns, axis=1)


def _numbers(graph: _Graph, step: Any, last: str, width: int) -> tuple[str, int]:
    """Return a matrix after an imputer or a scaler."""
    if _passes(step):
        return last, width
    for kind, by in steps_of(step, width):
        held = graph.hold(np.asarray(by, dtype=np.float64).reshape(1, -1))
        if kind == "fill":
            last = graph.add("Where", [graph.add("IsNaN", [last]), held, last])
        else:
            last = graph.add(OPERATORS[kind], [last, held])
    return last, width


def _filled_texts(graph: _Graph, step: Any, last: str, names: list[str]) -> str:
    """Return codes of texts, where an imputer filled the missing ones."""
    plain = type(step).__name__ == "SimpleImputer" and not step.add_indicator
    if not plain or step.missing_values == step.missing_values or not all(map(graph.is_text, names)):
        raise Unfit(f"{type(step).__name__} of texts is not told here")
    codes = [graph.code(name, by) for name, by in zip(names, step.statistics_.tolist(), strict=True)]
    return graph.add("Where", [graph.add("IsNaN", [last]), graph.hold(np.array([codes])), last])


def _encoded(graph: _Graph, step: Any, last: str, names: list[str]) -> tuple[str, int]:
    """Return the columns of a one-hot or an ordinal encoder side by side, and how many there are.

    Args:
        names: of the inputs, where they are texts.
    """
    one_hot = type(step).__name__ == "OneHotEncoder"
    if getattr(step, "_infrequent_enabled", False):
        raise Unfit(f"{type(step).__name__} with infrequent categories is not told here")
    dropped = step.drop_idx_ if one_hot and step.drop_idx_ is not None else [None] * len(step.categories_)
    parts, width = [], 0
    for place, (known, drop) in enumerate(zip(step.categories_, dropped, strict=True)):
        if names and graph.is_text(names[place]):
            codes = np.array([graph.code(names[place], one) for one in known.tolist()])
        else:
            codes = np.asarray(known, dtype=np.float64)
        flags = _flags(graph, graph.add("Gather", [last, graph.hold(np.array([place]))], axis=1), codes)
        if one_hot:
            kept = [one for one in range(len(known)) if one != drop]
            parts.append(flags if drop is None else graph.add("Gather", [flags, graph.hold(np.array(kept))], axis=1))
            width += len(kept)
        else:
            parts.append(_ordinal(graph, step, flags, np.isnan(codes)))
            width += 1
    return _joined(graph, parts), width


def _flags(graph: _Graph, column: str, known: np.ndarray) -> str:
    """Return float64 [rows, categories]: one where a column has that category; NaN is one of its own."""
    from onnx import TensorProto

    numbers = known.reshape(1, -1)
    same = graph.add("Equal", [column, graph.hold(numbers)])
    if np.isnan(numbers).any():
        absent = graph.add("And", [graph.add("IsNaN", [column]), graph.hold(np.isnan(numbers))])
        same = graph.add("Or", [same, absent])
    return graph.add("Cast", [same], to=TensorProto.DOUBLE)


def _ordinal(graph: _Graph, step: Any, flags: str, absent: np.ndarray) -> str:
    """Return the code of a category [rows, 1], and of an unseen one what the encoder says.

    Args:
        absent: which of the categories stands for what is missing.
    """
    codes = np.arange(len(absent), dtype=np.float64)
    codes[absent] = 0.0
    found = graph.add("MatMul", [flags, graph.hold(codes.reshape(-1, 1))])
    if absent.any():
        missing = graph.add("MatMul", [flags, graph.hold(absent.astype(np.float64).reshape(-1, 1))])
        value = graph.hold(np.array([[float(step.encoded_missing_value)]]))
        found = graph.add("Where", [graph.add("Greater", [missing, graph.hold(np.array(0.5))]), value, found])
    unknown = np.nan if step.unknown_value is None else float(step.unknown_value)
    seen = graph.add("ReduceSum", [flags, graph.hold(np.array([1]))], keepdims=1)
    known_at_all = graph.add("Greater", [seen, graph.hold(np.array(0.5))])
    return graph.add("Where", [known_at_all, found, graph.hold(np.array([[unknown]]))])


def _linear(graph: _Graph, final: Any, last: str, signature: Signature) -> str:
    """Return the outputs of a linear model: values, the positive class' probability, or each class'."""
    weights = np.atleast_2d(np.asarray(final.coef_, dtype=np.float64))
    base = np.broadcast_to(np.asarray(final.intercept_, dtype=np.float64), (len(weights),)).reshape(1, -1)
    scores = graph.add("Add", [graph.add("MatMul", [last, graph.hold(weights.T)]), graph.hold(base)])
    if signature.output.task == "regression":
        return scores
    if type(final).__name__ != "LogisticRegression" or len(weights) == 2:
        raise Unfit(f"the probabilities of {type(final).__name__} are not told here")
    return graph.add("Sigmoid", [scores]) if len(weights) == 1 else graph.add("Softmax", [scores], axis=1)
