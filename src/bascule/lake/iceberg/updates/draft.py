"""A metadata document while updates are applied to it."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bascule.errors import InputError
from bascule.lake.iceberg.metadata import LAST_COLUMN, Metadata

Update = Mapping[str, Any]

# What "the last one that was added" is called in an update.
LAST_ADDED = -1
NONE_YET = -1
FIRST_PARTITION_ID = 1000
MAIN = "main"
NEWEST_FORMAT = 3


@dataclass(slots=True)
class Draft:
    """The document as it is by now, and what the updates so far have added to it.

    Attributes:
        document: a copy that nobody else holds; it has every list that version 2 has, whatever its version.
        schema, spec, order: the ids of what the updates added last, or None.
        snapshots: the ids of the snapshots that they added.
        changed: whether any of them changed anything.
        stamped: whether one of them said when that was.
    """

    document: Metadata
    schema: int | None = None
    spec: int | None = None
    order: int | None = None
    snapshots: set[int] = field(default_factory=set)
    changed: bool = False
    stamped: bool = False

    @property
    def version(self) -> int:
        """The format version."""
        return int(self.document["format-version"])

    def stamp(self, moment: int) -> None:
        """Note when the table changed, milliseconds since the epoch."""
        self.document["last-updated-ms"] = moment
        self.stamped = True


def empty(version: int) -> Metadata:
    """Return the document of a table that has nothing yet, not even an id or a place."""
    document: Metadata = {
        "format-version": version,
        "last-sequence-number": 0,
        "last-updated-ms": now(),
        LAST_COLUMN: 0,
        "current-schema-id": NONE_YET,
        "schemas": [],
        "default-spec-id": NONE_YET,
        "partition-specs": [],
        "last-partition-id": FIRST_PARTITION_ID - 1,
        "default-sort-order-id": NONE_YET,
        "sort-orders": [],
        "properties": {},
        "snapshots": [],
        "snapshot-log": [],
        "metadata-log": [],
        "refs": {},
        "statistics": [],
        "partition-statistics": [],
    }
    if version >= 3:
        document["next-row-id"] = 0
    return document


def normal(document: Metadata) -> Metadata:
    """Return a copy of a document that has the lists of version 2, whatever its version."""
    found = copy.deepcopy(document)
    if "schemas" not in found:
        found["schemas"] = [{"schema-id": 0, **found["schema"]}]
        found["current-schema-id"] = found["schemas"][0]["schema-id"]
    if "partition-specs" not in found:
        found["partition-specs"] = [{"spec-id": 0, "fields": found.get("partition-spec", [])}]
        found["default-spec-id"] = 0
    _number_partitions(found)
    found.setdefault("sort-orders", [{"order-id": 0, "fields": []}])
    found.setdefault("default-sort-order-id", 0)
    found.setdefault("last-sequence-number", 0)
    for key in ("snapshots", "snapshot-log", "metadata-log", "statistics", "partition-statistics"):
        found[key] = found.get(key) or []
    found["properties"] = found.get("properties") or {}
    found["refs"] = found.get("refs") or {}
    current = found.get("current-snapshot-id")
    if current is None or current == -1:
        found.pop("current-snapshot-id", None)
    else:
        found["refs"].setdefault(MAIN, {"snapshot-id": current, "type": "branch"})
    return found


def finished(document: Metadata) -> Metadata:
    """Return a document as files of its version hold it: version 1 says some things twice."""
    old = ("schema", "partition-spec")
    if document["format-version"] > 1:
        return {key: value for key, value in document.items() if key not in old}
    schema = _numbered(document["schemas"], "schema-id", document["current-schema-id"])
    spec = _numbered(document["partition-specs"], "spec-id", document["default-spec-id"])
    rest = {key: value for key, value in document.items() if key != "last-sequence-number"}
    return {**rest, "schema": schema, "partition-spec": spec["fields"]}


def now() -> int:
    """Return the time, milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def wanted(update: Update, key: str, kind: type | tuple[type, ...] = object) -> Any:
    """Return what an update says under a key.

    Raises:
        InputError: when it says nothing there, or something of another type.
    """
    if update.get(key) is None:
        raise InputError(f"The update {update.get('action')!r} lacks the key {key!r}.", hint="Send it.")
    found = update[key]
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is int):
        raise InputError(
            f"The update {update.get('action')!r} has {str(found)[:60]!r} under {key!r}.",
            hint=f"Wanted is {_told(kind)}.",
        )
    return found


def each(update: Update, key: str, kind: type) -> list[Any]:
    """Return the list that an update says under a key, all of one type.

    Raises:
        InputError: when it says something else there.
    """
    found: list[Any] = wanted(update, key, list)
    for item in found:
        wanted({"action": update.get("action"), key: item}, key, kind)
    return found


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Turn what happens when a client's plain data is not what it should be into an error that says so."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            f"The {what} cannot be used: {type(error).__name__} {error}.", hint="Send what the specification says."
        ) from error


def _told(kind: type | tuple[type, ...]) -> str:
    names = {int: "a whole number", str: "a text", list: "a list", dict: "an object"}
    return " or ".join(names.get(k, k.__name__) for k in (kind if isinstance(kind, tuple) else (kind,)))


def _numbered(entries: list[dict[str, Any]], key: str, number: int) -> dict[str, Any]:
    return next(entry for entry in entries if entry[key] == number)


def _number_partitions(found: Metadata) -> None:
    greatest = FIRST_PARTITION_ID - 1
    for spec in found["partition-specs"]:
        for place, part in enumerate(spec["fields"]):
            part.setdefault("field-id", FIRST_PARTITION_ID + place)
            greatest = max(greatest, part["field-id"])
    found["last-partition-id"] = max(found.get("last-partition-id") or 0, greatest)
