"""The prediction log: one record for each request that was scored, with everything that explains its answer.

What many records share (branch, commit, deployment, model, names of the features) is a `Context`, written once in a
segment and referred to by number, so that one record of one row costs a few hundred bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from bascule.serving.ids import LENGTH as ID_LENGTH
from bascule.serving.ids import read_logged
from bascule.serving.log.journal import Journal, JournalLimits

PREDICTIONS = "predictions"
NONE = ""  # the label where a model says that it has no number
TIMESTAMP = pa.timestamp("us", "UTC")

SCHEMA = pa.schema(
    [
        pa.field("prediction_id", pa.string(), nullable=False),
        pa.field("at", TIMESTAMP, nullable=False),
        pa.field("event_time", TIMESTAMP, nullable=False),
        pa.field("branch", pa.string(), nullable=False),
        pa.field("commit_id", pa.string(), nullable=False),
        pa.field("deployment", pa.string(), nullable=False),
        pa.field("revision", pa.int64(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("arm", pa.string(), nullable=False),
        pa.field("probability", pa.float64()),
        pa.field("caller", pa.string()),
        pa.field("trace_id", pa.string()),
        pa.field("latency_us", pa.int64(), nullable=False),
        pa.field("inputs", pa.string(), nullable=False),
        pa.field("features", pa.string(), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("output", pa.string(), nullable=False),
        pa.field("shadow", pa.string()),
        pa.field("unit", pa.int64()),
    ]
)


class Context(msgspec.Struct, array_like=True, frozen=True, tag=0):
    """What the records that name it have in common.

    Attributes:
        number: how records refer to it, within a segment.
        features: the names of the model's inputs in order.
        task: `binary`, `multiclass` or `regression`.
        classes: the names of the classes in the order of their probabilities.
    """

    number: int
    branch: str
    commit_id: str
    deployment: str
    revision: int
    model: str
    version: int
    features: tuple[str, ...]
    task: str
    classes: tuple[str, ...]


class Served(msgspec.Struct, array_like=True, tag=1):
    """One request that was scored, of one row or many.

    Attributes:
        ids: one prediction id for each row; as `ids.logged` writes those of many rows.
        at: when it was asked, in microseconds since the epoch.
        event_time: as of when, for each row; None means `at`.
        arm: `stable`, `canary`, or `pinned` when the caller chose the version.
        probability: the chance with which this arm was chosen; None when it was pinned.
        latency_us: from the request's last byte to its scores.
        inputs: what came: column to values; rows of float64 one after the other, in the order of the features; or
            rows of values in that order.
        features: the inputs of the model, row by row, when they were not what came.
        outputs: for each row the positive class' probability, each class' probability, or the value, where it is one
            number a row also as little-endian float64; None when scoring failed.
        error: why, when scoring failed.
        shadow: the version of the other arm, its outputs, and how long it took in microseconds (segments written by an
            earlier release do not say it).
        unit: the place of what was assigned to the arm: requests of one unit have one arm. None when there was only
            one arm, or the caller chose it.
        explanations: for each row what its inputs add to the score, when that was asked or sampled.
    """

    context: int
    ids: list[str] | str
    at: int
    event_time: list[int] | None
    arm: str
    probability: float | None
    caller: str | None
    trace_id: str | None
    latency_us: int
    inputs: dict[str, Sequence[Any]] | bytes | list[list[Any]]
    features: list[list[Any]] | None
    outputs: list[Any] | bytes | None
    error: str | None = None
    shadow: tuple[Any, ...] | None = None
    unit: int | None = None
    explanations: list[dict[str, Any]] | None = None


# `Served` as a plain tuple, its tag in front: encoded alike, and made in a third of the time.
ServedFields = tuple[
    int,
    Sequence[str] | str,
    int,
    list[int] | None,
    str,
    float | None,
    str | None,
    str | None,
    int,
    Mapping[str, Sequence[Any]] | bytes | memoryview | Sequence[Sequence[Any]],
    list[list[Any]] | None,
    list[Any] | bytes | None,
    str | None,
    tuple[int, list[Any], int] | None,
    int | None,
    list[dict[str, Any]] | None,
]
_INPUTS = Served.__struct_fields__.index("inputs") + 1  # behind the tag
_ARRAY = b"\xdc" + (len(Served.__struct_fields__) + 1).to_bytes(2, "big")  # msgpack: an array of so many
_FIXED_TEXT = 0xA0  # msgpack: the head of a text of up to 31 bytes
_LARGE = 16 << 10  # bytes of inputs from which on a record is not copied into the turn
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Context | Served).decode


class PredictionLog:
    """Writes predictions. It belongs to one thread, as its journal does.

    Args:
        folder: the workspace's log folder.
    """

    def __init__(self, folder: Path, limits: JournalLimits | None = None) -> None:
        self.journal = Journal(folder / PREDICTIONS, limits)
        self._epoch = -1
        self._written: set[int] = set()

    def append(self, context: Context, record: ServedFields) -> None:
        """Add a record to the turn; it is kept when the journal's `commit` has returned.

        Args:
            record: the fields of a `Served` in order; a memoryview among them must not change before the `commit`.
        """
        inputs = record[_INPUTS - 1]
        if isinstance(inputs, memoryview) and len(inputs) >= _LARGE:
            self._introduce(context)
            self.journal.append_parts(_parts(record, inputs))
        else:
            self.append_encoded(context, _encode((1, *record)))

    def append_encoded(self, context: Context, record: bytes) -> None:
        """Add a record that is encoded already to the turn (see `row_record`)."""
        journal = self.journal
        if journal.epoch != self._epoch or context.number not in self._written:
            self._introduce(context)
        journal.append(record)

    def _introduce(self, context: Context) -> None:
        """Write what the next record refers to, where the segment does not have it yet."""
        journal = self.journal
        if journal.epoch != self._epoch:
            self._epoch = journal.epoch
            self._written.clear()
        if context.number not in self._written:
            journal.append(_encode(context))
            self._written.add(context.number)


def _parts(record: ServedFields, inputs: memoryview) -> tuple[bytes, memoryview, bytes]:
    """Return a record as it is encoded, cut around its inputs: they are large, and are written from where they lie."""
    before, behind = _encode((1, *record[: _INPUTS - 1])), _encode(record[_INPUTS:])
    head = b"%b%b\xc6%b" % (_ARRAY, before[1:], len(inputs).to_bytes(4, "big"))  # short arrays have one byte in front
    return head, inputs, behind[1:]


def row_record(
    context: Context, arm: str, probability: float | None, width: int
) -> Callable[[bytes, int, int, bytes, float], bytes]:
    """Return what encodes the records of one row of floats that nothing beside the arm is to be said of.

    Most of such a record is the same each time, so it is made at once, in a third of the time that its fields take.

    Returns:
        A function of the prediction id, `at`, `latency_us`, the inputs as little-endian float64 [width], and the
        output.
    """
    size = 8 * width
    fields = (b"\x01", _encode(context.number), b"\x91", bytes([_FIXED_TEXT + ID_LENGTH]))
    before = b"".join((_ARRAY, *fields))
    middle = b"".join((b"\xc0", _encode(arm), _encode(probability), b"\xc0\xc0\xce"))
    inputs = b"\xc6" + size.to_bytes(4, "big")
    form = f">{len(before)}s{ID_LENGTH}scQ{len(middle)}sI{len(inputs)}s{size}s3sd4s"
    pack = struct.Struct(form).pack

    def encode(prediction_id: bytes, at: int, latency_us: int, row: bytes, output: float) -> bytes:
        return pack(
            before, prediction_id, b"\xcf", at, middle, latency_us, inputs, row, b"\xc0\x91\xcb", output, b"\xc0" * 4
        )

    return encode


def is_context(payload: bytes) -> bool:
    """Return whether a record of the prediction log is a context: a short array, whose first element, its tag, is 0."""
    return payload[0] >> 4 == 9 and payload[1] == 0


def to_arrow(payloads: Iterable[bytes]) -> pa.Table:
    """Return a segment's records as rows, in the order in which they were written."""
    contexts: dict[int, Context] = {}
    rows: list[tuple[Any, ...]] = []
    for payload in payloads:
        record = _decode(payload)
        if isinstance(record, Context):
            contexts[record.number] = record
        else:
            rows.extend(_rows(contexts[record.context], record))
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)


def latest(payloads: Sequence[bytes], model: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a segment that a model answered with a finite score, the last ones first."""
    contexts = {one.number: one for one in map(_decode, filter(is_context, payloads)) if isinstance(one, Context)}
    contexts = {number: one for number, one in contexts.items() if one.model == model}
    marks = tuple(b"\x01" + _encode(number) for number in contexts)  # behind the head of the array
    for payload in reversed(payloads):
        if not is_context(payload) and payload.startswith(marks, 3):
            record = _decode(payload)
            assert isinstance(record, Served)
            for row in _rows(contexts[record.context], record):
                found = dict(zip(SCHEMA.names, row, strict=True))
                if found["score"] is not None and math.isfinite(found["score"]):
                    yield found


def _rows(context: Context, record: Served) -> Iterable[tuple[Any, ...]]:
    if isinstance(record.outputs, bytes):
        record.outputs = np.frombuffer(record.outputs, "<f8").tolist()
    ids = record.ids = read_logged(record.ids)
    inputs = _inputs(context, record)
    for place, prediction_id in enumerate(ids):
        features = inputs[place]
        if record.features is not None:
            features = dict(zip(context.features, record.features[place], strict=True))
        elif isinstance(record.inputs, dict):
            features = {name: features[name] for name in context.features if name in features}
        output = record.outputs[place] if record.outputs is not None else None
        yield (
            prediction_id,
            record.at,
            record.event_time[place] if record.event_time is not None else record.at,
            context.branch,
            context.commit_id,
            context.deployment,
            context.revision,
            context.model,
            context.version,
            record.arm,
            record.probability,
            record.caller,
            record.trace_id,
            record.latency_us,
            _json(inputs[place]),
            _json(features),
            score(output),
            _json(_output(context, record, place)),
            _shadow(record, place),
            record.unit,
        )


def _output(context: Context, record: Served, place: int) -> dict[str, Any]:
    output = record.outputs[place] if record.outputs is not None else None
    if output is None:
        return {"error": record.error}
    found = shown(context.task, context.classes, output)
    return found if record.explanations is None else {**found, "explanation": record.explanations[place]}


def _inputs(context: Context, record: Served) -> list[dict[str, Any]]:
    if isinstance(record.inputs, bytes):
        width = len(context.features)
        flat = struct.unpack(f"<{len(record.inputs) // 8}d", record.inputs)
        spans = (flat[at : at + width] for at in range(0, len(flat), width))
        return [dict(zip(context.features, row, strict=True)) for row in spans]
    if isinstance(record.inputs, list):
        return [dict(zip(context.features, row, strict=True)) for row in record.inputs]
    came = record.inputs
    if not came:
        return [{} for _ in record.ids]
    # The model's order first, as it is of rows that came as numbers: one row is one text, whatever way it came.
    names = list(dict.fromkeys([name for name in context.features if name in came]) | came)
    return [dict(zip(names, row, strict=True)) for row in zip(*map(came.__getitem__, names), strict=True)]


def score(output: float | Sequence[float] | None) -> float | None:
    """Return the number that stands for an output: the probability or value, or the likeliest class' probability."""
    if isinstance(output, int | float) or output is None:
        return output
    return max(output)


def shown(task: str, classes: Sequence[str], output: float | Sequence[float]) -> dict[str, Any]:
    """Return an output by its names, as it is answered and logged."""
    if task == "regression":
        return {"value": output}
    return {"probability": output, "label": label(classes, output)}


def label(classes: Sequence[str], output: float | Sequence[float]) -> str:
    """Return the likeliest class; of a binary's two the second from one half on. Of NaN none is: `NONE`."""
    if isinstance(output, int | float):
        return classes[1] if output >= 0.5 else classes[0] if output < 0.5 else NONE
    if any(map(math.isnan, output)):
        return NONE
    return classes[max(range(len(output)), key=output.__getitem__)]


def _shadow(record: Served, place: int) -> str | None:
    if record.shadow is None:
        return None
    version, outputs, *latency = record.shadow
    output = outputs[place]
    classes = {} if isinstance(output, int | float) else {"probability": output}
    took = {"latency_us": latency[0]} if latency else {}
    return _json({"version": version, "score": score(output), **classes, **took})


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
