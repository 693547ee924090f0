"""Forests out of scikit-learn's estimators: trees, random forests, gradient boosting in both kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bascule.serving.engines.forest import Forest, Growing, Leaf, Link, Split, Step, Unfit, checked, down_to_single

_TREES = ("DecisionTree", "ExtraTree")
_FORESTS = ("RandomForest", "ExtraTrees")
_FAMILIES = (*_TREES, *_FORESTS, "GradientBoosting", "HistGradientBoosting", "Bagging")
_BOOSTED_LINKS: dict[str, tuple[Link, float]] = {
    "log_loss": ("logistic", 1.0),
    "exponential": ("logistic", 2.0),
    **dict.fromkeys(("squared_error", "absolute_error", "huber", "quantile"), ("none", 1.0)),
}
_HISTOGRAM_LINKS: dict[str, Link] = {
    "HalfBinomialLoss": "logistic",
    "HalfMultinomialLoss": "softmax",
    "HalfPoissonLoss": "exponential",
    "HalfGammaLoss": "exponential",
    **dict.fromkeys(("HalfSquaredError", "AbsoluteError", "PinballLoss"), "none"),
}


def forest_of_estimator(estimator: Any) -> Forest:
    """Return the trees of an estimator.

    Raises:
        Unfit: it has steps before its trees, or is none that has trees.
    """
    kind = type(estimator).__name__
    if kind == "Pipeline":
        parts = [one for _, one in estimator.steps if one is not None and not isinstance(one, str)]
        first = forest_of_estimator(parts[-1])
        prepared = tuple(step for one in parts[:-1] for step in steps_of(one, first.inputs))
        return checked(replace(first, steps=(*prepared, *first.steps)))
    family = kind.removesuffix("Classifier").removesuffix("Regressor")
    if getattr(estimator, "n_outputs_", 1) != 1:
        raise Unfit("it predicts several outputs at once")
    if family in _TREES:
        return _averaged(estimator, [estimator])
    if family in _FORESTS:
        return _averaged(estimator, list(estimator.estimators_))
    if family == "Bagging":
        return _bagged(estimator)
    if family == "GradientBoosting":
        return _boosted(estimator)
    if family == "HistGradientBoosting":
        return _histogram(estimator)
    raise Unfit(f"{kind} has no decision trees")


def is_trees(estimator: Any) -> bool:
    """Return whether an estimator, or the last step of a pipeline, is one of those that are made of trees."""
    kind = type(estimator).__name__
    if kind == "Pipeline":
        return is_trees(estimator.steps[-1][1])
    return kind.removesuffix("Classifier").removesuffix("Regressor") in _FAMILIES


def steps_of(part: Any, width: int) -> list[tuple[Step, np.ndarray]]:
    """Return what a step of a pipeline does to each column alone, as it does it.

    Raises:
        Unfit: it does something else.
    """
    kind = type(part).__name__
    told: list[tuple[Step, Any]]
    if kind == "SimpleImputer" and not part.add_indicator and part.missing_values != part.missing_values:
        told = [("fill", part.statistics_)]
        if np.isnan(part.statistics_.astype(np.float64)).any():
            raise Unfit("its SimpleImputer leaves columns out")
    elif kind == "StandardScaler":
        told = [("subtract", part.mean_), ("divide", part.scale_)]
    elif kind == "MinMaxScaler" and not part.clip:
        told = [("multiply", part.scale_), ("add", part.min_)]
    elif kind == "RobustScaler":
        told = [
            ("subtract", part.center_ if part.with_centering else None),
            ("divide", part.scale_ if part.with_scaling else None),
        ]
    elif kind == "MaxAbsScaler" and not getattr(part, "clip", False):
        told = [("divide", part.scale_)]
    else:
        raise Unfit(f"{kind} comes before its trees, and is not compiled")
    steps = [(name, np.asarray(by, dtype=np.float64)) for name, by in told if by is not None]
    if any(by.shape != (width,) for _, by in steps):
        raise Unfit(f"its {kind} changes the number of columns")
    return steps


def _averaged(estimator: Any, trees: list[Any], chosen: Sequence[np.ndarray] | None = None) -> Forest:
    classes = len(getattr(estimator, "classes_", ())) if hasattr(estimator, "predict_proba") else 0
    if classes == 1:
        raise Unfit("it knows one class")
    wanted = slice(1, 2) if classes == 2 else slice(None)  # of two classes the second is told
    width = 1 if classes in (0, 2) else classes
    growing = Growing(inputs=int(estimator.n_features_in_), base=[0.0] * width, width=width)
    for place, one in enumerate(trees):
        inputs = None if chosen is None else np.asarray(chosen[place])
        growing.add(_tree(one.tree_, one.tree_.value[:, 0, wanted], inputs))
    return growing.grown(single=True, divide=float(len(trees)))


def _bagged(estimator: Any) -> Forest:
    """Return the trees of a bagging, each over the inputs that it was given."""
    trees, chosen = list(estimator.estimators_), estimator.estimators_features_
    kinds = {type(one).__name__.removesuffix("Classifier").removesuffix("Regressor") for one in trees}
    if not kinds <= set(_TREES):
        raise Unfit(f"it is a bagging of {', '.join(sorted(kinds))}")
    classes = len(getattr(estimator, "classes_", ()))
    if any(len(getattr(one, "classes_", ())) != classes for one in trees):
        raise Unfit("some of its trees have not seen all classes")
    return _averaged(estimator, trees, chosen)


def _boosted(estimator: Any) -> Forest:
    if type(estimator.init_).__name__ not in ("DummyClassifier", "DummyRegressor", "str"):
        raise Unfit(f"it begins with {type(estimator.init_).__name__}, a model of its own")
    known = _BOOSTED_LINKS.get(str(estimator.loss))
    if known is None:
        raise Unfit(f"the loss {str(estimator.loss)[:40]!r} is not compiled")
    link, factor = known
    outputs = estimator.estimators_.shape[1]
    link = "softmax" if outputs > 1 else link
    start = np.zeros((1, int(estimator.n_features_in_)), dtype=np.float32)
    begins = np.asarray(estimator._raw_predict_init(start), dtype=np.float64).reshape(-1)
    growing = Growing(inputs=start.shape[1], base=[float(one) for one in begins])
    for row in estimator.estimators_:
        for target, one in enumerate(row):
            growing.add(_tree(one.tree_, estimator.learning_rate * one.tree_.value[:, 0, :]), target)
    return growing.grown(single=True, link=link, factor=factor)


def _tree(tree: Any, values: np.ndarray, inputs: np.ndarray | None = None) -> Split | Leaf:
    """Return one of scikit-learn's trees, which read float32 and compare with float64 thresholds.

    Args:
        inputs: which of all inputs the tree's own are; these themselves when not given.
    """
    left, right = tree.children_left, tree.children_right
    missing_left = getattr(tree, "missing_go_to_left", np.zeros(len(left)))
    nodes: list[Split | Leaf] = [Leaf(())] * len(left)
    covers = tree.weighted_n_node_samples.tolist()
    for place in reversed(range(len(left))):
        if left[place] < 0:
            nodes[place] = Leaf(tuple(float(one) for one in values[place]), covers[place])
            continue
        if min(left[place], right[place]) <= place:
            raise Unfit("a node comes before the one that leads to it")
        nodes[place] = Split(
            int(tree.feature[place] if inputs is None else inputs[tree.feature[place]]),
            nodes[left[place]],
            nodes[right[place]],
            down_to_single(float(tree.threshold[place])),
            missing_high=not missing_left[place],
            cover=covers[place],
        )
    return nodes[0]


def _histogram(estimator: Any) -> Forest:
    loss = type(estimator._loss).__name__
    link = _HISTOGRAM_LINKS.get(loss)
    if link is None:
        raise Unfit(f"the loss {loss[:40]!r} is not compiled")
    if getattr(estimator, "_preprocessor", None) is not None:
        raise Unfit("it reads categories by a code of its own, which is not compiled")
    begins = np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(-1)
    growing = Growing(inputs=int(estimator.n_features_in_), base=[float(one) for one in begins])
    for row in estimator._predictors:
        for target, one in enumerate(row):
            growing.add(_histogram_tree(one.nodes), target)
    return growing.grown(link=link)


def _histogram_tree(held: np.ndarray) -> Split | Leaf:
    if held["is_categorical"].any():
        raise Unfit("it splits by categories, which is not compiled for HistGradientBoosting")
    left, right, nodes = held["left"], held["right"], [Leaf(())] * len(held)
    built: list[Split | Leaf] = list(nodes)
    for place in reversed(range(len(held))):
        if held["is_leaf"][place]:
            built[place] = Leaf((float(held["value"][place]),), float(held["count"][place]))
            continue
        if min(left[place], right[place]) <= place:
            raise Unfit("a node comes before the one that leads to it")
        built[place] = Split(
            int(held["feature_idx"][place]),
            built[left[place]],
            built[right[place]],
            float(held["num_threshold"][place]),
            missing_high=not held["missing_go_to_left"][place],
            cover=float(held["count"][place]),
        )
    return built[0]
