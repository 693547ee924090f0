"""Forests out of models: LightGBM's text, XGBoost's JSON, scikit-learn's estimators, CatBoost's JSON."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bascule.serving.engines.forest import Forest, Growing, Leaf, Link, Split, Unfit, below
from bascule.serving.engines.sklearn_trees import forest_of_estimator
from bascule.training import ModelBundle

LIGHTGBM_ZERO = float(np.float32(1e-35))
MOST_NODES = 20_000_000


def forest_of(bundle: ModelBundle) -> Forest:
    """Return a model's trees.

    Raises:
        Unfit: it has none, or some that no engine here walks; the text says why.
        InputError: the bytes are no model of their format.
        MissingExtra: the library that reads them is not installed.
    """
    reader = _READERS.get(bundle.format)
    if reader is None:
        raise Unfit(f"a model of the format {bundle.format} is no forest of decision trees")
    forest = reader(bundle)
    multiclass = bundle.signature.output.task == "multiclass"
    wanted = len(bundle.signature.output.classes) if multiclass else 1
    if forest.inputs != len(bundle.signature.inputs) or forest.outputs != wanted:
        raise Unfit("its trees do not belong to its signature")
    return forest


_LIGHTGBM_LINKS: dict[str, Link] = {
    "binary": "logistic",
    "cross_entropy": "logistic",
    "multiclass": "softmax",
    "multiclassova": "each_logistic",
    "poisson": "exponential",
    "gamma": "exponential",
    "tweedie": "exponential",
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "none"),
    **dict.fromkeys(("lambdarank", "rank_xendcg"), "none"),
}


def _lightgbm(bundle: ModelBundle) -> Forest:
    head, *trees = bundle.model.decode("utf-8").partition("\nend of trees")[0].split("\nTree=")
    told = _lines(head)
    objective, *settings = told.get("objective", "").split()
    link = _LIGHTGBM_LINKS.get(objective)
    if link is None or "sqrt" in settings:
        raise Unfit(f"LightGBM's objective {told.get('objective', '')[:40]!r} is not one that is compiled")
    per_round = int(told["num_tree_per_iteration"])
    growing = Growing(inputs=int(told["max_feature_idx"]) + 1, base=[0.0] * per_round)
    for place, text in enumerate(trees):
        growing.add(_lightgbm_tree(_lines(text)), place % per_round)
    factor = next((float(one.partition(":")[2]) for one in settings if one.startswith("sigmoid:")), 1.0)
    averaged = "\naverage_output" in head
    return growing.grown(link=link, factor=factor, divide=len(trees) / per_round if averaged else 1.0)


def _lines(text: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


def _lightgbm_tree(told: Mapping[str, str]) -> Split | Leaf:
    if told.get("is_linear", "0").strip() not in ("0", ""):
        raise Unfit("its leaves hold linear models (linear_tree), which are not compiled")
    leaves: list[Split | Leaf] = [Leaf((float(one),)) for one in told["leaf_value"].split()]
    if int(told["num_leaves"]) == 1:
        return leaves[0]
    features, kinds = _whole(told["split_feature"]), _whole(told["decision_type"])
    thresholds = [float(one) for one in told["threshold"].split()]
    left, right = _whole(told["left_child"]), _whole(told["right_child"])
    bounds, words = _whole(told.get("cat_boundaries", "")), _whole(told.get("cat_threshold", ""))
    splits: list[Split | Leaf] = [Leaf((0.0,))] * len(features)
    for place in reversed(range(len(features))):
        if not all(child < 0 or child > place for child in (left[place], right[place])):
            raise Unfit("a node comes before the one that leads to it")
        low, high = (splits[one] if one >= 0 else leaves[~one] for one in (left[place], right[place]))
        threshold, kind = thresholds[place], kinds[place]
        if kind & 1:
            held = words[bounds[int(threshold)] : bounds[int(threshold) + 1]]
            codes = tuple(32 * i + bit for i, word in enumerate(held) for bit in range(32) if word >> bit & 1)
            splits[place] = Split(features[place], low, high, codes=codes, missing_high=True)
            continue
        threshold = _beside_zero(threshold)
        missing, default_left = kind >> 2 & 3, bool(kind & 2)
        if missing == 1:
            raise Unfit("it takes zeros for missing (zero_as_missing), which is not compiled")
        # A model that saw nothing missing takes NaN for zero.
        missing_high = not default_left if missing == 2 else not threshold >= 0
        splits[place] = Split(features[place], low, high, threshold, missing_high=missing_high)
    return splits[0]


def _beside_zero(threshold: float) -> float:
    """Return a threshold as LightGBM asks it: what lies within 1e-35 of zero is zero to it."""
    if -LIGHTGBM_ZERO <= threshold < 0:
        return float(np.nextafter(-LIGHTGBM_ZERO, -np.inf))
    return LIGHTGBM_ZERO if 0 <= threshold < LIGHTGBM_ZERO else threshold


def _whole(text: str) -> list[int]:
    return [int(one) for one in text.split()]


_XGBOOST_LINKS: dict[str, Link] = {
    "binary:logistic": "logistic32",
    "reg:logistic": "logistic32",
    "multi:softprob": "softmax",
    "multi:softmax": "softmax",
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox"), "exponential"),
    **dict.fromkeys(
        ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror", "rank:ndcg"),
        "none",
    ),
}


def _xgboost(bundle: ModelBundle) -> Forest:
    from bascule.training.boosters import open_xgboost

    booster = open_xgboost(bundle.model)
    learner = msgspec.json.decode(bytes(booster.save_raw("json")))["learner"]
    objective = str(learner["objective"]["name"])
    link, engine = _XGBOOST_LINKS.get(objective), learner["gradient_booster"]
    if link is None:
        raise Unfit(f"XGBoost's objective {objective[:40]!r} is not one that is compiled")
    if engine["name"] not in ("gbtree", "dart"):
        raise Unfit(f"XGBoost's booster {engine['name'][:40]!r} has no trees")
    weights = engine.get("weight_drop")
    model = engine["gbtree"]["model"] if engine["name"] == "dart" else engine["model"]
    param = learner["learner_model_param"]
    outputs = max(1, int(param["num_class"]))
    if int(param.get("num_target", 1)) > 1:
        raise Unfit("it predicts several targets at once")
    growing = Growing(inputs=int(param["num_feature"]), base=_margins(param["base_score"], link, outputs))
    for place, (tree, target) in enumerate(zip(model["trees"], model["tree_info"], strict=True)):
        growing.add(_xgboost_tree(tree, np.float32(weights[place] if weights else 1.0)), int(target))
    return growing.grown(link=link, single=True, single_sums=True, above=float(np.nextafter(0.0, -1.0)))


def _margins(text: str, link: Link, outputs: int) -> list[float]:
    """Return what XGBoost's sums begin with: the score that it keeps as people read it, before the link."""
    scores = np.array([float(one) for one in str(text).strip("[]").split(",")], dtype=np.float32)
    if link == "logistic32":
        scores = -np.log(np.float32(1.0) / scores - np.float32(1.0))
    elif link == "exponential":
        scores = np.log(scores)
    return [float(one) for one in np.broadcast_to(scores.astype(np.float32), (outputs,))]


def _xgboost_tree(tree: Mapping[str, Any], weight: np.float32) -> Split | Leaf:
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise Unfit("its trees have a leaf for several outputs")
    left, right = tree["left_children"], tree["right_children"]
    values = np.array(tree["split_conditions"], dtype=np.float32)
    sets = _xgboost_sets(tree)
    nodes: list[Split | Leaf] = [Leaf((0.0,))] * len(left)
    for place in reversed(range(len(left))):
        if left[place] < 0:
            nodes[place] = Leaf((float(values[place] * weight),))
            continue
        if min(left[place], right[place]) <= place:
            raise Unfit("a node comes before the one that leads to it")
        low, high, default_left = nodes[left[place]], nodes[right[place]], bool(tree["default_left"][place])
        feature = int(tree["split_indices"][place])
        if place in sets:  # XGBoost sends what is in the set to the right
            nodes[place] = Split(feature, high, low, codes=sets[place], missing_high=default_left)
        else:
            threshold = below(float(values[place]), single=True)
            nodes[place] = Split(feature, low, high, threshold, missing_high=not default_left)
    return nodes[0]


def _xgboost_sets(tree: Mapping[str, Any]) -> dict[int, tuple[int, ...]]:
    parts = zip(
        tree.get("categories_nodes", ()),
        tree.get("categories_segments", ()),
        tree.get("categories_sizes", ()),
        strict=True,
    )
    return {int(node): tuple(int(c) for c in tree["categories"][start : start + size]) for node, start, size in parts}


def _skops(bundle: ModelBundle) -> Forest:
    from bascule.training.foreign import open_skops

    return forest_of_estimator(open_skops(bundle.model))


_CATBOOST_LINKS: dict[str, Link] = {
    "Logloss": "logistic",
    **dict.fromkeys(("CrossEntropy", "Focal"), "logistic"),
    "MultiClass": "softmax",
    "MultiClassOneVsAll": "each_logistic",
    **dict.fromkeys(("Poisson", "Tweedie"), "exponential"),
    **dict.fromkeys(("RMSE", "MAE", "Quantile", "MAPE", "Huber", "Expectile", "LogCosh", "Lq"), "none"),
}
_OWN_STATISTICS = "CatBoost's own statistics of categories, texts and embeddings are not compiled"


def _catboost(bundle: ModelBundle) -> Forest:
    from bascule.training.catboost_models import open_catboost

    model = open_catboost(bundle.model)
    if model.get_cat_feature_indices():  # its library writes no JSON of these without the rows that it was fitted on
        raise Unfit(_OWN_STATISTICS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        told = msgspec.json.decode(path.read_bytes())
    return forest_of_catboost(told, len(bundle.signature.inputs))


def forest_of_catboost(told: Mapping[str, Any], inputs: int) -> Forest:
    """Return the trees of a model as CatBoost writes it as JSON."""
    about = told["features_info"]
    if about.get("categorical_features") or about.get("text_features") or about.get("embedding_features"):
        raise Unfit(_OWN_STATISTICS)
    loss = str(told["model_info"]["params"]["loss_function"]["type"])
    link = _CATBOOST_LINKS.get(loss)
    if link is None:
        raise Unfit(f"CatBoost's loss {loss[:40]!r} is not one that is compiled")
    scale, bias = told["scale_and_bias"]
    base = [float(one) for one in (bias if isinstance(bias, list) else [bias])]
    floats = {int(one["feature_index"]): one for one in about["float_features"]}
    growing = Growing(inputs=inputs, base=base, width=len(base))
    if sum(len(tree["leaf_values"]) for tree in told.get("oblivious_trees", ())) > MOST_NODES:
        raise Unfit("it has more leaves than are compiled")
    for tree in told.get("oblivious_trees", ()):
        growing.add(_catboost_tree(tree, floats, len(base), float(scale)))
    for tree in told.get("trees", ()):  # of another grow_policy than SymmetricTree
        growing.add(_catboost_node(tree, floats, float(scale)))
    return growing.grown(link=link, single=True)


def _catboost_tree(
    tree: Mapping[str, Any], floats: Mapping[int, Mapping[str, Any]], width: int, scale: float
) -> Split | Leaf:
    values = tree["leaf_values"]
    level: list[Split | Leaf] = [
        Leaf(tuple(float(one) * scale for one in values[at : at + width])) for at in range(0, len(values), width)
    ]
    # The first split is the lowest bit of a leaf's number, so leaves that differ in it lie side by side.
    for split in tree["splits"] or ():
        level = [_catboost_split(split, floats, level[at], level[at + 1]) for at in range(0, len(level), 2)]
    if len(level) != 1:
        raise Unfit("a tree has more leaves than its splits tell apart")
    return level[0]


def _catboost_node(node: Mapping[str, Any], floats: Mapping[int, Mapping[str, Any]], scale: float) -> Split | Leaf:
    if "split" not in node:
        values = node["value"]
        return Leaf(tuple(float(one) * scale for one in (values if isinstance(values, list) else [values])))
    low, high = (_catboost_node(node[side], floats, scale) for side in ("left", "right"))
    return _catboost_split(node["split"], floats, low, high)


def _catboost_split(
    split: Mapping[str, Any], floats: Mapping[int, Mapping[str, Any]], low: Split | Leaf, high: Split | Leaf
) -> Split:
    if split.get("split_type", "FloatFeature") != "FloatFeature":
        raise Unfit(f"a split of the type {split['split_type'][:40]} is not compiled")
    about = floats[int(split["float_feature_index"])]
    up = about.get("nan_value_treatment") == "AsTrue"
    return Split(int(about["flat_feature_index"]), low, high, float(np.float32(split["border"])), missing_high=up)


_READERS: dict[str, Callable[[ModelBundle], Forest]] = {
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "skops": _skops,
    "catboost": _catboost,
}
TREES = frozenset(_READERS)  # formats of models that have trees
