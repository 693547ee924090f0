"""A forest as Treelite's model, and Treelite's interpreter (GTIL) behind the contract of a runtime.

The model is built from the trees that every other engine here walks, not by Treelite's own readers: these leave
thresholds as the library wrote them, and send what lies on one the other way where that library compares otherwise.
What is kept is Treelite's checkpoint, which is data: nothing is compiled of a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bascule.errors import InputError, MissingExtra
from bascule.serving.engines.forest import Forest, Unfit
from bascule.training.attempts import ask
from bascule.training.trials import demand_survived

ENDS = {
    "none": "identity",
    "logistic": "sigmoid",
    "logistic32": "sigmoid",
    "each_logistic": "multiclass_ova",
    "softmax": "softmax",
    "exponential": "exponential",
}


def treelite_of(forest: Forest) -> bytes:
    """Return a forest as Treelite's checkpoint.

    Raises:
        Unfit: the forest has something that Treelite does not say.
        MissingExtra: Treelite is not installed.
    """
    try:
        from treelite import TreeliteError
        from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation
    except ImportError:
        raise MissingExtra("Trees walked by Treelite", "optimize") from None
    _demand_said(forest)
    wide, trees = forest.values.shape[1] > 1, len(forest.roots)
    kind = "float32" if forest.single_sums else "float64"
    try:
        builder: Any = ModelBuilder(
            threshold_type=kind,
            leaf_output_type=kind,
            metadata=Metadata(
                num_feature=forest.inputs,
                task_type="kMultiClf" if forest.outputs > 1 else "kRegressor",
                average_tree_output=forest.divide != 1.0,
                num_target=1,
                num_class=[forest.outputs],
                leaf_vector_shape=(1, forest.outputs if wide else 1),
            ),
            tree_annotation=TreeAnnotation(
                num_tree=trees, target_id=[0] * trees, class_id=[-1] * trees if wide else forest.targets.tolist()
            ),
            postprocessor=PostProcessorFunc(name=ENDS[forest.link], sigmoid_alpha=forest.factor),
            base_scores=forest.base.tolist(),
        )
        ends = [*forest.roots[1:].tolist(), len(forest.nodes)]
        told = _Nodes(forest)
        for first, end in zip(forest.roots.tolist(), ends, strict=True):
            builder.start_tree()
            for place in range(first, end):
                builder.start_node(place - first)
                told.tell(builder, place, first)
                builder.end_node()
            builder.end_tree()
        return bytes(builder.commit().serialize_bytes())
    except TreeliteError as error:
        raise Unfit(f"Treelite does not take it: {str(error).strip().splitlines()[-1][:200]}") from None


def _demand_said(forest: Forest) -> None:
    if forest.steps:
        raise Unfit("what comes before its trees is not said in Treelite's models; `compiled` does it too")
    if forest.factor != 1.0 and forest.link not in ("logistic", "each_logistic"):
        raise Unfit("what becomes of the trees' sum is not said in Treelite's models")
    if forest.divide != 1.0:
        wide = forest.values.shape[1] > 1
        counts = [len(forest.roots)] if wide else np.bincount(forest.targets, minlength=forest.outputs).tolist()
        if forest.base.any() or any(count != forest.divide for count in counts):
            raise Unfit("its mean of trees is not said in Treelite's models")


class _Nodes:
    """The nodes of a forest as a builder hears of them."""

    def __init__(self, forest: Forest) -> None:
        self._forest = forest
        self._leaf = forest.is_leaf().tolist()
        nodes = forest.nodes
        thresholds = nodes["threshold"]
        if forest.single and not forest.single_sums:
            thresholds = up_to_single(thresholds)
        self._threshold, self._missing = thresholds.tolist(), nodes["missing"].tolist()
        self._feature, self._child, self._set, self._words = (
            nodes[name].tolist() for name in ("feature", "child", "set", "words")
        )

    def tell(self, builder: Any, place: int, first: int) -> None:
        if self._leaf[place]:
            values = self._forest.values[place].tolist()
            builder.leaf(values if len(values) > 1 else values[0])
            return
        low = self._child[place] - first
        ways = {"default_left": not self._missing[place], "left_child_key": low, "right_child_key": low + 1}
        start = self._set[place]
        if start >= 0:
            words = self._forest.sets[start : start + self._words[place]].tolist()
            codes = [32 * i + bit for i, word in enumerate(words) for bit in range(32) if word >> bit & 1]
            builder.categorical_test(self._feature[place], category_list=codes, category_list_right_child=False, **ways)
        else:
            builder.numerical_test(self._feature[place], self._threshold[place], opname="<=", **ways)


def up_to_single(thresholds: np.ndarray) -> np.ndarray:
    """Return the largest float64 of which the nearest float32 is not above a threshold.

    So a model that rounds its inputs to float32 is one that compares them as they are.
    """
    with np.errstate(over="ignore"):
        low = thresholds.astype(np.float32)
        low = np.where(low.astype(np.float64) > thresholds, np.nextafter(low, np.float32(-np.inf)), low)
        high = np.nextafter(low, np.float32(np.inf))
        # Beyond the largest float32 a number is infinite from where the next step would be nearer.
        beyond = low.astype(np.float64) + np.spacing(low)
        after = np.where(np.isinf(high), beyond, high.astype(np.float64))
        middle = (low.astype(np.float64) + after) / 2
        middle = np.where(middle.astype(np.float32) <= low, middle, np.nextafter(middle, -np.inf))
    return np.where(np.isfinite(thresholds), middle, thresholds)


class TreeliteRuntime:
    """Treelite's interpreter as a `Runtime`.

    Args:
        data: a checkpoint, as `treelite_of` makes it.

    Raises:
        InputError: the bytes are none, or of a release that this one does not read.
        MissingExtra: Treelite is not installed.
    """

    def __init__(self, data: bytes, inputs: int) -> None:
        try:
            from treelite import __version__, gtil
        except ImportError:
            raise MissingExtra("Trees walked by Treelite", "optimize") from None
        demand_survived("Treelite", f"{__name__}:attempt", __version__, data)
        self._model = read_treelite(data)
        if self._model.num_feature != inputs:
            raise InputError(f"Treelite's model reads {self._model.num_feature} inputs; the version has {inputs}.")
        self._walk = gtil.predict
        self._kind = np.float32 if self._model.input_type == "float32" else np.float64

    def predict_one(self, row: Sequence[float]) -> Sequence[float]:
        """Return the outputs for one row."""
        answer: list[float] = np.atleast_1d(self.predict(np.array([row], dtype=np.float64))[0]).tolist()
        return answer

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the outputs for many rows. The interpreter of Python is free for other threads meanwhile."""
        with np.errstate(over="ignore"):
            given = np.ascontiguousarray(matrix, dtype=self._kind)
        found = np.asarray(self._walk(self._model, given, nthread=1), dtype=np.float64).reshape(len(matrix), -1)
        return found[:, 0] if found.shape[1] == 1 else found


def read_treelite(data: bytes) -> Any:
    """Return the model in a checkpoint that Treelite is known to live through (`trials`), or may die of.

    Raises:
        InputError: the bytes are none, or of a release that this one does not read.
    """
    from treelite import Model, TreeliteError

    try:
        return Model.deserialize_bytes(data)
    except TreeliteError as error:
        said = (str(error).strip().splitlines() or ["it said nothing"])[-1][:200]
        raise InputError(
            f"Treelite cannot read this model: {said}", hint="Make it again: bascule optimize MODEL"
        ) from None


def attempt(data: bytes) -> None:
    """Try a checkpoint in a process that may die of it."""
    from treelite import gtil

    model = read_treelite(data)
    kind = np.float32 if model.input_type == "float32" else np.float64
    ask(lambda rows: gtil.predict(model, rows.astype(kind), nthread=1), int(model.num_feature))
