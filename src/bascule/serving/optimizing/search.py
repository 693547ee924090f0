"""From a bundle and rows to what is known of each candidate, and the fastest of those that are right."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from bascule.errors import BasculeError, InputError, NotFound
from bascule.evaluation import measure
from bascule.serving.engines.compiled import FEWEST_A_THREAD
from bascule.serving.engines.forest import Forest, Unfit
from bascule.serving.engines.loading import Engine, Recipe, Stage
from bascule.serving.engines.reading import forest_of
from bascule.serving.optimizing.candidates import NAMES, Candidate, Excluded, candidates
from bascule.serving.optimizing.choosing import chosen
from bascule.serving.optimizing.found import Accuracy, Figures, Found, Optimized
from bascule.serving.optimizing.measuring import measured, memory_of
from bascule.serving.optimizing.parity import TOLERANCE, Comparing, Parity
from bascule.serving.optimizing.prices import Prices
from bascule.serving.optimizing.rows import Group, rows_of
from bascule.serving.pickled import PickledRuntime
from bascule.serving.runtime import Runtime
from bascule.training import ModelBundle

SIZES = (1, 8, 32, 128, 1_000)
MOST_SIZE = 100_000
MOST_SIZES = 20
MOST_SECONDS = 3_600.0
MEMORY_ROWS = 64


def _quiet(text: str) -> None:
    del text


@dataclass(frozen=True)
class Asked:
    """What is wanted of a search.

    Attributes:
        names: the candidates.
        sizes: rows of a request, each measured.
        tolerance: how much an answer may differ, as a share of it where it is above 1.
        seconds: for measuring; parity takes what it takes.
        metric: for the accuracy on rows with labels; None leaves it out.
        memory: also load each engine in a process of its own, to see what it needs.
        tell: hears what is being done.
    """

    names: tuple[str, ...] = NAMES
    sizes: tuple[int, ...] = SIZES
    tolerance: float = TOLERANCE
    seconds: float = 10.0
    metric: str | None = None
    prices: Prices | None = None
    memory: bool = True
    tell: Callable[[str], None] = field(default=_quiet)

    def checked(self) -> Asked:
        """Return it with its sizes in order.

        Raises:
            NotFound: there is no such candidate.
            InputError: a number makes no sense.
        """
        for name in self.names:
            if name not in NAMES:
                raise NotFound("candidate", name, NAMES)
        if not self.sizes or len(self.sizes) > MOST_SIZES or not all(1 <= one <= MOST_SIZE for one in self.sizes):
            raise InputError(
                f"Batch sizes are 1 to {MOST_SIZES} numbers from 1 to {MOST_SIZE:,}.",
                hint="Such as: --batch-sizes 1,32,1000",
            )
        if not 0 <= self.tolerance <= 1:
            raise InputError(f"The tolerance is {self.tolerance:g}; it lies between 0 and 1.", hint="1e-6 is usual.")
        if not 0 < self.seconds <= MOST_SECONDS:
            raise InputError(f"{self.seconds:g} seconds cannot be measured; 10 is usual.")
        return replace(self, sizes=tuple(sorted(set(self.sizes))))


def optimize_bundle(
    packed: bytes,
    bundle: ModelBundle,
    real: np.ndarray,
    asked: Asked,
    labelled: tuple[np.ndarray, np.ndarray] | None = None,
    own: PickledRuntime | None = None,
) -> Optimized:
    """Make each candidate, hold it to the original, measure those that are right, and choose by size of request.

    Args:
        packed: the bundle's file.
        real: rows of the model's data, encoded: float64 [rows, inputs].
        labelled: encoded rows and their labels.
        own: the version in a process of its own, where it runs code when it is loaded.

    Raises:
        InputError: there are no rows, or what is asked makes no sense.
    """
    asked = asked.checked()
    if not len(real):
        raise InputError("There are no rows to compare engines on.")
    forest = _forest(bundle)
    offered = list(candidates(bundle, forest, asked.names, own))
    made = [one for one in offered if isinstance(one, Candidate)]
    engines, failed, loads = _loaded(made)
    if "native" not in engines:
        raise InputError(f"The version cannot be loaded by its own library: {failed.get('native', '')}")
    native = engines["native"]
    with np.errstate(all="ignore"):
        comparing, compared = _compared(engines, bundle, forest, real, asked)
        right = {name: engine for name, engine in engines.items() if compared[name].passed or name == "native"}
        figures = measured(right, _accepted(native, real), asked.sizes, asked.seconds, asked.tell)
        worth = _worth(engines, labelled, asked.metric, bundle)
    tried = _Tried(engines, compared, figures, loads, failed, worth)
    found = [_found(one, tried, asked, packed, bundle, real[:MEMORY_ROWS]) for one in offered]
    return Optimized(
        candidates=tuple(found),
        fastest=chosen(found, asked.sizes, comparing.guard),
        refused=comparing.refused,
        real_rows=len(real),
        tolerance=asked.tolerance,
        batch_sizes=asked.sizes,
        artifacts={one.engine.artifact: one.artifact for one in made if one.artifact is not None},
    )


def _compared(
    engines: Mapping[str, Runtime], bundle: ModelBundle, forest: Forest | Unfit, real: np.ndarray, asked: Asked
) -> tuple[Comparing, dict[str, Parity]]:
    """Hold each engine to the original on the rows at which engines differ."""
    asked.tell("looking for rows at which engines differ")
    native, trees = engines["native"], forest if isinstance(forest, Forest) else None
    if bundle.signature.is_raw:  # there is no other engine that differs at a threshold
        groups = [Group("real rows", real)]
    else:
        groups = rows_of(bundle.signature, trees, real, native.predict)
    comparing, compared = Comparing(native, groups, bundle.signature.names(), asked.tolerance), {}
    for name, engine in engines.items():
        asked.tell(f"comparing {name} with the original")
        compared[name] = comparing.itself() if name == "native" else comparing.of(engine)
    return comparing, compared


@dataclass(frozen=True)
class _Tried:
    """What was seen of the candidates, by name; `failed` says why one could not be loaded."""

    engines: Mapping[str, Runtime]
    compared: Mapping[str, Parity]
    figures: Mapping[str, tuple[Figures, ...]]
    loads: Mapping[str, float]
    failed: Mapping[str, str]
    worth: Mapping[str, Accuracy]


def _found(
    one: Candidate | Excluded, tried: _Tried, asked: Asked, packed: bytes, bundle: ModelBundle, rows: np.ndarray
) -> Found:
    """Return what is known of one candidate; its memory is measured here, in a process of its own."""
    if isinstance(one, Excluded) or one.name in tried.failed:
        return Found(name=one.name, reason=one.reason if isinstance(one, Excluded) else tried.failed[one.name])
    parity, memory = tried.compared[one.name], None
    if asked.memory:
        asked.tell(f"loading {one.name} in a process of its own")
        engine = tried.engines[one.name]
        if isinstance(engine, PickledRuntime):
            memory = engine.memory()
        else:
            memory = memory_of(packed, bundle, one.engine, one.artifact, rows)
    return Found(
        name=one.name,
        engine=one.engine,
        reason="" if parity.passed else parity.problem or "it does not answer as the original does",
        parity=parity,
        figures=_priced(one.engine, tried.figures.get(one.name, ()), asked.prices),
        size=one.size,
        memory=memory,
        load_ms=tried.loads[one.name],
        accuracy=tried.worth.get(one.name),
    )


def _priced(engine: Engine, figures: tuple[Figures, ...], prices: Prices | None) -> tuple[Figures, ...]:
    """Return figures with what a million predictions cost, where there is a price list."""
    if prices is None:
        return figures
    costs = [prices.of_million(row.throughput, cores_of(engine, row.rows)) for row in figures]
    return tuple(msgspec.structs.replace(row, cost=cost) for row, cost in zip(figures, costs, strict=True))


def cores_of(engine: Engine, rows: int) -> int:
    """Return how many cores an engine keeps busy with a request of so many rows."""
    return min(engine.threads, max(1, rows // FEWEST_A_THREAD)) if engine.kind == "compiled" else engine.threads


def single(found: Optimized, engine: Engine) -> Recipe:
    """Return the recipe by which one engine answers requests of every size."""
    guard = found.fastest.guard
    return Recipe(stages=(Stage(rows=1, engine=engine),), guard=guard)


def _forest(bundle: ModelBundle) -> Forest | Unfit:
    try:
        return forest_of(bundle)
    except Unfit as why:
        return why
    except BasculeError as error:
        return Unfit(f"its trees cannot be read: {error.message}")
    except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:  # a library of another release
        return Unfit(f"its trees cannot be read: {type(error).__name__}: {str(error)[:200]}")


def _loaded(made: list[Candidate]) -> tuple[dict[str, Runtime], dict[str, str], dict[str, float]]:
    engines, failed, loads = {}, {}, {}
    for one in made:
        began = time.perf_counter()
        try:
            engines[one.name] = one.load()
        except BasculeError as error:
            failed[one.name] = f"{error.message} {error.hint}".strip()
        loads[one.name] = (time.perf_counter() - began) * 1e3
    return engines, failed, loads


def _accepted(native: Runtime, real: np.ndarray) -> np.ndarray:
    """Return the real rows that the original answers; measuring takes no other."""
    try:
        native.predict(real)
        return real
    except Exception:  # some row has what the library refuses
        if real.dtype == object:
            return _one_by_one(native, real)
        complete = real[np.isfinite(real).all(axis=1)]
        return np.asarray(complete if len(complete) else np.nan_to_num(real))


def _one_by_one(native: Runtime, real: np.ndarray) -> np.ndarray:
    """Return the rows that the original answers.

    Raises:
        InputError: there is none.
    """
    kept = []
    for place in range(len(real)):
        with suppress(Exception):
            native.predict(real[place : place + 1])
            kept.append(place)
    if not kept:
        raise InputError(
            "The version answers none of the rows.", hint="Name a table with rows that it takes: --table NAME"
        )
    return np.asarray(real[kept])


def _worth(
    engines: Mapping[str, Runtime],
    labelled: tuple[np.ndarray, np.ndarray] | None,
    metric: str | None,
    bundle: ModelBundle,
) -> dict[str, Accuracy]:
    if labelled is None or metric is None or not len(labelled[0]):
        return {}
    matrix, labels = labelled
    worth: dict[str, float] = {}
    for name, engine in engines.items():
        try:
            value = measure(metric, bundle.signature.output.task, labels, engine.predict(matrix))
        except Exception:  # an engine that cannot answer has been told of by parity
            continue
        if value is not None:
            worth[name] = value
    if "native" not in worth:
        return {}
    return {
        name: Accuracy(metric=metric, rows=len(matrix), value=value, change=value - worth["native"])
        for name, value in worth.items()
    }
