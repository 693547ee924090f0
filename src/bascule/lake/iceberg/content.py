"""The identity of a snapshot's content: one number for a set of files, kept up to date at the cost of what changed.

A set's number is the product of its elements' hashes modulo a prime of 3072 bits (MuHash: Bellare and Micciancio, "A
new paradigm for collision-free hashing", EUROCRYPT 1997; the modulus is Bitcoin Core's). Adding a file multiplies,
removing one multiplies by the inverse, and the order of the steps does not show: a table that arrived at the same files
by another way has the same number. Finding two sets with one number is as hard as the discrete logarithm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from blake3 import blake3

from bascule.lake.iceberg import schemas
from bascule.lake.iceberg.datafiles import Record, content_of

PRIME = 2**3072 - 1103717
WIDTH = 384
KEY = "bascule.content"


def of_records(records: Iterable[Record]) -> int:
    """Return the number of a set of files."""
    number = 1
    for record in records:
        number = number * _element(content_of(record)) % PRIME
    return number


def changed(number: int, added: Iterable[Record], removed: Iterable[Record]) -> int:
    """Return the number after some files came and some went."""
    gone = of_records(removed)
    undo = pow(gone, -1, PRIME) if gone != 1 else 1
    return number * of_records(added) * undo % PRIME


def from_summary(summary: Mapping[str, str]) -> int | None:
    """Return the number that a snapshot says, or None when another engine made it."""
    text = summary.get(KEY)
    return int(text, 16) if text else None


def to_summary(number: int) -> dict[str, str]:
    """Return the number as a snapshot says it."""
    return {KEY: f"{number:x}"}


def applied(number: int, deletes: Iterable[Record]) -> int:
    """Return the number of files together with those that take rows out of them.

    It stays when the rows are taken out for good, so that nothing which was made of them is out of date.
    """
    for record in deletes:
        number = number * _element(f"delete {(content_of(record), record.get('content_offset'))!r}") % PRIME
    return number


def digest(number: int, schema: schemas.Schema, deletes: Iterable[Record] = ()) -> str:
    """Return the identity of a table's content: its files, the files that take rows out of them, and its columns."""
    hasher = blake3(applied(number, deletes).to_bytes(WIDTH, "big"))
    for field in schema["fields"]:
        hasher.update(repr((field["id"], field["name"], bool(field.get("required")), field["type"])).encode())
    return hasher.hexdigest()


def _element(text: str) -> int:
    return int.from_bytes(blake3(text.encode()).digest(length=WIDTH), "big") % PRIME or 1
