"""Which timelines are about a subject, in all namespaces: what `forget` takes out, on every backend alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from bascule.features.online import tiles
from bascule.features.online.inputs import read_key
from bascule.features.online.keys import encoder, parts
from bascule.features.online.store import ViewRecord

TRACK = 17
EVER = (-(2**63), 2**63 - 1)
PARTS = ("rows", "running", "events", "prints", *tiles.PARTS)


class Holding(Protocol):
    """A state of a store that tells what it holds in all namespaces."""

    def records(self) -> Iterator[tuple[str, ViewRecord]]:
        """Give what is held, with its namespace."""
        ...

    def prefixes(self, track: bytes) -> Iterator[bytes]:
        """Give the timelines of a track."""
        ...


def track_of(namespace: str, digest: str, part: str) -> bytes:
    """`e` and 16 bytes that stand for the namespace, the definition and the part."""
    name = "\0".join((namespace, digest, part)).encode()
    return b"e" + hashlib.blake2b(name, digest_size=TRACK - 1).digest()


def timelines_of(held: Holding, subject: Mapping[str, object]) -> list[bytes]:
    """Return all timelines of an entity, also of entities that have more key columns than the subject is known by."""
    found = []
    for name, record in list(held.records()):
        if not subject or not set(subject) <= set(record.keys):
            continue
        wanted = [
            encoder([kind])([read_key(kind, subject[key])]) if key in subject else b""
            for key, kind in zip(record.keys, record.key_types, strict=True)
        ]
        if any(one is None for one in wanted):
            continue
        tracks = [track_of(name, record.digest, part) for part in PARTS]
        if len(subject) == len(record.keys):
            pairs = zip(record.keys, record.key_types, strict=True)
            whole = encoder(record.key_types)([read_key(kind, subject[key]) for key, kind in pairs])
            found += [track + whole for track in tracks if whole is not None]
            continue
        for track in tracks:
            found += [one for one in held.prefixes(track) if _is_of(one[TRACK:], wanted)]
    return found


def _is_of(key: bytes, wanted: Sequence[bytes | None]) -> bool:
    """Tell whether an entity key has the parts that are wanted, of which empty ones may be anything."""
    found = parts(key)
    return found is not None and all(not one or one == part for one, part in zip(wanted, found, strict=True))
