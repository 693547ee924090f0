"""Whether the trees of an XGBoost model hold together: XGBoost reads them without a look, and follows them as they are.

What leads out of a tree is memory of somebody else's, or the end of the process when the first row is asked.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

Whole = list[int]


class _Tree(msgspec.Struct):
    left_children: Whole
    right_children: Whole
    split_indices: Whole


class _Model(msgspec.Struct):
    trees: list[_Tree]
    tree_info: Whole
    iteration_indptr: Whole | None = None


class _Booster(msgspec.Struct):
    name: str
    model: Any = None
    gbtree: Any = None
    weight_drop: list[float] | None = None


class _Parameters(msgspec.Struct):
    num_class: str = "0"
    num_target: str = "1"
    num_feature: str = "0"


class _Learner(msgspec.Struct):
    gradient_booster: _Booster
    learner_model_param: _Parameters


class _Told(msgspec.Struct):
    learner: _Learner


def is_sound(told: bytes) -> bool:
    """Tell whether no tree of a model leads out of itself.

    Args:
        told: the model as XGBoost, which has read it, writes it as JSON.
    """
    try:
        learner = msgspec.json.decode(told, type=_Told).learner
        booster, given = learner.gradient_booster, learner.learner_model_param
        if booster.name == "gblinear":
            return True
        held = booster.gbtree["model"] if booster.name == "dart" else booster.model
        model = msgspec.convert(held, _Model)
        outputs = max(1, int(given.num_class)) * max(1, int(given.num_target))
        inputs = int(given.num_feature)
    except (msgspec.MsgspecError, ValueError, KeyError, TypeError):
        return False
    count = len(model.trees)
    dropped = booster.weight_drop is None or len(booster.weight_drop) == count
    rounds = np.array(model.iteration_indptr or [0, count])
    in_rounds = rounds[0] == 0 and rounds[-1] == count and bool((np.diff(rounds) >= 0).all())
    aimed = len(model.tree_info) == count and all(0 <= one < outputs for one in model.tree_info)
    return dropped and in_rounds and aimed and all(_is_sound(tree, inputs) for tree in model.trees)


def _is_sound(tree: _Tree, inputs: int) -> bool:
    left, right = np.array(tree.left_children), np.array(tree.right_children)
    count = len(left)
    if not count or len(right) != count or len(tree.split_indices) != count:
        return False
    splits = left != -1
    children = np.concatenate([left[splits], right[splits]])
    # No node has two above it and the root has none, so whoever follows them comes to an end.
    if not ((children > 0) & (children < count)).all() or len(np.unique(children)) != len(children):
        return False
    features = np.array(tree.split_indices)[splits]
    return bool(((features >= 0) & (features < inputs)).all())
