"""Updates of snapshots, of the branches and tags inside a table, and of the log of what was current when."""

from __future__ import annotations

from collections.abc import Iterable

from bascule.errors import InputError
from bascule.lake.iceberg.metadata import Metadata
from bascule.lake.iceberg.updates.draft import MAIN, Draft, Update, each, now, wanted

_ONLY_BRANCHES = ("min-snapshots-to-keep", "max-snapshot-age-ms")


def add_snapshot(draft: Draft, update: Update) -> None:
    """Add a snapshot; nothing refers to it yet."""
    document = draft.document
    snapshot = wanted(update, "snapshot", dict)
    told = {**snapshot, "action": update["action"]}
    number, moment = wanted(told, "snapshot-id", int), wanted(told, "timestamp-ms", int)
    _check_snapshot(told)
    for field, what in (("schemas", "schema"), ("partition-specs", "partition spec"), ("sort-orders", "sort order")):
        if not document[field]:
            raise InputError(f"Attempting to add a snapshot before a {what} is added")
    if any(other["snapshot-id"] == number for other in document["snapshots"]):
        raise InputError(f"Snapshot already exists for id: {number}")
    sequence = snapshot.get("sequence-number") or 0
    last = document["last-sequence-number"]
    if draft.version > 1 and sequence <= last and snapshot.get("parent-snapshot-id") is not None:
        raise InputError(f"Cannot add snapshot with sequence number {sequence} older than last sequence number {last}")
    if draft.version >= 3:
        _count_rows(document, snapshot)
    document["snapshots"].append(snapshot)
    document["last-sequence-number"] = max(last, sequence)
    draft.snapshots.add(number)
    draft.changed = True
    draft.stamp(moment)


def set_ref(draft: Draft, update: Update) -> None:
    """Let a branch or a tag of the table name a snapshot; `main` is the current one."""
    document = draft.document
    name, number = wanted(update, "ref-name", str), wanted(update, "snapshot-id", int)
    kind = update.get("type", "branch")
    if kind not in ("branch", "tag"):
        raise InputError(f"A ref is a branch or a tag and not {kind!r}.")
    if name == MAIN and kind == "tag":
        raise InputError("Cannot set main to a tag, it must be a branch")
    if kind == "tag" and any(update.get(key) is not None for key in _ONLY_BRANCHES):
        raise InputError(f"Tags do not support setting {' or '.join(_ONLY_BRANCHES)}")
    extra = (key for key in (*_ONLY_BRANCHES, "max-ref-age-ms") if update.get(key) is not None)
    ref = {"snapshot-id": number, "type": kind, **{key: wanted(update, key, int) for key in extra}}
    if document["refs"].get(name) == ref:
        return
    snapshot = next((s for s in document["snapshots"] if s["snapshot-id"] == number), None)
    if snapshot is None:
        raise InputError(f"Cannot set {name} to unknown snapshot: {number}")
    if number in draft.snapshots:
        draft.stamp(snapshot["timestamp-ms"])
    if name == MAIN:
        if not draft.stamped:
            draft.stamp(max(now(), document["last-updated-ms"]))
        document["current-snapshot-id"] = number
        document["snapshot-log"].append({"snapshot-id": number, "timestamp-ms": document["last-updated-ms"]})
    document["refs"][name] = ref
    draft.changed = True


def remove_ref(draft: Draft, update: Update) -> None:
    """Take a branch or a tag of the table away."""
    _forget_ref(draft, wanted(update, "ref-name", str))


def remove_snapshots(draft: Draft, update: Update) -> None:
    """Take snapshots away, with the refs and the statistics that are about them."""
    drop(draft, each(update, "snapshot-ids", int))


def drop(draft: Draft, numbers: Iterable[int]) -> None:
    """Take snapshots away by their ids. Those that are not there are gone already."""
    document = draft.document
    gone = set(numbers) & {s["snapshot-id"] for s in document["snapshots"]}
    if not gone:
        return
    document["snapshots"] = [s for s in document["snapshots"] if s["snapshot-id"] not in gone]
    for field in ("statistics", "partition-statistics"):
        document[field] = [s for s in document[field] if s["snapshot-id"] not in gone]
    for name in [name for name, ref in document["refs"].items() if ref["snapshot-id"] in gone]:
        _forget_ref(draft, name)
    draft.changed = True


def capped(metadata: Metadata, most: int) -> Metadata:
    """Return a document with its newest snapshots, and those that a branch or a tag of it names."""
    snapshots = metadata["snapshots"]
    if len(snapshots) <= most:
        return metadata
    named = {ref["snapshot-id"] for ref in metadata["refs"].values()}
    newest = {s["snapshot-id"] for s in snapshots[-most:]}
    draft = Draft({**metadata})
    drop(draft, {s["snapshot-id"] for s in snapshots} - named - newest)
    settle_log(draft, metadata)
    return draft.document


def settle_log(draft: Draft, before: Metadata | None) -> None:
    """Leave in the log only what was current after some commit, and nothing older than a snapshot that is gone."""
    document = draft.document
    current = document.get("current-snapshot-id")
    there = {s["snapshot-id"] for s in document["snapshots"]}
    had = {s["snapshot-id"] for s in (before or {}).get("snapshots") or ()}
    passing = draft.snapshots - had - {current}
    log: list[dict[str, int]] = []
    for entry in document["snapshot-log"]:
        if entry["snapshot-id"] not in there:
            log = []
        elif entry["snapshot-id"] not in passing:
            log.append(entry)
    document["snapshot-log"] = log


def _forget_ref(draft: Draft, name: str) -> None:
    if draft.document["refs"].pop(name, None) is None:
        return
    if name == MAIN:
        draft.document.pop("current-snapshot-id", None)
        draft.document["snapshot-log"] = []
    draft.changed = True


def _check_snapshot(told: Update) -> None:
    for key in ("sequence-number", "parent-snapshot-id", "schema-id", "first-row-id", "added-rows"):
        if told.get(key) is not None:
            wanted(told, key, int)
    if "manifest-list" in told or not told.get("manifests"):
        wanted(told, "manifest-list", str)
    else:
        each(told, "manifests", str)
    summary = wanted(told, "summary", dict) if told.get("summary") is not None else {}
    if not all(isinstance(value, str) for value in summary.values()):
        raise InputError("The values of a snapshot's summary are texts.", hint='Write "10".')


def _count_rows(document: Metadata, snapshot: dict[str, object]) -> None:
    first, added, free = snapshot.get("first-row-id"), snapshot.get("added-rows"), int(document.get("next-row-id") or 0)
    if not isinstance(first, int):
        raise InputError("Cannot add a snapshot: first-row-id is null")
    if not isinstance(added, int):
        raise InputError("Cannot add a snapshot: added-rows is null")
    if first < free:
        raise InputError(f"Cannot add a snapshot with first-row-id behind table next-row-id: {first} < {free}")
    document["next-row-id"] = first + added
