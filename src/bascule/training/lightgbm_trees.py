"""Whether the text of a LightGBM model holds together.

LightGBM's own reader and walker trust it: a child beyond the last node is memory of somebody else's, a circle never
ends, and what its threads refuse ends the whole process. So the text is looked at before LightGBM sees it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from bascule.errors import InputError

SIZES = "tree_sizes"  # by these, threads read the trees apart; an error in one of them would end the process
# LightGBM reads on from a sign that is none of a number as if it were not there, and Python does not.
_WHOLES, _NUMBERS = re.compile(r"[-0-9 ]*"), re.compile(r"[-+.0-9A-Za-z ]*")
_BREAK = re.compile(r"[\r\n]")


def readable(text: str, inputs: int) -> str:
    """Return a model's text as LightGBM may be given it.

    Args:
        inputs: how many inputs a row has.

    Raises:
        InputError: a tree in it leads out of itself.
    """
    head, *trees = text.partition("\nend of trees")[0].split("\nTree=")
    for place, tree in enumerate(trees):
        number, _, body = tree.partition("\n")
        try:
            sound = number.strip().isdecimal() and _is_sound(pairs(body, blanks=False), inputs)
        except (KeyError, ValueError, IndexError, OverflowError):
            sound = False
        if not sound:
            raise InputError(
                f"This is not a LightGBM model: its tree {place} leads out of itself.", hint="Log the model again."
            )
    shorter = "\n".join(line for line in head.split("\n") if not line.strip().startswith(SIZES))
    return shorter + text[len(head) :]


def pairs(text: str, *, blanks: bool = True) -> dict[str, str]:
    """Return the lines `key=value` of a part of the text.

    Args:
        blanks: whether lines may follow an empty one; a tree ends with it.

    Raises:
        ValueError: a key comes twice, so that it is open which LightGBM takes; or the part goes on where it ends.
    """
    found: dict[str, str] = {}
    lines = _BREAK.split(text)
    while not blanks and lines and not lines[-1]:
        lines.pop()
    for line in lines:
        key, mark, value = line.partition("=")
        if key in found or (not blanks and not line):
            raise ValueError(key)
        if mark:
            found[key] = value
    return found


def _is_sound(told: Mapping[str, str], inputs: int) -> bool:
    (leaves,) = _whole(told["num_leaves"])
    if leaves < 1 or len(_numbers(told["leaf_value"])) != leaves:
        return False
    if _whole(told.get("is_linear", "0")).any() and not _are_linear_leaves_sound(told, leaves, inputs):
        return False
    if leaves == 1:
        return True
    left, right, features, kinds = (
        _whole(told[name]) for name in ("left_child", "right_child", "split_feature", "decision_type")
    )
    thresholds = _numbers(told["threshold"])
    places = np.arange(leaves - 1)
    if any(len(one) != leaves - 1 for one in (left, right, features, kinds, thresholds)):
        return False
    for child in (left, right):
        if not ((child > places) | (child < 0)).all() or not ((child < leaves - 1) & (child >= -leaves)).all():
            return False
    if len(np.unique(np.concatenate([left, right]))) != 2 * (leaves - 1):
        return False  # two lead to one
    by_category = (kinds & 1) == 1
    return bool(((features >= 0) & (features < inputs)).all()) and _are_sets_sound(told, thresholds[by_category])


def _are_sets_sound(told: Mapping[str, str], asked: np.ndarray) -> bool:
    """Tell whether the sets of categories that splits ask for are there."""
    (count,) = _whole(told.get("num_cat", "0"))
    if count < 1:
        return not len(asked)
    bounds, words = _whole(told["cat_boundaries"]), _whole(told["cat_threshold"])
    rising = len(bounds) == count + 1 and bounds[0] == 0 and bool((np.diff(bounds) >= 0).all())
    return rising and bounds[-1] == len(words) and bool(((asked >= 0) & (asked < count)).all())


def _are_linear_leaves_sound(told: Mapping[str, str], leaves: np.int64, inputs: int) -> bool:
    counts, features = _whole(told["num_features"]), _whole(told["leaf_features"])
    weights, constants = _numbers(told["leaf_coeff"]), _numbers(told["leaf_const"])
    right = len(counts) == len(constants) == leaves and bool((counts >= 0).all())
    right = right and int(counts.sum()) == len(features) == len(weights)
    return right and bool(((features >= 0) & (features < inputs)).all())


def _whole(text: str) -> np.ndarray:
    if not _WHOLES.fullmatch(text):
        raise ValueError(text[:40])
    return np.array(text.split(), dtype=np.int64)


def _numbers(text: str) -> np.ndarray:
    if not _NUMBERS.fullmatch(text):
        raise ValueError(text[:40])
    return np.array(text.split(), dtype=np.float64)
