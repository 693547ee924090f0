"""Answers that need not, or cannot, be made at once: remembered ones, those that are scored together, those of workers.

Requests that are read in the same turn of the event loop, and go to a model that is faster with many rows at once, are
scored in one call when the turn ends: what waits anyway goes together, and nothing ever waits for company. After some
turns with a single request, the next one is scored where it comes in, as if there were no batching.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bascule.errors import EnvironmentProblem, InputError
from bascule.serving.http.message import Deferred, HttpProblem, Response
from bascule.serving.model import LoadedModel, Prepared
from bascule.serving.remembering import Kept, Key
from bascule.serving.rows import Rows
from bascule.serving.scoring import Answer, fill, is_shadowed, score_unseen
from bascule.serving.workers import Job
from bascule.serving.workers.child import WorkerSlow
from bascule.serving.workers.job import BEFORE, PREDICT
from bascule.serving.workers.lane import GRACE_S

Finish = Callable[[Answer], Response]
LONE_TURNS = 4  # as many requests came alone: the next one is answered at once


class Awaiting:
    """Makes answers of deployments that are `patient`. It belongs to the event loop."""

    def __init__(self) -> None:
        self._gathered: dict[tuple[LoadedModel, int], list[Job]] = {}  # by the rows that may go together, too
        self._crowded = 0  # how many turns with a single request it takes until nobody is expected beside it
        self._last: object = None  # the connection whose request was answered at once a moment ago

    def answer(self, answer: Answer, seconds: float | None, finish: Finish) -> Response | Deferred:
        """Score an answer that was begun, and finish it.

        Args:
            seconds: how long the client waits; None when it does not say.

        Raises:
            InputError, EnvironmentProblem, HttpProblem: it cannot be scored, or as much waits as may.
        """
        model, rows, remembered = answer.model, answer.query.rows, answer.deployment.remembered
        key = remembered.key(model, rows) if remembered is not None and not _is_for_two(answer) else None
        if key is not None and remembered is not None:
            kept = remembered.find(key)
            if kept is not None:
                answer.outputs, answer.event_time, answer.remembered = kept.outputs, kept.event_time, True
                return finish(_timed(answer))
            done, of = finish, key
            finish = lambda found: done(_kept(found, of))  # noqa: E731

        if not rows.count:
            return finish(_timed(fill(answer)))
        if not model.waits or rows.count > model.inline_rows:
            if rows.count > model.inline_rows:
                return Deferred(lambda: fill(answer), finish, _patience(answer, seconds))
            return finish(fill(answer))
        if model.graph.before:
            named = model.named(rows)

            def begin(future: asyncio.Future[Any]) -> None:
                self._put(answer, Job(BEFORE, rows.count, None, named, _limit(answer, seconds), _loop(), future))

            def then(columns: Any) -> Response | Deferred:
                if isinstance(columns, Answer):  # the step failed; it is finished already
                    return finish(columns)
                found = model.prepare_after(columns, rows.count, answer.query.at)
                return self._score(answer, *found, seconds, finish)

            return self._deferred(answer, begin, then, seconds)
        return self._score(answer, rows, model.prepare(rows, answer.query.at), seconds, finish)

    def _score(self, answer: Answer, rows: Rows, prepared: Prepared, seconds: float | None, finish: Finish) -> Deferred:
        model = answer.model
        answer.features, answer.event_time = prepared.joined, prepared.at
        if rows is not answer.query.rows and answer.features is None:
            answer.features = model.read_of(rows)
        jobs: list[Job] = []

        def begin(future: asyncio.Future[Any]) -> None:
            job = Job(PREDICT, rows.count, prepared.matrix, prepared.columns, _limit(answer, seconds), _loop(), future)
            jobs.append(job)
            self._put(answer, job)

        def then(found: Any) -> Response | Deferred:
            if isinstance(found, Answer):
                return finish(found)
            job = jobs[0]
            answer.outputs, answer.infer_ns = found.tolist(), job.infer_ns
            answer.queue_ns, answer.joined = answer.queue_ns + job.queue_ns, job.joined
            _timed(answer)
            if is_shadowed(answer):
                return Deferred(lambda: score_unseen(answer), lambda _: finish(answer), _patience(answer, seconds))
            return finish(answer)

        return self._deferred(answer, begin, then, seconds, prepared.matrix)

    def _deferred(
        self,
        answer: Answer,
        begin: Callable[[asyncio.Future[Any]], None],
        then: Callable[[Any], Response | Deferred],
        seconds: float | None,
        matrix: np.ndarray | None = None,
    ) -> Deferred:
        def rescue(error: Exception) -> Answer:
            """The model failed, or was not free in all the time that it has: that is an answer too, which is logged."""
            timeout = answer.deployment.service.timeout
            if isinstance(error, HttpProblem) and error.status == 504 and timeout and _spent_s(answer) >= timeout:
                error = WorkerSlow(f"no worker was free within {timeout:.3g} s")
            if isinstance(error, InputError | EnvironmentProblem | HttpProblem):
                raise error
            answer.model.encoder.blame(matrix, error)
            answer.failed(error)
            return _timed(answer)

        return Deferred(lambda: None, then, _patience(answer, seconds), begin=begin, rescue=rescue)

    def _put(self, answer: Answer, job: Job) -> None:
        if answer.model.lane is not None:
            answer.model.lane.put(job)
            return
        job.put_ns = time.perf_counter_ns()
        if not self._gathered:
            loop = _loop()
            loop.call_soon(loop.call_soon, self._flush)  # what has come by now is read before that
        self._gathered.setdefault((answer.model, answer.deployment.service.batch), []).append(job)

    def expects(self, link: object) -> bool:
        """Return whether a request of a connection had better be gathered with others; else it is answered at once."""
        if self._last is not None and self._last is not link:
            self._crowded = LONE_TURNS
        return bool(self._crowded or self._gathered)

    def answered(self, link: object) -> None:
        """Note that a connection's request was answered at once: what others have sent meanwhile is company of it."""
        if self._last is None:
            soon = _loop().call_soon
            soon(soon, soon, self._forget)  # what they have sent by now is read before that, and who connects accepted
        self._last = link

    def _forget(self) -> None:
        self._last = None

    def _flush(self) -> None:
        several = sum(map(len, self._gathered.values())) > 1
        self._crowded = LONE_TURNS if several else max(0, self._crowded - 1)
        gathered, self._gathered = self._gathered, {}
        for (model, most), jobs in gathered.items():
            for some in _parts(jobs, most):
                _together(model, some)


def _is_for_two(answer: Answer) -> bool:
    """Return whether the rows are also for another version, which must see them."""
    return bool(answer.deployment.shadows) and answer.arm.kind != "pinned"


def _parts(jobs: list[Job], most: int) -> list[list[Job]]:
    """Return jobs in their order, as many together as have so many rows at most; one that has more is alone."""
    parts: list[list[Job]] = []
    rows = most
    for job in jobs:
        rows += job.rows
        if rows > most or not parts:
            parts.append([])
            rows = job.rows
        parts[-1].append(job)
    return parts


def _together(model: LoadedModel, jobs: list[Job]) -> None:
    """Score rows of several requests in one call; when that fails, each alone, so that one cannot spoil another."""
    began = time.perf_counter_ns()
    matrices = [job.matrix for job in jobs if job.matrix is not None]
    try:
        found = model.predict(matrices[0] if len(matrices) == 1 else np.concatenate(matrices))
    except Exception as error:
        if len(jobs) > 1:
            for job in jobs:
                _together(model, [job])
            return
        told = isinstance(error, InputError | EnvironmentProblem)  # a request that comes alone is told so too
        _give(jobs[0], error.with_traceback(None) if told else RuntimeError(f"{type(error).__name__}: {error}"))
        return
    spent, at = time.perf_counter_ns() - began, 0
    for place, job in enumerate(jobs):
        job.queue_ns, job.infer_ns, job.joined = began - job.put_ns, spent * job.rows // max(len(found), 1), place > 0
        _give(job, found[at : at + job.rows])
        at += job.rows


def _give(job: Job, found: Any) -> None:
    if not job.future.done():
        if isinstance(found, Exception):
            job.future.set_exception(found)
        else:
            job.future.set_result(found)


def _kept(answer: Answer, key: Key) -> Answer:
    remembered = answer.deployment.remembered
    if remembered is not None and answer.outputs is not None and answer.error is None:
        remembered.keep(key, Kept(answer.outputs, answer.event_time))
    return answer


def _spent_s(answer: Answer) -> float:
    return (time.perf_counter_ns() - answer.query.began_ns) / 1e9


def _timed(answer: Answer) -> Answer:
    answer.scored_ns = time.perf_counter_ns()
    answer.latency_us = (answer.scored_ns - answer.query.began_ns) // 1000
    return answer


def _limit(answer: Answer, seconds: float | None) -> float | None:
    """Return how long an answer may wait for a worker."""
    timeout = answer.deployment.service.timeout or None
    known = [one for one in (seconds, timeout) if one is not None]
    return min(known) if known else None


def _patience(answer: Answer, seconds: float | None) -> float | None:
    """Return when the client is told that it took too long, whatever the worker does."""
    timeout = answer.deployment.service.timeout
    if not timeout:
        return seconds
    return min(timeout + GRACE_S, seconds) if seconds is not None else timeout + GRACE_S


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()
