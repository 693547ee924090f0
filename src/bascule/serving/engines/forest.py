"""Decision trees as plain arrays, whichever library grew them: what engines compile, and where thresholds are read.

Each node compares with `<=` in float64. A library that compares with `<`, or in float32, has its thresholds moved to
the number next to them, so that every row goes where that library sends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np

from bascule.errors import InputError

Link = Literal["none", "logistic", "softmax", "exponential", "logistic32", "each_logistic"]
LINKS: tuple[Link, ...] = ("none", "logistic", "softmax", "exponential", "logistic32", "each_logistic")
Step = Literal["fill", "subtract", "divide", "multiply", "add"]
STEPS: tuple[Step, ...] = ("fill", "subtract", "divide", "multiply", "add")
NODE = np.dtype(
    [
        ("threshold", "<f8"),
        ("feature", "<i4"),
        ("child", "<i4"),
        ("set", "<i4"),
        ("words", "<u2"),
        ("missing", "<u2"),
    ]
)
MAGIC = "bascule-forest"
REVISION = 1
MOST_INPUTS = 10_000
_NUMBER = -1


class Unfit(Exception):
    """This model is none that can be made into a forest; the text says why."""


@dataclass(frozen=True)
class Split:
    """A node that asks: a value up to `threshold`, or of a category in `codes`, goes to `low`, any other to `high`."""

    feature: int
    low: Split | Leaf
    high: Split | Leaf
    threshold: float = 0.0
    codes: tuple[int, ...] | None = None
    missing_high: bool = False
    cover: float = 0.0


@dataclass(frozen=True)
class Leaf:
    """An end: what a row adds to the outputs. `cover`, as of a split, is the weight of the training rows there."""

    values: tuple[float, ...]
    cover: float = 0.0


@dataclass(frozen=True)
class Forest:
    """Trees, and what becomes of their sum.

    Attributes:
        nodes: of dtype `NODE`; the two children of a node lie side by side, a leaf is its own child.
        values: float64 [nodes, width]; zeros where a node is no leaf.
        roots, depths, targets: int32 [trees]; a tree of width 1 adds to its target.
        sets: uint32 words, the sets of categories.
        base: float64 [outputs]; what the sums begin with.
        single: inputs are rounded to float32 first.
        single_sums: sums are rounded to float32 after each tree.
        steps: what is done to each input first, in order: float64 [inputs] of what fills it where it is missing, or
            of what is subtracted, divided by, multiplied with or added.
        above: a category has a code above this, which is cut to a whole number; others are in no set.
        covers: float64 [nodes], the weight of the training rows that came to each; empty where nobody told it.
            It is not kept in a forest's file.
    """

    nodes: np.ndarray
    values: np.ndarray
    roots: np.ndarray
    depths: np.ndarray
    targets: np.ndarray
    sets: np.ndarray
    base: np.ndarray
    inputs: int
    link: Link = "none"
    factor: float = 1.0
    divide: float = 1.0
    single: bool = False
    single_sums: bool = False
    above: float = -1.0
    steps: tuple[tuple[Step, np.ndarray], ...] = ()
    covers: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def outputs(self) -> int:
        """How many numbers come out for a row."""
        return len(self.base)

    @property
    def categorical(self) -> bool:
        """Whether some node asks for a category."""
        return bool((self.nodes["set"] >= 0).any())

    def is_leaf(self) -> np.ndarray:
        """Return for each node whether it is an end."""
        return np.asarray(self.nodes["child"] == np.arange(len(self.nodes)))

    def thresholds(self) -> dict[int, np.ndarray]:
        """Return the thresholds of each input that is asked for as a number, sorted, each once."""
        asks = ~self.is_leaf() & (self.nodes["set"] < 0)
        found = self.nodes[asks]
        return {int(k): np.unique(found["threshold"][found["feature"] == k]) for k in np.unique(found["feature"])}

    def codes(self) -> dict[int, int]:
        """Return for each input that is asked for as a category how many codes its sets tell apart."""
        found = self.nodes[self.nodes["set"] >= 0]
        return {
            int(k): int(found["words"][found["feature"] == k].max(initial=1)) * 32 for k in np.unique(found["feature"])
        }


@dataclass
class Growing:
    """A forest that is being put together, tree by tree."""

    inputs: int
    base: Sequence[float]
    width: int = 1
    _nodes: list[tuple[float, int, int, int, int, int]] = field(default_factory=list)
    _values: list[tuple[float, ...]] = field(default_factory=list)
    _sets: list[int] = field(default_factory=list)
    _trees: list[tuple[int, int, int]] = field(default_factory=list)
    _covers: list[float] = field(default_factory=list)

    def add(self, root: Split | Leaf, target: int = 0) -> None:
        """Add a tree, breadth first."""
        first, deepest, nothing = len(self._nodes), 0, (0.0,) * self.width
        self._nodes.append((np.inf, 0, first, _NUMBER, 0, 0))
        self._values.append(nothing)
        self._covers.append(0.0)
        waiting: list[tuple[Split | Leaf, int, int]] = [(root, first, 0)]
        for node, place, depth in waiting:
            deepest = max(deepest, depth)
            self._covers[place] = node.cover
            if isinstance(node, Leaf):
                self._values[place] = node.values
                continue
            child = len(self._nodes)
            start, words = (_NUMBER, 0) if node.codes is None else self._set(node.codes)
            self._nodes[place] = (node.threshold, node.feature, child, start, words, int(node.missing_high))
            for one in (child, child + 1):
                self._nodes.append((np.inf, 0, one, _NUMBER, 0, 0))
                self._values.append(nothing)
                self._covers.append(0.0)
            waiting += [(node.low, child, depth + 1), (node.high, child + 1, depth + 1)]
        self._trees.append((first, deepest, target))

    def _set(self, codes: Iterable[int]) -> tuple[int, int]:
        held = sorted(codes)
        words = [0] * ((held[-1] >> 5) + 1 if held else 1)
        if len(words) > 60_000:
            raise Unfit(f"a category has the code {held[-1]}, which is too large a set")
        for code in held:
            words[code >> 5] |= 1 << (code & 31)
        self._sets += words
        return len(self._sets) - len(words), len(words)

    def grown(self, **settings: Any) -> Forest:
        """Return the forest.

        Raises:
            Unfit: it has no trees, or more than an engine reads.
        """
        if not self._trees:
            raise Unfit("it has no trees")
        trees = np.array(self._trees, dtype=np.int32)
        return checked(
            Forest(
                nodes=np.array(self._nodes, dtype=NODE),
                values=np.array(self._values, dtype=np.float64).reshape(-1, self.width),
                roots=np.ascontiguousarray(trees[:, 0]),
                depths=np.ascontiguousarray(trees[:, 1]),
                targets=np.ascontiguousarray(trees[:, 2]),
                sets=np.array(self._sets or [0], dtype=np.uint32),
                base=np.array(self.base, dtype=np.float64),
                inputs=self.inputs,
                covers=np.array(self._covers, dtype=np.float64),
                **settings,
            )
        )


def checked(forest: Forest) -> Forest:
    """Return a forest whose every index leads somewhere: engines that follow them do not look.

    Raises:
        Unfit: one does not; the text says what.
    """
    nodes, count, places = forest.nodes, len(forest.nodes), np.arange(len(forest.nodes))
    leaf = forest.is_leaf()
    ends = nodes["set"].astype(np.int64) + nodes["words"]
    sound = {
        "inputs": 0 < forest.inputs <= MOST_INPUTS,
        "outputs": forest.outputs > 0 and forest.values.shape[1] in (1, forest.outputs),
        "values": len(forest.values) == count,
        "children": bool((leaf | ((nodes["child"] > places) & (nodes["child"] + 1 < count))).all()),
        "leaves": bool((np.isposinf(nodes["threshold"]) & (nodes["set"] < 0) & (nodes["missing"] == 0))[leaf].all()),
        "features": bool(((nodes["feature"] >= 0) & (nodes["feature"] < forest.inputs)).all()),
        "thresholds": not np.isnan(nodes["threshold"]).any(),
        "missing": bool((nodes["missing"] <= 1).all()),
        "sets": bool(((nodes["set"] == _NUMBER) | ((nodes["set"] >= 0) & (ends <= len(forest.sets)))).all()),
        "trees": len(forest.roots) == len(forest.depths) == len(forest.targets) > 0,
        "roots": bool(((forest.roots >= 0) & (forest.roots < count)).all()),
        "targets": bool(((forest.targets >= 0) & (forest.targets < forest.outputs)).all()),
        "depths": bool((forest.depths >= 0).all() and (forest.depths <= count).all()),
        "link": forest.link in LINKS,
        "steps": all(kind in STEPS and by.shape == (forest.inputs,) for kind, by in forest.steps),
    }
    wrong = [name for name, holds in sound.items() if not holds]
    if wrong:
        raise Unfit(f"its {', '.join(wrong)} make no sense")
    return forest


class _File(msgspec.Struct, frozen=True, kw_only=True):
    magic: str
    revision: int
    arrays: dict[str, bytes]
    width: int
    settings: dict[str, Any]
    steps: list[tuple[str, bytes]] = []


_ARRAYS = {
    "nodes": NODE,
    "values": np.dtype("<f8"),
    "roots": np.dtype("<i4"),
    "depths": np.dtype("<i4"),
    "targets": np.dtype("<i4"),
    "sets": np.dtype("<u4"),
    "base": np.dtype("<f8"),
}
_SETTINGS = ("inputs", "link", "factor", "divide", "single", "single_sums", "above")


def pack_forest(forest: Forest) -> bytes:
    """Return a forest as one file; equal forests give equal bytes."""
    return msgspec.msgpack.encode(
        _File(
            magic=MAGIC,
            revision=REVISION,
            arrays={
                name: np.ascontiguousarray(getattr(forest, name), kind).tobytes() for name, kind in _ARRAYS.items()
            },
            width=forest.values.shape[1],
            settings={name: getattr(forest, name) for name in _SETTINGS},
            steps=[(kind, np.ascontiguousarray(by, "<f8").tobytes()) for kind, by in forest.steps],
        ),
        order="deterministic",
    )


def unpack_forest(data: bytes) -> Forest:
    """Read the file of a forest, and look at every index in it.

    Raises:
        InputError: the bytes are none, or lead an engine astray.
    """
    try:
        file = msgspec.msgpack.decode(data, type=_File)
        if (file.magic, file.revision) != (MAGIC, REVISION):
            raise Unfit(f"it is {file.magic[:40]!r} of revision {file.revision}")
        arrays: dict[str, Any] = {name: np.frombuffer(file.arrays[name], kind) for name, kind in _ARRAYS.items()}
        arrays["values"] = arrays["values"].reshape(-1, file.width)
        steps: Any = tuple((kind, np.frombuffer(by, "<f8")) for kind, by in file.steps)
        return checked(Forest(**arrays, steps=steps, **file.settings))
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, Unfit) as error:
        raise InputError(
            f"This compiled forest cannot be used: {error}.", hint="Make it again: bascule optimize MODEL"
        ) from None


def down_to_single(threshold: float) -> float:
    """Return the largest float32 that is not above a threshold: float32 values compare with both alike."""
    near = np.float32(threshold)
    return float(np.nextafter(near, np.float32(-np.inf)) if float(near) > threshold else near)


def below(threshold: float, *, single: bool) -> float:
    """Return the number right below a threshold, so that `x < threshold` is `x <= below(threshold)`."""
    if single:
        return float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
    return float(np.nextafter(threshold, -np.inf))
