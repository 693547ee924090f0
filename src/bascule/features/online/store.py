"""The protocol of an online store: timelines of bytes, written in transactions and read as of any time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import msgspec

from bascule.features.definitions import FeatureView

T = TypeVar("T")
Entry = tuple[int, bytes]


class ViewRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a store holds of one view definition.

    Attributes:
        digest: of the view's definition; another definition is another set of timelines.
        keys, key_types: the entity's key columns and their DuckDB types.
        through: rows that became known up to then (µs) are in; None before the first row.
        rows: source rows that went in.
        version: what the source tables were, when the caller said so.
        updated_at: when (µs).
        bound: the view, bound to its types: whoever has the store can read features by their names.
    """

    view: str
    digest: str
    entity: str
    keys: tuple[str, ...]
    key_types: tuple[str, ...]
    through: int | None = None
    rows: int = 0
    version: str = ""
    updated_at: int = 0
    bound: FeatureView | None = None


class Snapshot(Protocol):
    """A consistent state of the store. Everything read from one snapshot was true at one moment."""

    def newest(self, prefix: bytes, at: int) -> bytes | None:
        """Return the value of the newest entry of a timeline that is not after `at` (µs), if any."""
        ...

    def newest_time(self, prefix: bytes, at: int) -> int | None:
        """Return the time of the entry that `newest` gives the value of."""
        ...

    def newest_many(self, wanted: Sequence[tuple[bytes, int]]) -> list[bytes | None]:
        """Return what `newest` gives for each (prefix, at), in one step where the store is far away."""
        ...

    def between(self, prefix: bytes, first: int, last: int) -> Iterator[Entry]:
        """Give a timeline's entries with first <= time <= last, newest first."""
        ...

    def gather(self, work: Callable[[], T]) -> T:
        """Return what `work` gives, which may be run several times: a far store then answers its look-ups together."""
        ...

    def view(self, digest: str) -> ViewRecord | None:
        """Return what is held of a view definition, if anything."""
        ...

    def views(self) -> list[ViewRecord]:
        """Return what is held, by view name."""
        ...


class Transaction(Snapshot, Protocol):
    """A snapshot that can be written to. Its writes are seen by others all at once, or never."""

    def put(self, prefix: bytes, entries: Sequence[Entry]) -> None:
        """Write entries to a timeline; the same time is overwritten."""
        ...

    def put_many(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Write entries of any timelines: (prefix + `reversed_time`, value). The fast way in."""
        ...

    def cut(self, prefix: bytes, first: int) -> int:
        """Remove a timeline's entries with time >= first; return how many."""
        ...

    def cut_many(self, wanted: Sequence[tuple[bytes, int]]) -> int:
        """Do as `cut` for each (prefix, first); return how many entries in all."""
        ...

    def prefixes(self, track: bytes) -> Iterator[bytes]:
        """Give the prefixes (track + entity key) of all timelines in a track, in order."""
        ...

    def record(self, record: ViewRecord) -> None:
        """Write what is held of a view definition."""
        ...


class OnlineStore(Protocol):
    """Timelines for serving.

    Attributes:
        far: a look-up is a round trip.

    Guarantees of every backend: a reader sees a transaction whole or not at all, in every process; when `write` has
    returned, its changes are durable; a killed process leaves the state of before or after its transaction.
    """

    far: bool

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Open a consistent state for reading; cheap, for each request."""
        ...

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction and commit it. It may be run again from the start; an exception undoes it."""
        ...

    def track(self, digest: str, part: str) -> bytes:
        """The bytes that begin all timelines of one part of a view definition."""
        ...

    def count(self, subject: Mapping[str, object]) -> int:
        """Return how many entries `forget` would remove."""
        ...

    def forget(self, subject: Mapping[str, object], *, rewrite: bool = False) -> int:
        """Remove all timelines of one entity, of all view definitions and namespaces; return how many entries.

        Args:
            subject: the entity's key columns to their values, or to what these look like as text.
            rewrite: clean up also when nothing was removed, as after a forgetting that was killed in between.
        """
        ...

    def close(self) -> None:
        """Release what is open. Reading again opens it again."""
        ...


def taken_up(transaction: Transaction, record: ViewRecord) -> None:
    """Let a view's name mean this definition again, when another one was brought up to date since."""
    if current(transaction)[record.view].digest != record.digest:
        transaction.record(msgspec.structs.replace(record, updated_at=time.time_ns() // 1000))


def current(held: Snapshot) -> dict[str, ViewRecord]:
    """Return by view the definition that was brought up to date last: what the view's name means in a store."""
    return {record.view: record for record in sorted(held.views(), key=lambda record: record.updated_at)}
