"""Answers that were given before, so that the same question need not be scored again."""

from __future__ import annotations

import struct
from collections import OrderedDict
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from bascule.serving.model import LoadedModel, Output
from bascule.serving.rows import Rows

MOST_ROWS = 128  # of one question; a larger one is not likely to be asked again
_encode = msgspec.msgpack.Encoder(order="sorted").encode
Key = tuple[Any, ...]


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=20).digest()


class Kept(NamedTuple):
    """What was answered: for each row its output, and as of when."""

    outputs: list[Output]
    event_time: list[int] | None


class Remembered:
    """The last answers of one deployment, by version and inputs. It belongs to the event loop.

    What is joined from the online store is not remembered: the same keys have other features a moment later.

    Args:
        most: how many are kept; the one that was not asked for longest goes first.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: OrderedDict[Key, Kept] = OrderedDict()

    def key(self, model: LoadedModel, rows: Rows) -> Key | None:
        """Return what a question is known by, whatever order its columns came in; None for one that is not kept."""
        if rows.count > MOST_ROWS:
            return None
        if rows.columns is None:
            data = rows.matrix.astype("<f8", copy=False).tobytes() if rows.matrix is not None else None
            if data is None:
                assert rows.row is not None
                data = struct.pack(f"<{len(rows.row)}d", *rows.row)
            return model.name, model.version, rows.count, _digest(data)
        if model.joiner is not None and (model.graph.before or not model.brings_inputs(rows.columns)):
            return None
        return model.name, model.version, rows.count, _digest(_encode(dict(rows.columns)))

    def find(self, key: Key) -> Kept | None:
        """Return an answer that was given before."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: Key, answer: Kept) -> None:
        """Remember an answer."""
        self._kept[key] = answer
        if len(self._kept) > self.most:
            self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)
