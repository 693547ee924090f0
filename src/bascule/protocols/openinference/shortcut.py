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
from bascule.protocols.openinference.batch import Batches
from bascule.protocols.openinference.inputs import is_no_column
from bascule.protocols.openinference.letter import EXAMPLE_ID, Letter, letter_of
from bascule.protocols.openinference.messages import InferRequest, read_infer, read_instance, read_row, read_single
from bascule.protocols.openinference.outputs import check_outputs, infer_response
from bascule.protocols.openinference.plain import Asked, predict_response
from bascule.protocols.openinference.row import RowReader, Values
from bascule.serving.deployment import ServedDeployment
from bascule.serving.http import Response
from bascule.serving.http.message import JSON, Kept, Said
from bascule.serving.ids import IdSource
from bascule.serving.log import PredictionLog
from bascule.serving.log.predictions import row_record
from bascule.serving.rows import Rows
from bascule.serving.scoring import Answer, Query
from bascule.serving.stats import VersionStats

MOST_ASKED = 64
LONGEST = 2_048  # bytes of the JSON before a tensor that are remembered
BATCH = "batch"  # beside the names of short forms
LENGTH = b"inference-header-content-length"
# What clients call JSON, with curl, urllib and axios among them; what they say else is looked at on the longer way.
_JSON = frozenset((JSON, b"application/json; charset=utf-8", b"application/x-www-form-urlencoded"))
_ACCEPTED = frozenset((JSON, b"*/*", b"application/json, text/plain, */*"))
_FORMS = {"FP64": "d", "FP32": "f"}
_now, _clock = time.perf_counter_ns, time.time_ns
Answered = Callable[[bytes, bytes | None, int], Said | None]
Inputs = bytes | dict[str, Any] | list[Values]


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
) -> dict[str, Any]:
    """Return what answers a deployment's commonest requests in the protocol's form, and in the plain one.

    At `BATCH` stand the `Batches` that answer those about many rows, or None.

    Each other is given a body, how many bytes of it are JSON if its head says that, and when it came; it returns None
    for one that it leaves alone. It takes bodies behind a `short_head` only.

    Args:
        stats: of the only version that answers.
        kept: what an answer waits for.
    """
    model = deployment.first
    if not deployment.simple or model.task == "multiclass" or model.graph.takes or model.encoder.is_raw:
        return {"infer": _left, "predict": _left, BATCH: None}
    made = _Shortcut(deployment, stats, ids, log, kept)
    batches = None if deployment.patient else Batches(deployment, stats, ids, log, kept)
    return {"infer": made.infer, "predict": made.predict, BATCH: batches}


def short_head(headers: dict[bytes, bytes], short: str) -> bool:
    """Return whether a request's headers ask for nothing that a shortcut of that name does not do."""
    if b"traceparent" in headers or b"x-bascule-caller" in headers:
        return False
    return short != "predict" or (
        headers.get(b"content-type", JSON) in _JSON and headers.get(b"accept", JSON) in _ACCEPTED
    )


def _left(body: bytes, length: bytes | None, began: int) -> None:
    """Leave a request alone."""


class _Shortcut:
    def __init__(
        self, deployment: ServedDeployment, stats: VersionStats, ids: IdSource, log: PredictionLog, kept: Kept
    ) -> None:
        arm, model = deployment.split.only, deployment.first
        assert arm is not None
        self._deployment = weakref.ref(deployment)  # which holds this
        self._model, self._kept = model, kept
        self._context = deployment.context(model)
        self._arm = arm.kind, arm.probability
        self._next, self._log, self._count = ids.next, log, stats.succeeded
        self._record = row_record(self._context, *self._arm, model.width)
        self._encode, self._names = model.encoder.encode_one, model.encoder.known
        self._width = model.width
        self._reader = RowReader(model.encoder)
        self._low, self._high = (0.0, 1.0) if model.task == "binary" else (-1e300, 1e300)
        self._one = model.runtime.predict_one
        self._packed = getattr(model.runtime, "predict_packed", None) or self._unpacked
        self._row = struct.Struct(f"<{self._width}d")
        self._pack = self._row.pack
        self._tensors = self._writing(deployment, partial(infer_response, InferRequest([])))
        self._plain = self._writing(deployment, partial(predict_response, Asked()))
        self._asked: dict[bytes, _Bytes | None] = {}
        self._matrix = ""  # the last input's name that was no column's

    def infer(self, body: bytes, length: bytes | None, began: int) -> Said | None:
        """Answer a request in the protocol's form."""
        if length is not None:
            return self._of_bytes(body, length, began)
        model = self._model
        if model.sent_numbers:
            return self._of_numbers(body, began)
        return self._of_columns(body, began) if model.sent_plainly else None

    def predict(self, body: bytes, length: bytes | None, began: int) -> Said | None:
        """Answer a request in the plain form."""
        at = _clock() // 1000
        values = self._reader.of_instance(body)
        if values is not None:
            return self._of_row(values, self._plain, at, began)
        message = read_instance(body)
        if message is None or message.instances[0].keys() != self._names:
            return None
        columns = {name: [value] for name, value in message.instances[0].items()}
        return self._of_values(columns, self._plain, at, began)

    def _of_numbers(self, body: bytes, began: int) -> Said | None:
        """Answer about a row that came as one tensor of numbers."""
        at = _clock() // 1000
        message = read_row(body)
        if message is None or message.id is not None or message.parameters is not None or message.outputs:
            return None
        only = message.inputs[0]
        row, width = only.data, self._width
        if (
            len(row) != width
            or only.shape[1] != width
            or (only.name != self._matrix and not self._is_matrix(only.name))
        ):
            return None
        return self._of_packed(self._pack(*row), self._tensors, at, began)

    def _of_columns(self, body: bytes, began: int) -> Said | None:
        """Answer about a row that came as a tensor of one value for each column."""
        at = _clock() // 1000
        message = read_single(body)
        if message is None or message.id is not None or message.parameters is not None or message.outputs:
            return None
        values = self._reader.of_tensors(message.inputs)
        if values is not None:
            return self._of_row(values, self._tensors, at, began)
        columns = {tensor.name: tensor.data for tensor in message.inputs}
        if len(columns) != len(message.inputs) or columns.keys() != self._names:
            return None
        return self._of_values(columns, self._tensors, at, began)

    def _of_bytes(self, body: bytes, length: bytes, began: int) -> Said | None:
        """Answer about a row whose numbers follow the JSON, when that JSON came before."""
        at = _clock() // 1000
        if not length.isdigit() or len(length) > 4:
            return None
        header = body[: int(length)]
        asked = self._asked[header] if header in self._asked else self._learn(header)
        if asked is None or len(body) - len(header) != asked.row.size:
            return None
        packed = body[len(header) :] if asked.plain else self._pack(*asked.row.unpack_from(body, len(header)))
        return self._of_packed(packed, asked.written, at, began)

    def _of_packed(self, row: bytes, written: _Written | None, at: int, began: int) -> Said | None:
        """Answer about a row of little-endian float64, which is logged as it is."""
        ready = _now()
        try:
            output: float = self._packed(row)[0]
        except Exception:  # the longer way tries once more, and logs what becomes of it
            return None
        if written is None or not self._low <= output <= self._high:
            return None
        scored = _now()
        prediction_id = self._next(at).encode()
        record = self._record(prediction_id, at, (scored - began) // 1000, row, output)
        self._log.append_encoded(self._context, record)
        said = written.letter.fill(prediction_id, output), written.content_type, written.extra, self._kept
        self._count(1, at, ready - began, scored - ready, _now() - scored)
        return said

    def _of_row(self, values: Values, written: _Written | None, at: int, began: int) -> Said | None:
        """Answer about a row of one value for each input, in their order."""
        ready = _now()
        try:
            output: float = self._packed(self._reader.packed(values))[0]
        except Exception:
            return None
        return self._told([values], output, written, at, (began, ready))

    def _of_values(self, columns: dict[str, Any], written: _Written | None, at: int, began: int) -> Said | None:
        """Answer about a row of one value for each column."""
        ready = _now()
        try:
            output: float = self._one(self._encode(columns))[0]
        except Exception:  # the longer way says what is wrong
            return None
        return self._told(columns, output, written, at, (began, ready))

    def _told(
        self, inputs: Inputs, output: float, written: _Written | None, at: int, since: tuple[int, int]
    ) -> Said | None:
        """Log and count an answer, and write it; None for a number that is not written as such."""
        if written is None or not self._low <= output <= self._high:
            return None
        scored = _now()
        began, ready = since
        prediction_id = self._next(at)
        kind, share = self._arm
        self._log.append(
            self._context,
            (self._context.number, [prediction_id], at, None, kind, share, None, None, (scored - began) // 1000, inputs,
             None, [output], None, None, None, None),
        )  # fmt: skip
        said = written.letter.fill(prediction_id.encode(), output), written.content_type, written.extra, self._kept
        self._count(1, at, ready - began, scored - ready, _now() - scored)
        return said

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

    def _unpacked(self, row: bytes) -> Any:
        return self._one(self._row.unpack(row))
