"""What was served as features, of a sample of the keys: `served_features`, from which skew is measured.

Keys are sampled by their hash, so that all of a key's answers are there or none.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from bascule.serving.log.journal import Journal, JournalLimits
from bascule.serving.log.predictions import TIMESTAMP

SERVED_FEATURES = "served_features"
SAMPLE = 0.1

SCHEMA = pa.schema(
    [
        pa.field("at", TIMESTAMP, nullable=False),
        pa.field("as_of", TIMESTAMP, nullable=False),
        pa.field("branch", pa.string(), nullable=False),
        pa.field("asked", pa.string(), nullable=False),
        pa.field("keys", pa.string(), nullable=False),
        pa.field("features", pa.string(), nullable=False),
    ]
)


class Row(msgspec.Struct, array_like=True, frozen=True):
    """What one key was answered. Times are microseconds since the epoch; keys and features are JSON objects.

    Attributes:
        at, as_of: when it was asked, and for when.
        asked: the service's name, or the features.
    """

    at: int
    as_of: int
    branch: str
    asked: str
    keys: str
    features: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Row).decode
_json = msgspec.json.Encoder(order="sorted").encode


class FeatureLog:
    """Writes what is served. It belongs to one thread, as its journal does.

    Args:
        folder: the workspace's log folder.
    """

    def __init__(self, folder: Path, limits: JournalLimits | None = None) -> None:
        self.journal = Journal(folder / SERVED_FEATURES, limits)

    def append(
        self,
        branch: str,
        asked: str,
        sample: float,
        keys: Mapping[str, Sequence[Any]],
        features: Mapping[str, Sequence[Any]],
        times: tuple[int, int],
    ) -> bool:
        """Add the rows whose keys are in the sample; return whether there are any.

        Args:
            sample: which share of the keys is logged.
            keys, features: column to values; features by their full names.
            times: when it was asked, and as of when.
        """
        most, found = int(sample * 2**32), False
        names, columns = list(features), list(features.values())
        for place, key in enumerate(zip(*keys.values(), strict=True)):
            said = _json(dict(zip(keys, key, strict=True)))
            if zlib.crc32(said) >= most:
                continue
            values = {name: _plain(column[place]) for name, column in zip(names, columns, strict=True)}
            self.journal.append(_encode(Row(*times, branch, asked, said.decode(), _json(values).decode())))
            found = True
        return found


def to_arrow(payloads: Iterable[bytes]) -> pa.Table:
    """Return a segment's records as rows."""
    rows = [msgspec.structs.astuple(_decode(payload)) for payload in payloads]
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinite numbers: they are written as texts that float() reads."""
    return str(value) if type(value) is float and value - value != 0.0 else value
