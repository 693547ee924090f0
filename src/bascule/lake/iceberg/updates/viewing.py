"""The metadata of a view, and the updates that a client may ask of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bascule.errors import InputError
from bascule.lake.iceberg.updates import columns
from bascule.lake.iceberg.updates.draft import LAST_ADDED, NEWEST_FORMAT, Update, each, now, understood, wanted
from bascule.lake.iceberg.updates.requirements import Requirement, failed

ViewMetadata = dict[str, Any]

FORMAT = 1
KEPT_VERSIONS = 10


@dataclass(slots=True)
class _Draft:
    document: ViewMetadata
    schema: int | None = None
    version: int | None = None


def new_view(
    uuid: str, location: str, schema: Any, version: Mapping[str, Any], properties: Mapping[str, str]
) -> ViewMetadata:
    """Return the document of a new view.

    Raises:
        InputError: for a schema or a version that no view can have.
    """
    empty: ViewMetadata = {
        "view-uuid": uuid,
        "format-version": FORMAT,
        "location": location,
        "schemas": [],
        "current-version-id": 0,
        "versions": [],
        "version-log": [],
        "properties": dict(properties),
    }
    return apply_to_view(
        empty,
        [
            {"action": "add-schema", "schema": schema},
            {"action": "add-view-version", "view-version": {**version, "schema-id": LAST_ADDED}},
            {"action": "set-current-view-version", "view-version-id": LAST_ADDED},
        ],
    )


def apply_to_view(metadata: ViewMetadata, updates: Sequence[Update]) -> ViewMetadata:
    """Return a view's document with updates applied; the argument stays as it is.

    Raises:
        InputError: for an update that is not known, or that the view cannot have.
    """
    draft = _Draft(copy.deepcopy(metadata))
    for update in updates:
        action = str(update.get("action"))
        if action not in VIEW_UPDATES:
            raise InputError(f"There is no update {action!r} of a view.", hint=f"Known: {', '.join(VIEW_UPDATES)}.")
        with understood(f"update {action!r}"):
            VIEW_UPDATES[action](draft, update)
    document = draft.document
    kept = document["versions"][-KEPT_VERSIONS:]
    if document["current-version-id"] not in [version["version-id"] for version in kept]:
        kept = [_current(document), *kept[1:]]
    return {**document, "versions": kept}


def demand_of_view(metadata: ViewMetadata, requirement: Requirement) -> None:
    """Raise `RequirementFailed` when a requirement does not hold of a view."""
    if requirement.get("type") != "assert-view-uuid":
        raise InputError(f"There is no requirement {requirement.get('type')!r} of a view.")
    found, asked = str(metadata["view-uuid"]), str(requirement.get("uuid"))
    if found.lower() != asked.lower():
        raise failed(f"view UUID does not match: expected {found} != {asked}")


def _assign_uuid(draft: _Draft, update: Update) -> None:
    if wanted(update, "uuid", str).lower() != draft.document["view-uuid"].lower():
        raise InputError(f"Cannot reassign uuid: the view has {draft.document['view-uuid']}.")


def _upgrade(draft: _Draft, update: Update) -> None:
    if wanted(update, "format-version", int) != FORMAT:
        raise InputError(f"Views are of format version {FORMAT}, and of no other.")


def _add_schema(draft: _Draft, update: Update) -> None:
    schemas = draft.document["schemas"]
    schema = columns.checked(wanted(update, "schema", dict), NEWEST_FORMAT)
    for known in schemas:
        if columns.alike(known, schema):
            draft.schema = known["schema-id"]
            return
    draft.schema = max((known["schema-id"] + 1 for known in schemas), default=0)
    schemas.append({**schema, "type": "struct", "schema-id": draft.schema})


def _add_version(draft: _Draft, update: Update) -> None:
    versions = draft.document["versions"]
    told = wanted(update, "view-version", dict)
    schema = told.get("schema-id", LAST_ADDED)
    if schema == LAST_ADDED:
        schema = draft.schema
    if schema is None or not any(known["schema-id"] == schema for known in draft.document["schemas"]):
        raise InputError(f"Cannot add version with unknown schema: {schema}")
    _check_queries(told)
    version = {**told, "schema-id": schema}
    for known in versions:
        if _said(known) == _said(version):
            draft.version = known["version-id"]
            return
    draft.version = max((known["version-id"] + 1 for known in versions), default=1)
    versions.append({"timestamp-ms": now(), **version, "version-id": draft.version})


def _set_version(draft: _Draft, update: Update) -> None:
    document, number = draft.document, wanted(update, "view-version-id", int)
    if number == LAST_ADDED:
        if draft.version is None:
            raise InputError("Cannot set last version id: no current version id has been set")
        number = draft.version
    found = next((version for version in document["versions"] if version["version-id"] == number), None)
    if found is None:
        raise InputError(f"Cannot set current version to unknown version: {number}")
    if document["current-version-id"] != number:
        document["current-version-id"] = number
        document["version-log"].append({"version-id": number, "timestamp-ms": now()})


def _set_location(draft: _Draft, update: Update) -> None:
    if wanted(update, "location", str) != draft.document["location"]:
        raise InputError("A view has no files, and its location cannot be chosen.", hint="Leave it out.")


def _set_properties(draft: _Draft, update: Update) -> None:
    changes = wanted(update, "updates", dict)
    if not all(isinstance(value, str) for value in changes.values()):
        raise InputError("The values of a view's properties are texts.", hint='Write "true" or "10".')
    draft.document["properties"] = {**draft.document["properties"], **changes}


def _remove_properties(draft: _Draft, update: Update) -> None:
    gone = set(each(update, "removals", str))
    draft.document["properties"] = {k: v for k, v in draft.document["properties"].items() if k not in gone}


VIEW_UPDATES: Mapping[str, Callable[[_Draft, Update], None]] = {
    "assign-uuid": _assign_uuid,
    "upgrade-format-version": _upgrade,
    "add-schema": _add_schema,
    "add-view-version": _add_version,
    "set-current-view-version": _set_version,
    "set-location": _set_location,
    "set-properties": _set_properties,
    "remove-properties": _remove_properties,
}


def _check_queries(version: Mapping[str, Any]) -> None:
    found = version.get("representations")
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        raise InputError("A version of a view has no representations.", hint="Send its SQL.")
    dialects = [str(one.get("dialect")).lower() for one in found if one.get("type") == "sql"]
    for dialect in dialects:
        if dialects.count(dialect) > 1:
            raise InputError(f"Invalid view version: Cannot add multiple queries for dialect {dialect}")


def _said(version: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in version.items() if key not in ("version-id", "timestamp-ms")}


def _current(document: ViewMetadata) -> dict[str, Any]:
    number = document["current-version-id"]
    found: dict[str, Any] = next(version for version in document["versions"] if version["version-id"] == number)
    return found
