"""A forest as an ONNX model: one `TreeEnsemble` node in float64 or float32, and what becomes of the sum.

In float32 thresholds are rounded down, not to the nearest, so float32 values go where they went. Values between two
float32 numbers are lost there all the same; parity tells.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bascule.errors import MissingExtra
from bascule.serving.engines.forest import Forest, Unfit

OPSET, ML_OPSET, IR = 18, 5, 10
ENDS = {
    **dict.fromkeys(("logistic", "logistic32", "each_logistic"), "Sigmoid"),
    "softmax": "Softmax",
    "exponential": "Exp",
}
MOST_NODES = 2_000_000  # told for several outputs
LEQ, MEMBER, SUM = 0, 6, 1


def onnx_of(forest: Forest, *, single: bool) -> bytes:
    """Return an ONNX model that reads `rows` [N, inputs] and gives `output` [N, outputs].

    Args:
        single: in float32, whatever the forest reads.

    Raises:
        Unfit: the forest has something that ONNX does not say.
        MissingExtra: the package onnx is not installed.
    """
    try:
        from onnx import TensorProto, helper
    except ImportError:
        raise MissingExtra("Trees as ONNX", "optimize") from None
    if forest.steps:
        raise Unfit("what comes before its trees is left to skl2onnx")
    forest = narrowed(forest)
    kind, element = (np.float32, TensorProto.FLOAT) if single else (np.float64, TensorProto.DOUBLE)
    nodes = [helper.make_node("TreeEnsemble", ["rows"], ["sums"], domain="ai.onnx.ml", **_trees(forest, kind))]
    held = [_tensor("base", forest.base.reshape(1, -1).astype(kind))]
    nodes.append(helper.make_node("Add", ["sums", "base"], ["based"]))
    last = "based"
    for operator, value in (("Div", forest.divide), ("Mul", forest.factor)):
        if value != 1.0:
            held.append(_tensor(operator.lower(), np.array([value], dtype=kind)))
            nodes.append(helper.make_node(operator, [last, operator.lower()], [f"{operator}_out"]))
            last = f"{operator}_out"
    nodes.append(helper.make_node(ENDS.get(forest.link, "Identity"), [last], ["output"]))
    graph = helper.make_graph(
        nodes,
        "forest",
        [helper.make_tensor_value_info("rows", element, [None, forest.inputs])],
        [helper.make_tensor_value_info("output", element, [None, forest.outputs])],
        held,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="bascule", ir_version=IR)
    return bytes(model.SerializeToString(deterministic=True))


def _tensor(name: str, array: np.ndarray) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def narrowed(forest: Forest) -> Forest:
    """Return a forest whose leaves hold one number: each tree comes once for each output that it adds to.

    Raises:
        Unfit: that would be too many.
    """
    width, count = forest.values.shape[1], len(forest.nodes)
    if width == 1:
        return forest
    if count * width > MOST_NODES:
        raise Unfit(f"its {count:,} nodes would be told once for each of {width} outputs, beyond {MOST_NODES:,} in all")
    copies = np.arange(width, dtype=np.int32)
    nodes = np.tile(forest.nodes, width)
    nodes["child"] += np.repeat(copies * count, count)
    return replace(
        forest,
        nodes=nodes,
        values=np.ascontiguousarray(forest.values.T).reshape(-1, 1),
        roots=np.add.outer(copies * count, forest.roots).reshape(-1).astype(np.int32),
        depths=np.tile(forest.depths, width),
        targets=np.repeat(copies, len(forest.roots)),
    )


def _trees(forest: Forest, kind: Any) -> dict[str, Any]:
    """Return the attributes of a `TreeEnsemble`: inner nodes and leaves are counted apart."""
    nodes, leaf = forest.nodes, forest.is_leaf()
    if leaf[forest.roots].any():
        raise Unfit("a tree has no split, which ONNX cannot say")
    number = np.cumsum(~leaf) - 1
    owner = np.searchsorted(forest.roots, np.arange(len(nodes)), side="right") - 1
    leaf_number = np.cumsum(leaf) - 1
    inner = np.flatnonzero(~leaf)
    child = nodes["child"][inner]
    low, high = child, child + 1
    thresholds = nodes["threshold"][inner]
    values = _rounded(thresholds, kind)
    member = nodes["set"][inner] >= 0
    attributes: dict[str, Any] = {
        "tree_roots": number[forest.roots].tolist(),
        "nodes_featureids": nodes["feature"][inner].tolist(),
        "nodes_modes": _tensor("modes", np.where(member, MEMBER, LEQ).astype(np.uint8)),
        "nodes_splits": _tensor("splits", np.where(member, 0, values).astype(kind)),
        "nodes_truenodeids": np.where(leaf[low], leaf_number[low], number[low]).tolist(),
        "nodes_falsenodeids": np.where(leaf[high], leaf_number[high], number[high]).tolist(),
        "nodes_trueleafs": leaf[low].astype(int).tolist(),
        "nodes_falseleafs": leaf[high].astype(int).tolist(),
        "nodes_missing_value_tracks_true": (nodes["missing"][inner] == 0).astype(int).tolist(),
        "leaf_targetids": forest.targets[owner[leaf]].tolist(),
        "leaf_weights": _tensor("weights", forest.values[leaf, 0].astype(kind)),
        "n_targets": forest.outputs,
        "aggregate_function": SUM,
        "post_transform": 0,
    }
    if member.any():
        held: list[float] = []
        for node in nodes[inner][member]:
            words = forest.sets[node["set"] : node["set"] + node["words"]]
            held += [float(32 * i + bit) for i, word in enumerate(words) for bit in range(32) if int(word) >> bit & 1]
            held.append(float("nan"))  # ends a node's set
        attributes["membership_values"] = _tensor("members", np.array(held, dtype=kind))
    return attributes


def _rounded(thresholds: np.ndarray, kind: Any) -> np.ndarray:
    """Return thresholds of a type, none above what it was."""
    with np.errstate(over="ignore"):
        near = thresholds.astype(kind)
        down = np.nextafter(near, np.array(-np.inf, dtype=kind))
    return np.where(near.astype(np.float64) > thresholds, down, near)
