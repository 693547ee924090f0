"""What an online store promises, and how entities and moments become keys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

# Times are stored shifted, so that unsigned big-endian bytes sort as the times do.
ZERO = 1 << 63
KEY_BYTES = 16
Entry = tuple[bytes, int, bytes]
Lookup = Callable[[bytes, int], bytes | None]


class OnlineStore(Protocol):
    """Timelines of values by view and entity.

    Guarantees: `replace` is one transaction, so a reader sees a view as it was before or after, never between; readers
    in other processes are not held up by a writer; a killed writer leaves the state before.
    """

    def replace(self, view: str, entries: Iterable[Entry], version: str) -> int:
        """Put entries (entity key, time in µs, value) in the place of all that a view has; return how many."""
        ...

    def version(self, view: str) -> str | None:
        """Return what `replace` was told of a view's content, or None when the store does not have the view."""
        ...

    def delete_entity(self, key: bytes) -> int:
        """Remove an entity's timelines from all views; return how many entries there were."""
        ...

    def reading(self, view: str) -> AbstractContextManager[Lookup]:
        """Open a snapshot of a view: a function from entity key and time to the last value at or before it."""
        ...


def entity_key(values: Sequence[Any]) -> bytes:
    """Return the key of an entity: a digest of its values with their lengths, so (1, 11) and (11, 1) differ."""
    said = msgspec.msgpack.encode([value if isinstance(value, int | str) else str(value) for value in values])
    return hashlib.blake2b(said, digest_size=KEY_BYTES).digest()


def moment_key(at: int) -> bytes:
    """Return a time in microseconds as eight bytes that sort as times do."""
    return (at + ZERO).to_bytes(8, "big")
