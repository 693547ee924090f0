"""What answers instead of a version's own library, as data, and how it becomes a runtime."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import msgspec
import numpy as np

from bascule.errors import InputError
from bascule.serving.runtime import Runtime, load_runtime
from bascule.training import ModelBundle

Kind = Literal["native", "compiled", "onnx", "plain", "treelite", "torchscript"]
ReadBlob = Callable[[str], bytes]
UNDO = "bascule optimize MODEL --undo"


class Engine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One way to answer.

    Attributes:
        name: as people choose it, such as `onnx-2threads`.
        kind: what runs it.
        threads: for many rows.
        artifact: digest of the file made of the version; empty when the version's own bytes are read.
    """

    name: str
    kind: Kind
    threads: int = 1
    artifact: str = ""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """An engine for requests of `rows` rows or more, up to the next stage's."""

    rows: int
    engine: Engine


class Guard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the version's own library refuses, so that it goes on refusing it.

    Attributes:
        missing: rows with NaN.
        most: rows with a number beyond this; None for none.
    """

    missing: bool = False
    most: float | None = None


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Which engine answers requests of how many rows, the smallest first; it begins at one row."""

    stages: tuple[Stage, ...]
    guard: Guard = Guard()

    def names(self) -> str:
        """Return it in words: `compiled to 127 rows, onnx from 128 rows`."""
        if len(self.stages) == 1:
            return self.stages[0].engine.name
        ends = [f"{one.engine.name} to {after.rows - 1} rows" for one, after in pairwise(self.stages)]
        return ", ".join([*ends, f"{self.stages[-1].engine.name} from {self.stages[-1].rows} rows"])


def read_recipe(value: Mapping[str, Any]) -> Recipe:
    """Return the recipe that the history holds.

    Raises:
        InputError: it is none.
    """
    try:
        found = msgspec.convert(value, Recipe)
    except msgspec.ValidationError as error:
        raise InputError(f"This runtime of a version cannot be read: {error}.", hint="Update Bascule.") from None
    rows = [one.rows for one in found.stages]
    if not rows or rows[0] != 1 or rows != sorted(set(rows)):
        raise InputError("This runtime of a version does not begin at one row.", hint=UNDO)
    return found


def load_recipe(recipe: Recipe, bundle: ModelBundle, read: ReadBlob, own: Runtime | None = None) -> Staged:
    """Make a runtime of what was chosen.

    Args:
        own: the version's own library, where it is not loaded from the bundle.

    Raises:
        BasculeError: an engine cannot be loaded here; the version's own library still can.
    """
    held: dict[Engine, Runtime] = {}
    for stage in recipe.stages:
        if stage.engine.kind != "native" and stage.engine not in held:
            data = read(stage.engine.artifact) if stage.engine.artifact else bundle.model
            held[stage.engine] = load_engine(stage.engine, bundle, data, own)
    return Staged(recipe, held, bundle, own)


def load_engine(engine: Engine, bundle: ModelBundle, data: bytes, own: Runtime | None = None) -> Runtime:
    """Load one engine from its file.

    Args:
        own: the version's own library, where it is not loaded from the bundle.

    Raises:
        InputError: the file is none of its kind.
        EnvironmentProblem, MissingExtra: what runs it is not here.
    """
    if engine.kind == "compiled":
        from bascule.serving.engines.compiled import CompiledRuntime
        from bascule.serving.engines.forest import unpack_forest

        return CompiledRuntime(unpack_forest(data), engine.threads)
    if engine.kind == "onnx":
        from bascule.serving.engines.onnx import OnnxRuntime

        return OnnxRuntime(data, bundle.signature, engine.threads)
    if engine.kind == "plain":
        from bascule.serving.engines.plain import PlainRuntime

        return PlainRuntime(data)
    if engine.kind == "treelite":
        from bascule.serving.engines.treelite import TreeliteRuntime

        return TreeliteRuntime(data, len(bundle.signature.inputs))
    if engine.kind == "torchscript":
        from bascule.serving.pickled import PickledRuntime

        if not isinstance(own, PickledRuntime):
            raise InputError("TorchScript answers for models that have a process of their own.", hint=UNDO)
        return own.torchscript(data)
    return own or load_runtime(bundle)


class Staged:
    """A `Runtime` that asks one engine or another by the number of rows, and the version's own library when it must.

    That library is loaded when it is first needed.

    Attributes:
        engine: which engines answer, in words.
    """

    def __init__(
        self, recipe: Recipe, engines: Mapping[Engine, Runtime], bundle: ModelBundle, own: Runtime | None = None
    ) -> None:
        self._bundle = bundle
        if own is not None:
            self.native = own
        self.engine = recipe.names()
        self._starts = [one.rows for one in recipe.stages]
        self._engines = [engines.get(one.engine) for one in recipe.stages]
        self._guard = recipe.guard
        self._most = math.inf if recipe.guard.most is None else recipe.guard.most
        self._guarded = recipe.guard != Guard()
        first = self._engines[0]
        self._one = first.predict_one if first is not None else self.native.predict_one
        if not self._guarded:
            self.predict_one = self._one  # type: ignore[method-assign]

    @property
    def answering(self) -> list[Runtime]:
        """All that requests may reach, without the version's own library where none does."""
        held = [one for one in self._engines if one is not None]
        return held if len(held) == len(self._engines) and not self._guarded else [*held, self.native]

    @cached_property
    def native(self) -> Runtime:
        """The version's own library."""
        return load_runtime(self._bundle)

    @property
    def contributions(self) -> Any:
        """What each input adds to a score, by the version's own library; None when it does not tell."""
        return getattr(self.native, "contributions", None)

    def predict_one(self, row: Sequence[float]) -> Sequence[float]:
        """Return the outputs for one row."""
        # Of NaN this is not true either, so a row of plain numbers costs one sum.
        if not sum(map(abs, row)) <= self._most and self._refused(row):
            return self.native.predict_one(row)
        return self._one(row)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the outputs for many rows; all of them by the version's own library when it may refuse some."""
        engine = self._engines[bisect_right(self._starts, max(1, len(matrix))) - 1] or self.native
        if self._guarded:
            beyond = bool((np.abs(matrix) > self._most).any())
            if beyond or (self._guard.missing and bool(np.isnan(matrix).any())):
                engine = self.native
        return engine.predict(matrix)

    def _refused(self, row: Sequence[float]) -> bool:
        most, missing = self._most, self._guard.missing
        return any(abs(one) > most or (missing and one != one) for one in row)
