"""What a foreign engine's metadata may say: files of its own table only, and nothing that would hurt other branches.

A snapshot is looked at by what it changes: the manifests that it has and its table's current one had not. So a commit
costs what it brings, and the content's number is kept up on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bascule.errors import EnvironmentProblem, InputError
from bascule.lake import objects
from bascule.lake.iceberg import content, metadata
from bascule.lake.iceberg.manifests import DATA, DELETED, Entry, ManifestFile
from bascule.lake.iceberg.metadata import Metadata, Snapshot
from bascule.lake.iceberg.tables import Table

OWN = "bascule."
# Where engines put new files when these are set.
PLACES = ("write.data.path", "write.metadata.path", "write.folder-storage.path", "write.object-storage.path")


def check_properties(before: Metadata | None, after: Metadata) -> None:
    """Refuse properties that let an engine delete files of other branches, or that only Bascule sets.

    Raises:
        InputError: naming the property.
    """
    old, new = (before or {}).get("properties") or {}, after["properties"]
    check_enforced({name: new.get(name) for name in metadata.ENFORCED})
    for name in sorted({n for n in (*old, *new) if n.startswith(OWN)} - {objects.KEY}):
        if old.get(name) != new.get(name):
            raise InputError(f"The property {name} is set by Bascule alone.", hint=f"Leave {OWN}* as it is.")
    if new.get(objects.KEY) and new.get(objects.KEY) != old.get(objects.KEY):
        objects.checked_key(new[objects.KEY].split("\n"), metadata.schema_of(after))
    for name in PLACES:
        if name in new and not _inside(new[name] + "/", [after["location"].rstrip("/")]):
            raise InputError(
                f"The property {name} is {new[name]!r}, which is outside of the table's location.",
                hint=f"Leave it out, or choose a folder below {after['location']}.",
            )


def check_enforced(properties: Mapping[str, str | None]) -> None:
    """Raise `InputError` for a property that says otherwise than Bascule enforces."""
    for name, value in metadata.ENFORCED.items():
        if properties.get(name, value) != value:
            raise InputError(
                f"The property {name} stays {value}: the files of this table are other branches' and commits' too.",
                hint="`bascule gc` deletes what nothing refers to any more.",
            )


def check_files(before: Table | None, after: Table) -> Metadata:
    """Look at the snapshots that a commit brings, and give the current one the number of its content.

    Args:
        before: the table's last state, whose snapshots were looked at when they came.

    Returns:
        The document of `after`, with the number in it.

    Raises:
        InputError: for a file outside of the table's location, or one that is not there or damaged.
    """
    known = {s["snapshot-id"] for s in before.metadata.get("snapshots") or ()} if before else set()
    for kind in ("statistics", "partition-statistics"):
        for file in after.metadata.get(kind) or ():
            check_place(after, file["statistics-path"])
    parents = _listed(before) if before else {}
    for snapshot in after.metadata["snapshots"]:
        if snapshot["snapshot-id"] not in known:
            _check_snapshot(after, snapshot, parents)
            (snapshot.get("summary") or {}).pop(content.KEY, None)  # nobody but Bascule says what it is
    return _numbered(before, after, parents)


def check_place(table: Table, place: str) -> None:
    """Raise `InputError` for a file that is not below a table's location."""
    if not _inside(place, table.locations()):
        raise InputError(
            f"{place!r} is outside of the table's location, {table.metadata['location']}.",
            hint="Write a table's files below its own location.",
        )


def _inside(place: Any, locations: Iterable[str]) -> bool:
    if not isinstance(place, str) or "\0" in place:
        return False
    bare = _bare(place)
    parts = bare.split("/")[1:]
    if any(part in (".", "..") for part in parts) or "\\" in place or "%2e" in place.lower():
        return False
    return any(bare.startswith(_bare(location) + "/") for location in locations)


def _bare(place: str) -> str:
    for scheme in ("file://", "file:"):
        if place.startswith(scheme):
            return place[len(scheme) :]
    return place


def _check_snapshot(table: Table, snapshot: Snapshot, known: dict[str, ManifestFile]) -> None:
    for place in [snapshot["manifest-list"]] if "manifest-list" in snapshot else snapshot.get("manifests", ()):
        check_place(table, place)
    for manifest in _read_list(table, snapshot):
        if manifest["manifest_path"] not in known:
            check_place(table, manifest["manifest_path"])
            for entry in _read(table, manifest):
                check_place(table, entry["data_file"]["file_path"])


def _numbered(before: Table | None, after: Table, parents: dict[str, ManifestFile]) -> Metadata:
    snapshot = after.snapshot
    if snapshot is None or content.from_summary(snapshot.get("summary") or {}) is not None:
        return after.metadata
    manifests = {m["manifest_path"]: m for m in _read_list(after, snapshot)}
    number = content.from_summary(before.summary) if before else None
    if number is None or before is None:
        number = content.of_records(_records(after, manifests.values()))
    else:
        came = [m for place, m in manifests.items() if place not in parents]
        went = [m for place, m in parents.items() if place not in manifests]
        number = content.changed(number, _records(after, came), _records(before, went))
    # A summary without an operation is one of format 1.
    told = {"operation": "append", **(snapshot.get("summary") or {}), **content.to_summary(number)}
    changed = {**snapshot, "summary": told}
    snapshots = [changed if s is snapshot else _without_number(s) for s in after.metadata["snapshots"]]
    return {**after.metadata, "snapshots": snapshots}


def _without_number(snapshot: Snapshot) -> Snapshot:
    # Only the current one's is ever asked for, and it is long.
    summary = snapshot.get("summary") or {}
    if content.KEY not in summary:
        return snapshot
    return {**snapshot, "summary": {name: value for name, value in summary.items() if name != content.KEY}}


def _records(table: Table, manifests: Iterable[ManifestFile]) -> list[dict[str, Any]]:
    return [
        entry["data_file"]
        for manifest in manifests
        if (manifest.get("content") or DATA) == DATA
        for entry in _read(table, manifest)
        if entry["status"] != DELETED
    ]


def _listed(table: Table) -> dict[str, ManifestFile]:
    return {manifest["manifest_path"]: manifest for manifest in table.manifests()}


def _read_list(table: Table, snapshot: Snapshot) -> list[ManifestFile]:
    try:
        return table.manifests(snapshot)
    except EnvironmentProblem as error:
        raise _unreadable(error) from error


def _read(table: Table, manifest: ManifestFile) -> list[Entry]:
    try:
        return table.entries(manifest)
    except EnvironmentProblem as error:
        raise _unreadable(error) from error
    except (KeyError, TypeError) as error:
        raise InputError(f"{manifest['manifest_path']} is no manifest: it lacks {error}.") from error


def _unreadable(error: EnvironmentProblem) -> InputError:
    return InputError(error.message, hint="Write the files of a snapshot before you commit it.")
