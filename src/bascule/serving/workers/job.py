"""Rows that wait for a worker: how those of several requests become one message, and each gets its own answer."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from bascule.serving.shapley.part import Background, Told
from bascule.serving.workers import wire

PREDICT, BEFORE, CONTRIBUTIONS = "predict", "before", "contributions"


class Job:
    """Rows that wait for a worker.

    Attributes:
        kind: `predict` or `contributions` of encoded rows, or `before`: the first step, of rows as they came.
        rows: how many.
        matrix: float64 [rows, inputs]; None for `before`.
        background: what to hold the rows against, for `contributions` of a model that has nothing itself.
        columns: column to values; for `before`, and for a graph that looks at them.
        until: when nobody waits any more, on the monotonic clock.
        queue_ns: how long it waited; infer_ns: how long the worker took.
        again: its worker was killed from outside, and it goes to another one, once.
        alone: a call that it shared failed, and it is asked for alone.
        joined: it was scored together with another that counts as the call.
    """

    __slots__ = (
        "again", "alone", "background", "columns", "future", "infer_ns", "joined", "kind", "loop", "matrix", "put_ns",
        "queue_ns", "rows", "until",
    )  # fmt: skip

    def __init__(
        self,
        kind: str,
        rows: int,
        matrix: np.ndarray | None = None,
        columns: Any = None,
        seconds: float | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        future: asyncio.Future[Any] | Future[Any] | None = None,
        background: Background | None = None,
    ) -> None:
        self.kind = kind
        self.rows = rows
        self.matrix = matrix
        self.columns = columns
        self.background = background
        self.until = math.inf if seconds is None else time.monotonic() + seconds
        self.loop = loop
        self.future: asyncio.Future[Any] | Future[Any] = future if future is not None else Future()
        self.put_ns = self.queue_ns = self.infer_ns = 0
        self.joined = self.again = self.alone = False

    def goes_with(self, other: Job) -> bool:
        """Return whether both may be one message: then a step sees of each what it would see of it alone."""
        if (
            self.kind != other.kind
            or self.background is not other.background
            or (self.columns is None) != (other.columns is None)
        ):
            return False
        return self.columns is None or self.columns.keys() == other.columns.keys()


def message(jobs: Sequence[Job]) -> list[Any]:
    """Return what a worker is asked for jobs that go together."""
    kind = jobs[0].kind
    columns = _joined([job.columns for job in jobs])
    if kind == BEFORE:
        return [kind, columns]
    matrices = [job.matrix for job in jobs if job.matrix is not None]
    whole = matrices[0] if len(matrices) == 1 else np.concatenate(matrices)
    lent = jobs[0].background
    return [kind, wire.packed(whole), columns, *([] if lent is None else [[wire.packed(lent.rows), *lent[1:]]])]


def background_of(asked: Sequence[Any]) -> Background | None:
    """Return the background that a message brings, if it does."""
    if len(asked) < 4:
        return None
    rows, held, of, version = asked[3]
    return Background(wire.unpacked(rows), tuple(held), of, version)


def told_part(told: Told) -> list[Any]:
    """Return what a worker told of contributions as a message's part, as `parts_of` reads it."""
    return [wire.packed(told.values), *told[1:]]


def _joined(parts: list[Any]) -> dict[str, list[Any]] | None:
    """Return the columns of several requests, which have the same, as those of one."""
    if parts[0] is None:
        return None
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def parts_of(jobs: Sequence[Job], found: Any) -> list[Any]:
    """Return each job's part of an answer."""
    parts: list[Any] = []
    at = 0
    kind = jobs[0].kind
    told = [] if kind != CONTRIBUTIONS else found[1:]
    whole: Any = found if kind == BEFORE else wire.unpacked(found[0] if kind == CONTRIBUTIONS else found)
    for job in jobs:
        upper = at + job.rows
        if kind == BEFORE:
            parts.append({name: values[at:upper] for name, values in whole.items()})
        elif kind == CONTRIBUTIONS:
            parts.append(Told(whole[at:upper], *told))
        else:
            parts.append(whole[at:upper])
        at = upper
    return parts


def resolve(answers: Sequence[tuple[Job, Any]]) -> None:
    """Give each job its answer: to threads at once, to the event loop in one call."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Job, Any]]] = {}
    for job, found in answers:
        if job.loop is not None:
            loops.setdefault(job.loop, []).append((job, found))
        else:
            _give(job, found)
    for loop, those in loops.items():
        try:
            loop.call_soon_threadsafe(_give_all, those)
        except RuntimeError:  # the loop has ended: nobody waits
            continue


def _give_all(answers: Sequence[tuple[Job, Any]]) -> None:
    for job, found in answers:
        _give(job, found)


def _give(job: Job, found: Any) -> None:
    future = job.future
    if future.done():
        return
    if isinstance(found, BaseException):
        future.set_exception(found)
    else:
        future.set_result(found)
