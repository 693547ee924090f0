"""One request from rows to answer: choose the arm, score, score unseen beside it, and say what to log."""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bascule.errors import BasculeError, EnvironmentProblem, InputError
from bascule.serving.deployment import ServedDeployment
from bascule.serving.http.message import HttpProblem
from bascule.serving.ids import IdSource, logged
from bascule.serving.log.predictions import PredictionLog
from bascule.serving.model import LoadedModel, Output
from bascule.serving.rows import Rows
from bascule.serving.split import Arm
from bascule.serving.workers.child import StepFailed, WorkerSlow

MOST_ROWS = 10_000


class ScoringFailed(BasculeError):
    """The model itself failed on rows that fit its signature. The failure is in the prediction log."""


class ScoringLate(ScoringFailed):
    """The model did not answer in time."""

    status = 504


class Query:
    """What is asked.

    Attributes:
        rows: what it is about, as the version that answers reads it; sent: as it came.
        version: the version that must answer; None leaves it to the split.
        unit: what stays with one version: what the caller named, or the request's id; None takes the keys of the
            first row and, when there are none, chance.
        caller: who asks, as the request says.
        trace_id: of the W3C trace that the request belongs to.
        at: when it came, in microseconds since the epoch.
        began_ns: when it came, on the performance counter; now when it is not given.
    """

    def __init__(
        self,
        rows: Rows,
        version: int | None = None,
        unit: str | None = None,
        caller: str | None = None,
        trace_id: str | None = None,
        began_ns: int | None = None,
    ) -> None:
        self.rows = self.sent = rows
        self.version = version
        self.unit = unit
        self.caller = caller
        self.trace_id = trace_id
        self.at = time.time_ns() // 1000
        self.began_ns = time.perf_counter_ns() if began_ns is None else began_ns


class Answer:
    """What was found out.

    Attributes:
        unit: the place of what was assigned to the arm (`Split.place`); None when there was nothing to choose.
        outputs: for each row the positive class' probability, each class' probability, or the value; None when the
            model failed.
        features: the model's inputs row by row, when they were joined and not sent.
        event_time: as of when, for each row (µs since the epoch); None when nothing says so.
        ids: the prediction ids, one a row; empty until it was recorded.
        infer_ns: how long the model took; queue_ns: how long it waited for a worker.
        joined: it was scored together with a request that counts as the call.
        remembered: it was answered before.
        late: the model failed by not answering in time.
        scored_ns: when it was done, on the performance counter.
        shadow: the other arm's version, its outputs and how long it took in microseconds; None when there is none, or
            it failed.
        shadow_failed: the other arm failed.
        explanations: for each row what its inputs add to the score; None when nobody asked.
        explained: the caller asked for them; else they are for the log alone.
    """

    outputs: list[Output] | None = None
    features: list[list[Any]] | None = None
    event_time: list[int] | None = None
    error: str | None = None
    ids: Sequence[str] = ()
    shadow: tuple[int, list[Output], int] | None = None
    shadow_failed = False
    explanations: list[dict[str, Any]] | None = None
    explained = False
    infer_ns = 0
    queue_ns = 0
    joined = False
    remembered = False
    late = False
    scored_ns = 0
    latency_us = 0

    def __init__(
        self, deployment: ServedDeployment, query: Query, arm: Arm, model: LoadedModel, unit: int | None = None
    ) -> None:
        self.deployment = deployment
        self.query = query
        self.arm = arm
        self.model = model
        self.unit = unit

    def failed(self, error: Exception) -> None:
        """Note that the model, or an online store, failed: it is logged, and answered as an error."""
        self.error = str(error) if isinstance(error, StepFailed) else f"{type(error).__name__}: {error}"
        self.late = isinstance(error, WorkerSlow)
        self.model.case.failed(error)


def score(deployment: ServedDeployment, query: Query) -> Answer:
    """Score a query. Nothing is written; it may run in any thread, and blocks when workers answer.

    Returns:
        The answer; when the model itself failed, `error` says so, and it must still be recorded.

    Raises:
        InputError: the rows do not fit the model, or break its contract where a deployment refuses that; the text names
            the column.
        EnvironmentProblem: the version is not in memory.
    """
    return fill(begin(deployment, query))


def begin(deployment: ServedDeployment, query: Query) -> Answer:
    """Return the answer of a query before anything is scored: who answers, after the rows were held to the contract.

    Raises:
        InputError, EnvironmentProblem: as `score`.
    """
    rows = query.rows
    if rows.count > MOST_ROWS:
        raise InputError(
            f"The request has {rows.count:,} rows; at most {MOST_ROWS:,} are answered at once.",
            hint="Send it in parts.",
        )
    arm, unit = _arm(deployment, query)
    model = deployment.model(arm.version)
    if model is None:
        raise EnvironmentProblem(
            f"Version {arm.version} of deployment {deployment.name!r} is not loaded. {deployment.problem}".strip(),
            hint="`bascule doctor` tells what is missing; `bascule rollback` goes back to the version before.",
        )
    query.rows = deployment.fitted(model, rows)
    promises = deployment.promises.get(arm.version)
    if promises is not None:
        promises.hold(query.rows, model.encoder.names)
    return Answer(deployment, query, arm, model, unit)


def fill(answer: Answer) -> Answer:
    """Score what an answer is about, and unseen beside it.

    Raises:
        InputError, EnvironmentProblem: as `score`.
    """
    query, model = answer.query, answer.model
    began = time.perf_counter_ns()
    try:
        answer.outputs, answer.features, answer.event_time = model.score(query.rows, query.at)
    except (InputError, EnvironmentProblem, HttpProblem):
        raise
    except Exception as error:  # whatever a model or an online store may raise
        answer.failed(error)
    ended = time.perf_counter_ns()
    answer.infer_ns = ended - began
    answer.scored_ns = ended
    answer.latency_us = (ended - query.began_ns) // 1000
    if answer.deployment.shadows:
        score_unseen(answer)
    return answer


def record(answer: Answer, ids: IdSource, log: PredictionLog) -> None:
    """Give an answer its prediction ids and put it into the log's turn.

    Raises:
        ScoringFailed: the model failed; that too is in the log.
    """
    query, model = answer.query, answer.model
    count = query.rows.count
    names = answer.ids = [ids.next(query.at)] if count == 1 else ids.many(query.at, count)
    if count:
        context = answer.deployment.context(model)
        inputs, features = _inputs(query.sent), answer.features
        redaction, explanations, error = answer.deployment.redaction, answer.explanations, answer.error
        if answer.error is not None and isinstance(inputs, memoryview):
            inputs = inputs.tobytes()  # a model that was late may be at work on them still
        if redaction is not None:
            explanations = redaction.explained(explanations)
            inputs = inputs.tobytes() if isinstance(inputs, memoryview) else inputs
            inputs, features = redaction.applied(inputs, features, model.encoder.names, model.kinds)
            if error is not None and not answer.late:  # that it was late are words of ours
                error = redaction.failure(error)
        log.append(
            context,
            (
                context.number,
                logged(names),
                query.at,
                answer.event_time,
                answer.arm.kind,
                answer.arm.probability,
                query.caller,
                query.trace_id,
                answer.latency_us,
                inputs,
                features,
                answer.outputs,
                error,
                answer.shadow,
                answer.unit,
                explanations,
            ),
        )
    if answer.error is not None:
        text = f"Version {model.version} of model {model.name!r} failed: {answer.error}"
        raise ScoringLate(text) if answer.late else ScoringFailed(text)


def _arm(deployment: ServedDeployment, query: Query) -> tuple[Arm, int | None]:
    """Return the arm that answers, and the place of the unit that was assigned to it."""
    if query.version is not None:
        deployment.entry(query.version)
        return Arm(query.version, "pinned", None), None
    split = deployment.split
    if split.only is not None:
        return split.only, None
    place = split.place(query.unit or deployment.first.subject(query.rows) or secrets.token_hex(8))
    return split.arm_at(place), place


def is_shadowed(answer: Answer) -> bool:
    """Return whether another version is to score the same rows unseen."""
    return bool(answer.deployment.shadows) and answer.arm.kind != "pinned" and answer.outputs is not None


def score_unseen(answer: Answer) -> None:
    """Let the other arm of a rollout score the same rows, if there is one."""
    if not is_shadowed(answer):
        return
    deployment = answer.deployment
    version = deployment.shadows.get(answer.arm.version)
    model = deployment.model(version) if version is not None else None
    if model is None:
        return
    began = time.perf_counter_ns()
    try:
        outputs = model.score(deployment.fitted(model, answer.query.sent), answer.query.at)[0]
        answer.shadow = model.version, outputs, (time.perf_counter_ns() - began) // 1000
    except Exception as error:  # the caller must not feel what it does not see; the failure is counted
        answer.shadow_failed = True
        if not isinstance(error, InputError | EnvironmentProblem | HttpProblem):
            model.case.failed(error)


def _inputs(rows: Rows) -> Mapping[str, Sequence[Any]] | bytes | memoryview:
    if rows.row is not None:
        return struct.pack(f"<{len(rows.row)}d", *rows.row)
    if rows.matrix is not None:
        return np.ascontiguousarray(rows.matrix, dtype="<f8").reshape(-1).view(np.uint8).data
    assert rows.columns is not None
    return rows.columns if type(rows.columns) is dict else dict(rows.columns)
