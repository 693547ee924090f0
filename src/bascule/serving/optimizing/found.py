"""What was found out about the candidates of a version, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bascule.serving.engines.loading import Engine, Recipe

if TYPE_CHECKING:
    from bascule.serving.optimizing.parity import Parity


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How fast an engine is for requests of one size.

    Attributes:
        rows: of a request.
        p50_us, p99_us: of a request, in microseconds.
        typical_us: the mean without the slowest tenth, by which engines are chosen: a median does not see an engine
            whose threads stall in every fifth request, and a plain mean sees whatever else the machine does.
        throughput: rows a second, of requests one after another.
        calls: how many were measured.
        cost: of a million predictions by the price list, with nothing else on the machine; None without one.
    """

    rows: int
    p50_us: float
    p99_us: float
    typical_us: float
    throughput: float
    calls: int
    cost: float | None = None


class Worst(msgspec.Struct, frozen=True, kw_only=True):
    """The row on which an engine differs most.

    Attributes:
        kind: which rows it is one of.
        inputs: what the model reads, by name; what JSON has no number for is a text.
        original, candidate: the outputs.
        difference: as a share of the original's where that is above 1.
    """

    kind: str
    inputs: dict[str, float | str]
    original: list[float]
    candidate: list[float]
    difference: float


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine's answers are worth on rows with labels, and by how much that is not what the original's are."""

    metric: str
    rows: int
    value: float
    change: float


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate.

    Attributes:
        reason: why it does not apply, or cannot be chosen; empty when it can.
        size: bytes on disk of what it reads.
        memory: bytes that it adds to a process that has NumPy, with its libraries; None when it was not measured.
        load_ms: what loading it took.
    """

    name: str
    engine: Engine | None = None
    reason: str = ""
    parity: Any = None
    figures: tuple[Figures, ...] = ()
    size: int | None = None
    memory: int | None = None
    load_ms: float | None = None
    accuracy: Accuracy | None = None

    @property
    def eligible(self) -> bool:
        """Whether it answers as the original does."""
        held: Parity | None = self.parity
        return held is not None and held.passed


class Optimized(msgspec.Struct, frozen=True, kw_only=True):
    """All candidates of a version, and the fastest recipe of those that have parity.

    Attributes:
        fastest: by size of request; `native` alone where nothing is faster.
        refused: rows that the original itself refuses, by kind; they go on to it.
        real_rows: how many rows of the model's own data there were.
        tolerance: how much an answer might differ.
    """

    candidates: tuple[Found, ...]
    fastest: Recipe
    refused: dict[str, int]
    real_rows: int
    tolerance: float
    batch_sizes: tuple[int, ...]
    artifacts: dict[str, bytes] = {}

    def named(self, name: str) -> Found | None:
        """Return a candidate by its name."""
        return next((one for one in self.candidates if one.name == name), None)
