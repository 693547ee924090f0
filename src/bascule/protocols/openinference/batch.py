"""Many rows in one tensor of bytes, answered without what only others need.

A server that has just computed for milliseconds finds little of its code in the processor's caches, so each step around
the model costs five to ten times what it costs in a loop: what counts here is to take few of them. What the JSON before
the bytes says is therefore remembered, and so is all of an answer but its ids and its numbers. What cannot be answered
here is left to `Inference`, as in `shortcut`.
"""

from __future__ import annotations

import time
import weakref
from typing import NamedTuple

import numpy as np

from bascule.errors import BasculeError
from bascule.protocols.openinference.inputs import is_no_column
from bascule.protocols.openinference.messages import InferRequest, read_infer
from bascule.protocols.openinference.outputs import OCTETS, check_outputs, infer_response
from bascule.serving.deployment import ServedDeployment
from bascule.serving.http import Response
from bascule.serving.http.message import Kept
from bascule.serving.ids import IdSource, json_text_of, logged
from bascule.serving.log import PredictionLog
from bascule.serving.model import LoadedModel
from bascule.serving.rows import Rows
from bascule.serving.scoring import MOST_ROWS, Answer, Query
from bascule.serving.stats import VersionStats

MOST_ASKED = 64
LONG_NS = 10_000_000  # what a client that comes meanwhile may wait
LONGEST = 2_048  # bytes of the JSON before a tensor that are remembered
_DOUBLE: np.dtype = np.dtype("<f8")
_FORMS: dict[str, np.dtype] = {"FP64": _DOUBLE, "FP32": np.dtype("<f4")}
_now, _clock = time.perf_counter_ns, time.time_ns


class _Asked(NamedTuple):
    """What the JSON before a tensor's bytes says, and what is said to it around the prediction ids.

    Attributes:
        size: of the tensor, in bytes.
        extra: header lines of the answer.
    """

    rows: int
    shape: tuple[int, int]
    size: int
    dtype: np.dtype
    before: bytes
    behind: bytes
    extra: bytes


class Batches:
    """Answers requests about many rows to one deployment. It belongs to the event loop.

    Args:
        stats: of the only version that answers.
        kept: what an answer waits for.

    Attributes:
        row_ns: what a row of the last batch took.
    """

    def __init__(
        self, deployment: ServedDeployment, stats: VersionStats, ids: IdSource, log: PredictionLog, kept: Kept
    ) -> None:
        arm = deployment.split.only
        assert arm is not None
        self.model = deployment.first
        self.context = deployment.context(self.model)
        self.arm = arm.kind, arm.probability
        self.ids, self.log, self.kept, self.stats = ids, log, kept, stats
        self._deployment = weakref.ref(deployment)  # which holds this
        self._asked: dict[bytes, _Asked | None] = {}
        self.row_ns = LONG_NS

    def batch(self, body: bytes, length: bytes, began: int) -> Batch | None:
        """Return what a request asks, to be scored; None for one that is left alone.

        Args:
            length: how many bytes of the body are JSON, as its head says it.
            began: when it came, on the performance counter.
        """
        if not length.isdigit() or len(length) > 4:
            return None
        header = body[: int(length)]
        asked = self._asked[header] if header in self._asked else self._learn(header)
        if asked is None or len(body) - len(header) != asked.size:
            return None
        return Batch(self, asked, memoryview(body)[len(header) :], began)

    def _learn(self, header: bytes) -> _Asked | None:
        """Read the JSON before a tensor, and remember what it says; None when it says more than that."""
        if len(header) > LONGEST:
            return None
        if len(self._asked) >= MOST_ASKED:
            self._asked.clear()
        self._asked[header] = None
        deployment, message = self._deployment(), _message(header, self.model)
        if deployment is None or message is None:
            return None
        (only,) = message.inputs
        rows, dtype = only.shape[0], _FORMS[only.datatype]
        size = rows * self.model.width * dtype.itemsize
        said = _written(deployment, message, rows)
        sized = only.parameters == {"binary_data_size": size} and type(only.parameters["binary_data_size"]) is int
        if sized and said is not None:
            self._asked[header] = _Asked(rows, (rows, self.model.width), size, dtype, *said)
        return self._asked[header]


def _message(header: bytes, model: LoadedModel) -> InferRequest | None:
    """Return a request whose only input holds whole rows, and that asks for nothing but their outputs."""
    try:
        message = read_infer(header)
        check_outputs(message, model)
    except BasculeError:
        return None
    if message.id is not None or not set(message.parameters or ()) <= {"binary_data_output"}:
        return None
    if len(message.inputs) != 1 or not model.numeric or not is_no_column(message.inputs[0].name, model):
        return None
    shape = message.inputs[0].shape
    fits = len(shape) == 2 and shape[1] == model.width and 1 < shape[0] <= MOST_ROWS
    return message if fits and message.inputs[0].datatype in _FORMS else None


def _written(deployment: ServedDeployment, message: InferRequest, rows: int) -> tuple[bytes, bytes, bytes] | None:
    """Return what an answer says before and behind the ids, and its header lines; None where more than the numbers'
    bytes depends on the outputs."""
    arm, half = deployment.split.only, np.full(rows, 0.5)
    assert arm is not None
    answer = Answer(deployment, Query(Rows(rows, None)), arm, deployment.first)
    answer.ids, answer.outputs = IdSource().many(0, rows), half.tolist()
    said = infer_response(message, answer, deployment.name)
    before, ids, behind = said.body[: -half.nbytes].partition(json_text_of(answer.ids))
    if not ids or said.content_type is not OCTETS or behind.count(b'"name"') != 1:
        return None
    return (before, behind, said.extra) if said.body.endswith(half.astype(_DOUBLE).tobytes()) else None


class Batch:
    """One request about many rows.

    Args:
        data: the tensor, which lies in the request's body.
    """

    def __init__(self, batches: Batches, asked: _Asked, data: memoryview, began: int) -> None:
        self.rows = asked.rows
        self._batches, self._asked, self._data, self._began = batches, asked, data, began
        self._at = _clock() // 1000
        self._ready = self._scored = 0

    @property
    def brief(self) -> bool:
        """Whether it is scored so soon, as the last one tells, that nothing need run beside it where nobody waits."""
        return self._batches.row_ns * self.rows < LONG_NS

    def predict(self) -> np.ndarray | None:
        """Return the outputs [rows], in whatever thread; None for what the longer way is to try, and tell of."""
        self._ready = _now()
        asked, runtime = self._asked, self._batches.model.runtime
        matrix = np.ndarray(asked.shape, asked.dtype, self._data)
        if asked.dtype is not _DOUBLE:
            matrix = matrix.astype(_DOUBLE)
            self._data = matrix.reshape(-1).view(np.uint8).data
        try:
            found = runtime.predict(matrix if getattr(runtime, "only_reads", False) else matrix.copy())
        except Exception:
            return None
        self._scored = _now()
        self._batches.row_ns = (self._scored - self._ready) // self.rows
        return found if found.shape == (self.rows,) and found.dtype == _DOUBLE else None

    def answered(self, found: np.ndarray) -> Response:
        """Log and count the outputs, on the event loop, and return the answer."""
        of, asked = self._batches, self._asked
        ids, scored = of.ids.many(self._at, self.rows), self._scored
        numbers, latency = found.tobytes(), (scored - self._began) // 1000
        of.log.append(
            of.context,
            (of.context.number, logged(ids), self._at, None, *of.arm, None, None, latency, self._data,
             None, numbers, None, None, None, None),
        )  # fmt: skip
        text = b"".join((asked.before, json_text_of(ids), asked.behind, numbers))
        of.stats.succeeded(self.rows, self._at, self._ready - self._began, scored - self._ready, _now() - scored)
        return Response(text, 200, OCTETS, asked.extra, of.kept, True)
