"""The commonest request, answered without what only others need: one row, and nothing asked but the answer.

What cannot be answered here is left to `Inference`, which then begins anew; so it says the same in the same words, and
a failure is counted and logged in one place. What is answered here is logged and counted as it is there.
"""

from __future__ import annotations

import struct
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from bascule.errors import BasculeError
from bascule.protocols.openinference.inputs import AnyRequest, is_no_column
from bascule.protocols.openinference.letter import EXAMPLE_ID, Letter, letter_of
from bascule.protocols.openinference.messages import InferRequest, read_infer, read_instance, read_row, read_single
from bascule.protocols.openinference.outputs import check_outputs, infer_response
from bascule.protocols.openinference.plain import Asked, predict_response
from bascule.protocols.openinference.row import RowReader, Values
from bascule.serving.deployment import ServedDeployment
from bascule.serving.http import Request, Response
from bascule.serving.http.message import JSON, Kept
from bascule.serving.ids import IdSource
from bascule.serving.log import PredictionLog
from bascule.serving.rows import Rows
from bascule.serving.scoring import Answer, Query
from bascule.serving.stats import VersionStats

MOST_ASKED = 64
LONGEST = 2_048  # bytes of the JSON before a tensor that are remembered
_LENGTH = b"inference-header-content-length"
# What clients call JSON, with curl, urllib and axios among them; what they say else is looked at on the longer way.
_JSON = frozenset((JSON, b"application/json; charset=utf-8", b"application/x-www-form-urlencoded"))
_ACCEPTED = frozenset((JSON, b"*/*", b"application/json, text/plain, */*"))
_FORMS = {"FP64": "d", "FP32": "f"}
_now, _clock = time.perf_counter_ns, time.time_ns
Answered = Callable[[Request, int], Response | None]
# The inputs as they are logged, the output, when it was read, and how the answer is written.
Scored = tuple[bytes | dict[str, Any] | list[Values], float, int, "_Written"]


class _Written(NamedTuple):
    """How the answers to requests of one form are written."""

    letter: Letter
    content_type: bytes = JSON
    extra: bytes = b""


class _Bytes(NamedTuple):
    """What the JSON before a tensor's bytes says.

    Attributes:
        row: reads the bytes.
        plain: they are the row as it is logged.
    """

    row: struct.Struct
    plain: bool
    written: _Written


def shortcuts_of(
    deployment: ServedDeployment, stats: VersionStats, ids: IdSource, log: PredictionLog, kept: Kept
) -> dict[str, Answered]:
    """Return what answers a deployment's commonest requests in the protocol's form, and in the plain one.

    Each is given a request and when it came, and returns None for one that it leaves alone.

    Args:
        stats: of the only version that answers.
        kept: what an answer waits for.
    """
    if not deployment.simple or deployment.first.task == "multiclass" or deployment.first.graph.takes:
        return dict.fromkeys(("infer", "predict"), _left)
    made = _Shortcut(deployment, stats, ids, log, kept)
    return {"infer": made.infer, "predict": made.predict}


def _left(request: Request, began: int) -> None:
    """Leave a request alone."""


class _Shortcut:
    def __init__(
        self, deployment: ServedDeployment, stats: VersionStats, ids: IdSource, log: PredictionLog, kept: Kept
    ) -> None:
        arm, model = deployment.split.only, deployment.first
        assert arm is not None
        self._deployment = weakref.ref(deployment)  # which holds this
        self._model, self._stats, self._kept = model, stats, kept
        self._context = deployment.context(model)
        self._arm = arm.kind, arm.probability
        self._next, self._append = ids.next, log.append
        self._encode, self._names = model.encoder.encode_one, model.encoder.known
        self._width = model.width
        self._reader = RowReader(model.encoder)
        self._range = (0.0, 1.0) if model.task == "binary" else (-1e300, 1e300)
        self._one = model.runtime.predict_one
        self._packed = getattr(model.runtime, "predict_packed", None) or self._unpacked
        self._row = struct.Struct(f"<{self._width}d")
        self._tensors = self._writing(deployment, partial(infer_response, InferRequest([])))
        self._plain = self._writing(deployment, partial(predict_response, Asked()))
        self._asked: dict[bytes, _Bytes | None] = {}
        self._matrix = ""  # the last input's name that was no column's

    def infer(self, request: Request, began: int) -> Response | None:
        """Answer a request in the protocol's form."""
        headers, model = request.headers, self._model
        if b"traceparent" in headers or b"x-bascule-caller" in headers:
            return None
        at = _clock() // 1000
        found: Scored | None = None
        if _LENGTH in headers:
            found = self._of_bytes(request.body, headers[_LENGTH])
        elif model.sent_numbers:
            found = self._of_numbers(request.body)
        elif model.sent_plainly:
            found = self._of_columns(request.body)
        return None if found is None else self._finish(found, at, began)

    def predict(self, request: Request, began: int) -> Response | None:
        """Answer a request in the plain form."""
        headers = request.headers
        if b"traceparent" in headers or b"x-bascule-caller" in headers:
            return None
        if headers.get(b"content-type", JSON) not in _JSON or headers.get(b"accept", JSON) not in _ACCEPTED:
            return None
        at = _clock() // 1000
        body = request.body
        values = self._reader.of_instance(body)
        if values is not None:
            found = self._of_row(values, self._plain)
            return None if found is None else self._finish(found, at, began)
        message = read_instance(body)
        if message is None or message.instances[0].keys() != self._names:
            return None
        found = self._of_values({name: [value] for name, value in message.instances[0].items()}, self._plain)
        return None if found is None else self._finish(found, at, began)

    def _finish(self, found: Scored, at: int, began: int) -> Response:
        """Log and count an answer, and write it."""
        inputs, output, ready, written = found
        scored = _now()
        context = self._context
        prediction_id = self._next(at)
        kind, share = self._arm
        latency = (scored - began) // 1000
        self._append(
            context,
            (context.number, [prediction_id], at, None, kind, share, None, None, latency, inputs, None, [output], None,
             None, None, None),
        )  # fmt: skip
        letter, content_type, extra = written
        response = Response(letter.fill(prediction_id, output), 200, content_type, extra, self._kept, True)
        self._stats.succeeded(1, at, ready - began, scored - ready, _now() - scored)
        return response

    def _of_numbers(self, body: bytes) -> Scored | None:
        """Score a row that came as one tensor of numbers."""
        message = read_row(body)
        if message is None or _asks(message):
            return None
        (only,) = message.inputs
        row = only.data
        if len(row) != self._width or only.shape[1] != self._width or not self._is_matrix(only.name):
            return None
        return self._of_packed(self._row.pack(*row), self._tensors)

    def _of_columns(self, body: bytes) -> Scored | None:
        """Score a row that came as a tensor of one value for each column."""
        message = read_single(body)
        if message is None or _asks(message):
            return None
        values = self._reader.of_tensors(message.inputs)
        if values is not None:
            return self._of_row(values, self._tensors)
        columns = {tensor.name: tensor.data for tensor in message.inputs}
        if len(columns) != len(message.inputs) or columns.keys() != self._names:
            return None
        return self._of_values(columns, self._tensors)

    def _of_bytes(self, body: bytes, length: bytes) -> Scored | None:
        """Score a row whose numbers follow the JSON, when that JSON came before."""
        if not length.isdigit() or len(length) > 4:
            return None
        header = body[: int(length)]
        asked = self._asked[header] if header in self._asked else self._learn(header)
        if asked is None or len(body) - len(header) != asked.row.size:
            return None
        packed = body[len(header) :] if asked.plain else self._row.pack(*asked.row.unpack_from(body, len(header)))
        return self._of_packed(packed, asked.written)

    def _of_values(self, columns: dict[str, Any], written: _Written | None) -> Scored | None:
        """Score a row of one value for each column."""
        ready = _now()
        try:
            row = self._encode(columns)
        except BasculeError:  # the longer way says what is wrong
            return None
        output = self._score(self._one, row)
        return None if output is None or written is None else (columns, output, ready, written)

    def _of_row(self, values: Values, written: _Written | None) -> Scored | None:
        """Score a row of one value for each input, in their order."""
        ready = _now()
        output = self._score(self._packed, self._reader.packed(values))
        return None if output is None or written is None else ([values], output, ready, written)

    def _of_packed(self, row: bytes, written: _Written | None) -> Scored | None:
        """Score a row of little-endian float64, as it is logged."""
        ready = _now()
        output = self._score(self._packed, row)
        return None if output is None or written is None else (row, output, ready, written)

    def _learn(self, header: bytes) -> _Bytes | None:
        """Read the JSON before a tensor of one row, and remember what it says; None when it says more than that."""
        if len(header) > LONGEST:
            return None
        if len(self._asked) >= MOST_ASKED:
            self._asked.clear()
        self._asked[header] = None
        try:
            message = read_infer(header)
            if message.outputs:
                check_outputs(message, self._model)
        except BasculeError:
            return None
        if message.id is not None or not set(message.parameters or ()) <= {"binary_data_output"}:
            return None
        if len(message.inputs) != 1 or message.inputs[0].datatype not in _FORMS:
            return None
        (only,) = message.inputs
        row = struct.Struct(f"<{self._width}{_FORMS[only.datatype]}")
        size = (only.parameters or {}).get("binary_data_size")
        if only.shape != [1, self._width] or size != row.size or not self._is_matrix(only.name):
            return None
        deployment = self._deployment()
        write = partial(infer_response, message)
        written = self._writing(deployment, write) if deployment is not None else None
        if written is not None:
            self._asked[header] = _Bytes(row, only.datatype == "FP64", written)
        return self._asked[header]

    def _writing(self, deployment: ServedDeployment, form: Callable[[Answer, str], Response]) -> _Written | None:
        """Return how the answers of a form are written; None when it has no letter."""
        arm = deployment.split.only
        assert arm is not None
        answer = Answer(deployment, Query(Rows(1, None)), arm, self._model)
        answer.ids, said = [EXAMPLE_ID], []

        def write(number: float) -> bytes:
            answer.outputs = [number]
            said.append(form(answer, deployment.name))
            return said[-1].body

        letter = letter_of(write)
        low, high = said
        if letter is None or (low.content_type, low.extra) != (high.content_type, high.extra):
            return None
        if low.extra and not letter.fixed:
            return None  # it tells the length of the JSON, in which the number stands
        return _Written(letter, low.content_type, low.extra)

    def _is_matrix(self, name: str) -> bool:
        if name != self._matrix:
            if not self._model.numeric or not is_no_column(name, self._model):
                return False
            self._matrix = name
        return True

    def _score(self, runtime: Callable[[Any], Any], row: Any) -> float | None:
        """Return the output; None when the model failed, or told a number that is not written as such."""
        low, high = self._range
        try:
            output: float = runtime(row)[0]
        except Exception:  # the longer way tries once more, and logs what becomes of it
            return None
        return output if low <= output <= high else None

    def _unpacked(self, row: bytes) -> Any:
        return self._one(self._row.unpack(row))


def _asks(message: AnyRequest) -> bool:
    """Whether a request asks for anything beside the answer."""
    return message.id is not None or message.parameters is not None or bool(message.outputs)
