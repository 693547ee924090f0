"""What became true about a prediction, when it is known: the same kind of journal, `ground_truth`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pyarrow as pa

from bascule.serving.log.journal import Journal, JournalLimits
from bascule.serving.log.predictions import TIMESTAMP

GROUND_TRUTH = "ground_truth"

SCHEMA = pa.schema(
    [
        pa.field("prediction_id", pa.string(), nullable=False),
        pa.field("deployment", pa.string()),
        pa.field("label", pa.float64(), nullable=False),
        pa.field("label_time", TIMESTAMP, nullable=False),
        pa.field("received_at", TIMESTAMP, nullable=False),
    ]
)


class Truth(msgspec.Struct, array_like=True, frozen=True):
    """The truth about one prediction, or about what predictions were about. Times are microseconds since the epoch.

    Attributes:
        prediction_id: "" when an entity is named.
        entity: request column to value, as the log has it; which predictions it is of, `entities` says.
        label: 0 or 1 for a binary model, the class' place in the signature for a multiclass one, else the value.
        label_time: when it became true.
    """

    prediction_id: str
    deployment: str | None
    label: float
    label_time: int
    received_at: int
    entity: dict[str, str] | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Truth).decode


class TruthLog:
    """Writes ground truth. It belongs to one thread, as its journal does.

    Args:
        folder: the workspace's log folder.
    """

    def __init__(self, folder: Path, limits: JournalLimits | None = None) -> None:
        self.journal = Journal(folder / GROUND_TRUTH, limits)

    def append(self, truth: Truth) -> None:
        """Add a record to the turn; it is kept when the journal's `commit` has returned."""
        self.journal.append(_encode(truth))


def to_arrow(payloads: Iterable[bytes]) -> pa.Table:
    """Return a segment's records about predictions as rows, each (prediction_id, label_time, label) once."""
    return as_table(truth for truth in map(_decode, payloads) if truth.entity is None)


def about_entities(payloads: Iterable[bytes]) -> list[Truth]:
    """Return a segment's records that name an entity."""
    return [truth for truth in map(_decode, payloads) if truth.entity is not None]


def as_table(truths: Iterable[Truth]) -> pa.Table:
    """Return truths as rows; what was said twice is there once. A correction has another label and is a row more."""
    first: dict[tuple[str, int, float], Truth] = {}
    for truth in truths:
        first.setdefault((truth.prediction_id, truth.label_time, truth.label), truth)
    rows = [msgspec.structs.astuple(truth)[: len(SCHEMA)] for truth in first.values()]
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)
