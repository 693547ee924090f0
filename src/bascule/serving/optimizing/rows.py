"""The rows on which an engine must answer as the original does: real ones, and those at which engines differ.

Rows drawn at random show nothing: engines that send a value on a threshold, or a missing one, the other way agree on
all of them. So the thresholds are taken from the trees, and from a model without trees by halving the way between two
rows until their answers jump within one step of a float.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bascule.serving.engines.forest import Forest
from bascule.training import Signature
from bascule.training.texthash import hash_of

Predict = Callable[[np.ndarray], np.ndarray]
MOST_THRESHOLDS = 4_000
MOST_SEARCHED = 1_000
STEPS = 70
SINGLE_MOST = float(np.finfo(np.float32).max)
EXTREMES = (0.0, -0.0, 5e-324, -5e-324, 1e-35, -1e-35, 1e-310, 1e-45, 2.0**24, 2.0**53 - 1, 1 - 2.0**53, SINGLE_MOST)
HUGE = (SINGLE_MOST * 1.0001, 3.5e38, -3.5e38, 1e300, -1e300, 1.7e308)
UNSEEN = "\x00 no such text"
ODD_CODES = (-1.0, -0.5, 0.5, 1e5, 16_777_217.0, 3e9, -3e9)


@dataclass(frozen=True)
class Group:
    """Rows of one kind: float64 [rows, inputs]."""

    name: str
    rows: np.ndarray


def rows_of(
    signature: Signature, forest: Forest | None, real: np.ndarray, predict: Predict, seed: int = 0
) -> list[Group]:
    """Return the rows to compare on, by kind.

    Args:
        forest: the model's trees; None when it has none that can be read.
        real: rows of the model's data, encoded.
        predict: the original.
    """
    rng = np.random.default_rng(seed)
    numbers = [k for k, field in enumerate(signature.inputs) if not field.is_text and field.type != "boolean"]
    groups = [Group("real rows", real), Group("thresholds", _at_thresholds(signature, forest, real, predict, rng))]
    groups.append(Group("missing", _missing(real, rng)))
    groups.append(Group("infinities", _with(real, numbers, (np.inf, -np.inf), rng)))
    groups.append(Group("extreme numbers", _with(real, numbers, EXTREMES, rng)))
    groups.append(Group("huge numbers", _with(real, numbers, HUGE, rng)))
    groups.append(Group("categories", _categories(signature, forest, real, rng)))
    return [one for one in groups if len(one.rows)]


def around(values: np.ndarray) -> np.ndarray:
    """Return values with their neighbours: one step of a float64 and one of a float32 to each side, and rounded."""
    with np.errstate(over="ignore"):
        near = values.astype(np.float32)
    steps = (
        values,
        np.nextafter(values, np.inf),
        np.nextafter(values, -np.inf),
        near.astype(np.float64),
        np.nextafter(near, np.float32(np.inf)).astype(np.float64),
        np.nextafter(near, np.float32(-np.inf)).astype(np.float64),
    )
    return np.stack(steps, axis=1)


def _at_thresholds(
    signature: Signature, forest: Forest | None, real: np.ndarray, predict: Predict, rng: np.random.Generator
) -> np.ndarray:
    if forest is not None and not forest.steps:
        pairs = [(k, t) for k, held in forest.thresholds().items() for t in held if np.isfinite(t)]
        fixed = {k for k, field in enumerate(signature.inputs) if field.is_text}
        pairs = [pair for pair in pairs if pair[0] not in fixed]
        if len(pairs) > MOST_THRESHOLDS:
            pairs = [pairs[i] for i in np.sort(rng.choice(len(pairs), MOST_THRESHOLDS, replace=False))]
    else:
        pairs = _searched(signature, real, predict, rng)
    if not pairs:
        return real[:0]
    places = np.array([place for place, _ in pairs])
    values = around(np.array([value for _, value in pairs]))
    rows = np.repeat(real[rng.integers(len(real), size=len(pairs))], values.shape[1], axis=0)
    rows[np.arange(len(rows)), np.repeat(places, values.shape[1])] = values.ravel()
    return rows


def _searched(
    signature: Signature, real: np.ndarray, predict: Predict, rng: np.random.Generator
) -> list[tuple[int, float]]:
    """Find values of single inputs at which the answers jump, by halving; where nothing jumps, any value."""
    free = [k for k, field in enumerate(signature.inputs) if not field.is_text and field.type != "boolean"]
    complete = real[np.isfinite(real).all(axis=1)] if np.isfinite(real).all(axis=1).any() else np.nan_to_num(real)
    if not free:
        return []
    count = MOST_SEARCHED
    places = rng.choice(free, count)
    low = complete[rng.integers(len(complete), size=count)].copy()
    high, lines = low.copy(), np.arange(count)
    high[lines, places] = complete[rng.integers(len(complete), size=count), places]
    swap = low[lines, places] > high[lines, places]
    low[swap], high[swap] = high[swap], low[swap]
    told = [_flat(predict(low)), _flat(predict(high))]
    for _ in range(STEPS):
        middle = low.copy()
        middle[lines, places] = low[lines, places] / 2 + high[lines, places] / 2
        answer = _flat(predict(middle))
        left = np.abs(answer - told[0]).max(axis=1) >= np.abs(told[1] - answer).max(axis=1)
        high[left], told[1][left] = middle[left], answer[left]
        low[~left], told[0][~left] = middle[~left], answer[~left]
    found = np.concatenate([low[lines, places], high[lines, places]])
    return list(zip(np.tile(places, 2).tolist(), found.tolist(), strict=True))


def _flat(answer: np.ndarray) -> np.ndarray:
    return np.array(answer, dtype=np.float64).reshape(len(answer), -1)


def _missing(real: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each input missing in four rows, each of a hundred rows with some inputs missing, and all of them."""
    width = real.shape[1]
    single = real[rng.integers(len(real), size=4 * width)].copy()
    single[np.arange(len(single)), np.repeat(np.arange(width), 4)] = np.nan
    some = real[rng.integers(len(real), size=100)].copy()
    some[rng.random(some.shape) < 0.3] = np.nan
    return np.concatenate([single, some, np.full((1, width), np.nan)])


def _with(real: np.ndarray, places: list[int], values: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Each value in each of these inputs, one in a row."""
    if not places:
        return real[:0]
    rows = real[rng.integers(len(real), size=len(places) * len(values))].copy()
    rows[np.arange(len(rows)), np.repeat(places, len(values))] = np.tile(values, len(places))
    return rows


def _categories(signature: Signature, forest: Forest | None, real: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each known code, and an unseen one, of each category; of what only the trees take for one, codes that are none.

    A text that the model has not seen reaches it as a missing value, whoever asks.
    """
    rows = []
    asked = forest.codes() if forest is not None else {}
    for place, field in enumerate(signature.inputs):
        values: list[float] = []
        if field.hashed:
            values = [*(float(hash_of(text)) for text in (*(field.categories or ()), UNSEEN)), np.nan]
        elif field.categories is not None:
            values = [*map(float, range(len(field.categories))), np.nan]
        elif field.type == "boolean":
            values = [0.0, 1.0, np.nan]
        elif place in asked:
            values = [*map(float, range(asked[place] + 2)), *ODD_CODES, np.nan]
        if values:
            drawn = real[rng.integers(len(real), size=len(values))].copy()
            drawn[:, place] = values
            rows.append(drawn)
    return np.concatenate(rows) if rows else real[:0]
