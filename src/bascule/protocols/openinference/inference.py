"""Requests to infer: read the rows, score them here or in a thread, log, answer."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bascule.errors import BasculeError, InputError
from bascule.protocols.openinference.batch import Batch, Batches
from bascule.protocols.openinference.finding import check_version, demand_ready, unknown_deployment
from bascule.protocols.openinference.inputs import AnyRequest, read_request
from bascule.protocols.openinference.outputs import check_outputs, infer_response
from bascule.protocols.openinference.plain import predict_response, read_predict
from bascule.protocols.openinference.refusals import counting, counting_work
from bascule.protocols.openinference.routes import Route
from bascule.protocols.openinference.shortcut import BATCH, LENGTH, short_head, shortcuts_of
from bascule.serving.awaiting import Awaiting
from bascule.serving.branches import BranchState
from bascule.serving.dataplane import DataPlane
from bascule.serving.deployment import ServedDeployment
from bascule.serving.explaining import check_asked, explain, explain_sampled
from bascule.serving.http import Deferred, Request, Response, error_response
from bascule.serving.http.message import Kept, Quick, Said
from bascule.serving.ids import IdSource
from bascule.serving.log import Counted, PredictionLog, Spared
from bascule.serving.model import LoadedModel
from bascule.serving.rows import Rows
from bascule.serving.scoring import Answer, Query, ScoringFailed, begin, fill, record, score
from bascule.serving.stats import VersionStats

INLINE_BYTES = 128 << 10
_TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


Read = tuple[Any, Rows, str | None]  # the message, its rows, and what stays with one version


@dataclass(frozen=True, slots=True)
class Form:
    """One way to ask: how a body is read, and how an answer is written.

    Attributes:
        tensors: the message is the protocol's own, and has parameters.
        explain: what is to be told beside the answer; a message's parameter `explain` says it too.
        short: which of a deployment's shortcuts takes it; none when it is empty.
    """

    read: Callable[[Request, LoadedModel], Read]
    write: Callable[[Any, Answer, str], Response]
    tensors: bool = True
    explain: str | None = None
    short: str = ""


def unit_of(message: AnyRequest) -> str | None:
    """Return what stays with one version: what the request says, or its id."""
    parameters = message.parameters
    return message.id if not parameters or "unit" not in parameters else str(parameters["unit"])


def patience(told: Any, known: float | None) -> float | None:
    """Return how many seconds a client waits, by the parameter `timeout` as Triton means it: microseconds, 0 for any.

    Raises:
        InputError: it is no such number.
    """
    if isinstance(told, str) and told.isascii() and told.isdigit():  # a client may only have texts
        told = int(told)
    if isinstance(told, bool) or not isinstance(told, int) or told < 0:
        raise InputError(f"The parameter timeout is {str(told)[:40]!r}; it is a whole number of microseconds.")
    if not told:
        return known
    return told / 1e6 if known is None else min(known, told / 1e6)


def _read_infer(request: Request, model: LoadedModel) -> Read:
    message, rows = read_request(request.body, request.headers.get(b"inference-header-content-length"), model)
    if message.outputs:
        check_outputs(message, model)
    return message, rows, unit_of(message)


def _read_predict(request: Request, model: LoadedModel) -> Read:
    asked, rows = read_predict(request, model)
    return asked, rows, asked.unit or asked.id


INFER = Form(_read_infer, infer_response, short="infer")
PREDICT = Form(_read_predict, predict_response, tensors=False, short="predict")
FORMS = {"model:infer": INFER, "model:predict": PREDICT, "model:invocations": PREDICT}
now = time.perf_counter_ns


class Inference:
    """Scores for the protocol. It belongs to the event loop.

    Args:
        plane: what is served.
        log: where each answer goes before it is sent.
    """

    def __init__(self, plane: DataPlane, log: PredictionLog) -> None:
        self._plane = plane
        self._log = log
        self._journal = log.journal
        self._ids = IdSource()
        self._awaiting = Awaiting()
        self._spared = Spared(log.journal)

    def infer(self, request: Request, route: Route, state: BranchState) -> Response | Deferred:
        """Answer a request in the protocol's own form."""
        return self.answer(request, route, state, INFER)

    def predict(self, request: Request, route: Route, state: BranchState) -> Response | Deferred:
        """Answer a request in the plain form."""
        return self.answer(request, route, state, PREDICT)

    def quick(self, request: Request, route: Route) -> Quick | None:
        """Return what answers bodies behind one head in a deployment's shortest way; None when there is no such way."""
        form = FORMS.get(route.action)
        if form is None or route.branch is not None or route.version is not None or route.explain is not None:
            return None
        if len(request.body) > INLINE_BYTES or not short_head(request.headers, form.short):
            return None
        plane, name, short = self._plane, route.name, form.short
        length = request.headers.get(LENGTH)

        def answer(body: bytes) -> Said | None:
            began = now()
            state = plane.current
            deployment = state.deployments.get(name) if state is not None else None
            if deployment is None or deployment.patient or plane.unloaded or not deployment.shortcuts:
                return None  # a shortcut is made when a request has come the longer way
            return deployment.shortcuts[short](body, length, began)  # type: ignore[no-any-return]

        return answer

    def answer(self, request: Request, route: Route, state: BranchState, form: Form) -> Response | Deferred:
        """Answer a request in any form."""
        if route.explain is not None:
            form = replace(form, explain=route.explain, short="")
        began = time.perf_counter_ns()
        deployment = state.deployments.get(route.name)
        if deployment is None:
            raise unknown_deployment(state, route.name)
        if route.version is None and deployment.models and not self._plane.unloaded:
            patient = deployment.patient
            gathered = patient and self._awaiting.expects(request.link)
            headers = request.headers
            if form.short and not gathered and short_head(headers, form.short):
                shortcuts = deployment.shortcuts or self._shortcuts(deployment)
                length, short = headers.get(LENGTH), len(request.body) <= INLINE_BYTES
                said: Said | None = shortcuts[form.short](request.body, length, began) if short else None
                if said is not None:
                    if patient:
                        self._awaiting.answered(request.link)
                    text, kind, extra, kept = said
                    return Response(text, 200, kind, extra, kept, True)
                batches: Batches | None = shortcuts[BATCH]
                if batches is not None and length is not None and form is INFER:
                    batch = batches.batch(request.body, length, began)
                    if batch is not None:
                        return self._answer_batch(request, deployment, batch, began)
            return self._answer(request, deployment, deployment.first, None, form, began)
        demand_ready(self._plane, deployment)
        version = route.version
        model = deployment.first if version is None else deployment.model(version)
        if model is not None:
            return self._answer(request, deployment, model, version, form, began)
        assert version is not None
        check_version(deployment, version)
        return self._load_first(request, deployment, version, form, began)

    def _answer(
        self,
        request: Request,
        deployment: ServedDeployment,
        model: LoadedModel,
        version: int | None,
        form: Form,
        began: int,
        read: Read | None = None,
    ) -> Response | Deferred:
        """Answer a request, here when it is small, else in threads.

        Args:
            model: the version that most likely answers; it tells the columns.
            read: what the body says, when it was read already.
        """
        try:
            if read is None:
                if len(request.body) > INLINE_BYTES:
                    return self._read_first(request, deployment, model, version, form, began)
                read = form.read(request, model)
            message, rows, unit = read
            told = form.explain
            if told is None and form.tensors and message.parameters and "explain" in message.parameters:
                told = str(message.parameters["explain"])
            headers = request.headers
            if b"traceparent" in headers or b"x-bascule-caller" in headers:
                query = Query(rows, version, unit, *_origin(headers), began)
            else:
                query = Query(rows, version, unit, None, None, began)
            seconds = request.seconds
            if form.tensors and message.parameters and "timeout" in message.parameters:
                seconds = patience(message.parameters["timeout"], seconds)
            if told is not None or deployment.explained:
                return self._explain_first(deployment, query, message, form, told, seconds)
            if deployment.patient or model.waits:
                return self._await(deployment, query, message, form, seconds)
            if rows.count > model.inline_rows:
                return self._score_first(deployment, query, message, form, seconds)
            answer = score(deployment, query)
        except BasculeError:
            self._plane.stats_of(deployment, model.version).failed(time.perf_counter_ns() - began)
            raise
        return self._finish(deployment, message, answer, form)

    def _answer_batch(
        self, request: Request, deployment: ServedDeployment, batch: Batch, began: int
    ) -> Response | Deferred:
        """Answer a request about many rows; what becomes of it when the model fails is found out the longer way."""
        model = deployment.first

        def answered(found: np.ndarray | None) -> Response | Deferred:
            if found is not None:
                return batch.answered(found)
            return self._answer(request, deployment, model, None, INFER, began)

        if batch.rows <= model.inline_rows or (batch.brief and getattr(request.link, "alone", False)):
            return answered(batch.predict())
        return Deferred(batch.predict, answered, request.seconds)

    def _shortcuts(self, deployment: ServedDeployment) -> dict[str, Any]:
        stats = self._plane.stats_of(deployment, deployment.first.version)
        kept = self._spared if deployment.lenient else stats.kept or self._counted(stats)
        deployment.shortcuts.update(shortcuts_of(deployment, stats, self._ids, self._log, kept))
        return deployment.shortcuts

    def _counted(self, stats: VersionStats) -> Kept:
        """Return the journal for the answers of a version, made once."""
        stats.kept = Counted(self._journal, stats.missed)
        return stats.kept

    # In functions of their own: closures would make the names above slower for every request.

    def _load_first(
        self, request: Request, deployment: ServedDeployment, version: int, form: Form, began: int
    ) -> Deferred:
        return Deferred(
            lambda: self._plane.load_version(deployment, version),
            lambda model: self._answer(request, deployment, model, version, form, began),
            request.seconds,
        )

    def _read_first(
        self,
        request: Request,
        deployment: ServedDeployment,
        model: LoadedModel,
        version: int | None,
        form: Form,
        began: int,
    ) -> Deferred:
        found = Deferred(
            lambda: form.read(request, model),
            lambda read: self._answer(request, deployment, model, version, form, began, read),
            request.seconds,
        )
        return counting_work(found, self._plane.stats_of(deployment, model.version), began)

    def _explain_first(
        self,
        deployment: ServedDeployment,
        query: Query,
        message: Any,
        form: Form,
        told: str | None,
        seconds: float | None,
    ) -> Response | Deferred:
        """Answer and say why, because somebody asked, or for the log's sample alone."""

        answer = begin(deployment, query)

        def work() -> Answer:
            background = check_asked(told, answer) if told is not None else None
            if fill(answer).outputs is None:
                return answer
            if told is not None:
                answer.explained = True
                explain(answer, background, seconds)
            elif random.random() < deployment.explained:
                explain_sampled(answer)
            return answer

        found = Deferred(work, lambda answer: self._finish(deployment, message, answer, form), seconds)
        return counting(found, self._plane.stats_of(deployment, answer.model.version), query.began_ns)

    def _counting(self, found: Deferred, deployment: ServedDeployment, query: Query) -> Response | Deferred:
        version = deployment.first.version if query.version is None else query.version
        return counting(found, self._plane.stats_of(deployment, version), query.began_ns)

    def _await(
        self, deployment: ServedDeployment, query: Query, message: Any, form: Form, seconds: float | None
    ) -> Response | Deferred:
        answer = begin(deployment, query)
        found = self._awaiting.answer(answer, seconds, lambda done: self._finish(deployment, message, done, form))
        return counting(found, self._plane.stats_of(deployment, answer.model.version), query.began_ns)

    def _score_first(
        self, deployment: ServedDeployment, query: Query, message: Any, form: Form, seconds: float | None
    ) -> Response | Deferred:
        found = Deferred(
            lambda: score(deployment, query), lambda answer: self._finish(deployment, message, answer, form), seconds
        )
        return self._counting(found, deployment, query)

    def _finish(self, deployment: ServedDeployment, message: Any, answer: Answer, form: Form) -> Response:
        """Log an answer and write it."""
        stats = self._plane.stats_of(deployment, answer.model.version)
        began = answer.query.began_ns
        try:
            record(answer, self._ids, self._log)
        except ScoringFailed as error:
            stats.failed(time.perf_counter_ns() - began)
            return error_response(error, kept=self._spared if deployment.lenient else self._journal)
        response = form.write(message, answer, deployment.name)
        response.kept = self._spared if deployment.lenient else stats.kept or self._counted(stats)
        response.packable = True
        scored = answer.scored_ns
        stats.succeeded(
            answer.query.rows.count,
            answer.query.at,
            scored - answer.infer_ns - began,
            answer.infer_ns,
            time.perf_counter_ns() - scored,
        )
        if answer.shadow_failed:
            stats.shadow_failures += 1
        if deployment.patient:
            stats.queue_ns += answer.queue_ns
            stats.joined += answer.joined
            if answer.remembered:
                stats.hits += 1
                stats.hit_ns += scored - began
            elif deployment.remembered is not None:
                stats.misses += 1
        return response


def _origin(headers: dict[bytes, bytes]) -> tuple[str | None, str | None]:
    """Return who asks, as the request says, and the trace that it belongs to."""
    caller = headers.get(b"x-bascule-caller")
    trace = headers.get(b"traceparent")
    match = _TRACE.fullmatch(trace.strip()) if trace is not None else None
    return (
        caller.decode("utf-8", "replace")[:200] if caller is not None else None,
        match[1].decode() if match is not None else None,
    )
