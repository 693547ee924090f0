"""Updates of a commit, applied to a table's metadata in the order in which they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bascule.errors import InputError
from bascule.lake.iceberg.metadata import LAST_COLUMN, Metadata
from bascule.lake.iceberg.schemas import Schema
from bascule.lake.iceberg.updates import columns, layout, past
from bascule.lake.iceberg.updates.draft import (
    FIRST_PARTITION_ID,
    LAST_ADDED,
    NEWEST_FORMAT,
    Draft,
    Update,
    each,
    empty,
    finished,
    normal,
    now,
    understood,
    wanted,
)

DEFAULT_FORMAT = 2


def apply(metadata: Metadata | None, updates: Sequence[Update]) -> Metadata:
    """Return a document with updates applied; the argument stays as it is.

    Args:
        metadata: None for a table that is being made.

    Returns:
        The document, or the very argument when nothing changed.

    Raises:
        InputError: for an update that is not known, or that the table cannot have.
    """
    draft = Draft(normal(metadata) if metadata is not None else empty(_format(updates)))
    for update in updates:
        action = str(update.get("action"))
        if action not in UPDATES:
            raise InputError(f"There is no update {action!r}.", hint=f"Known: {', '.join(UPDATES)}.")
        with understood(f"update {action!r}"):
            UPDATES[action](draft, update)
    if metadata is not None and not draft.changed:
        return metadata
    past.settle_log(draft, metadata)
    if not draft.stamped:
        draft.stamp(max(now(), draft.document["last-updated-ms"] + 1))
    return finished(draft.document)


def _format(updates: Sequence[Update]) -> int:
    for update in updates:
        if update.get("action") == "upgrade-format-version":
            return _known_format(wanted(update, "format-version", int))
    return DEFAULT_FORMAT


def _known_format(version: int) -> int:
    if not 1 <= version <= NEWEST_FORMAT:
        raise InputError(
            f"Cannot upgrade table to unsupported format version: v{version} (supported: v{NEWEST_FORMAT})"
        )
    return version


def _upgrade(draft: Draft, update: Update) -> None:
    version = _known_format(wanted(update, "format-version", int))
    if version < draft.version:
        raise InputError(f"Cannot downgrade v{draft.version} table to v{version}")
    if version == draft.version:
        return
    draft.document["format-version"] = version
    if version >= 3:
        draft.document.setdefault("next-row-id", 0)
    draft.changed = True


def _assign_uuid(draft: Draft, update: Update) -> None:
    new, old = wanted(update, "uuid", str), draft.document.get("table-uuid")
    if old is not None and old.lower() != new.lower():
        raise InputError(f"Cannot reassign uuid: the table has {old}, and the update says {new}.")
    draft.changed |= old is None
    draft.document["table-uuid"] = old or new


def _add_schema(draft: Draft, update: Update) -> None:
    document = draft.document
    schema = columns.checked(wanted(update, "schema", dict), draft.version)
    for known in document["schemas"]:
        if columns.alike(known, schema):
            draft.schema = known["schema-id"]
            return
    number = max((known["schema-id"] + 1 for known in document["schemas"]), default=0)
    document["schemas"].append({**schema, "type": "struct", "schema-id": number})
    document[LAST_COLUMN] = max(document[LAST_COLUMN], columns.highest(schema), update.get("last-column-id") or 0)
    draft.schema, draft.changed = number, True


def _set_current_schema(draft: Draft, update: Update) -> None:
    number = wanted(update, "schema-id", int)
    if number == LAST_ADDED:
        if draft.schema is None:
            raise InputError("Cannot set last added schema: no schema has been added")
        number = draft.schema
    if not _has(draft, "schemas", "schema-id", number):
        raise InputError(f"Cannot set current schema to unknown schema: {number}")
    draft.changed |= draft.document["current-schema-id"] != number
    draft.document["current-schema-id"] = number


def _add_spec(draft: Draft, update: Update) -> None:
    document = draft.document
    spec = layout.checked_spec(wanted(update, "spec", dict), _schema(draft), document)
    for known in document["partition-specs"]:
        if layout.compatible(known, spec):
            draft.spec = known["spec-id"]
            return
    number = max((known["spec-id"] + 1 for known in document["partition-specs"]), default=0)
    document["partition-specs"].append({**spec, "spec-id": number})
    used = (field["field-id"] for field in spec["fields"])
    document["last-partition-id"] = max(document["last-partition-id"], *used, FIRST_PARTITION_ID - 1)
    draft.spec, draft.changed = number, True


def _set_default_spec(draft: Draft, update: Update) -> None:
    number = wanted(update, "spec-id", int)
    if number == LAST_ADDED:
        if draft.spec is None:
            raise InputError("Cannot set last added spec: no spec has been added")
        number = draft.spec
    if not _has(draft, "partition-specs", "spec-id", number):
        raise InputError(f"Cannot set default partition spec to unknown spec: {number}")
    draft.changed |= draft.document["default-spec-id"] != number
    draft.document["default-spec-id"] = number


def _add_order(draft: Draft, update: Update) -> None:
    orders = draft.document["sort-orders"]
    order = layout.checked_order(wanted(update, "sort-order", dict), _schema(draft))
    for known in orders:
        if layout.same_order(known, order):
            draft.order = known["order-id"]
            return
    # 0 is the order of what is not sorted, whether a table has that order or not.
    number = max(1, *(known["order-id"] + 1 for known in orders)) if orders else 1
    number = number if order["fields"] else 0
    orders.append({**order, "order-id": number})
    draft.order, draft.changed = number, True


def _set_default_order(draft: Draft, update: Update) -> None:
    number = wanted(update, "sort-order-id", int)
    if number == LAST_ADDED:
        if draft.order is None:
            raise InputError("Cannot set last added sort order: no sort order has been added")
        number = draft.order
    if not _has(draft, "sort-orders", "order-id", number):
        raise InputError(f"Cannot set default sort order to unknown sort order: {number}")
    draft.changed |= draft.document["default-sort-order-id"] != number
    draft.document["default-sort-order-id"] = number


def _set_location(draft: Draft, update: Update) -> None:
    place = wanted(update, "location", str).rstrip("/")
    draft.changed |= draft.document.get("location") != place
    draft.document["location"] = place


def _set_properties(draft: Draft, update: Update) -> None:
    # Older clients call them "updated".
    key = "updates" if "updates" in update else "updated"
    changes = wanted(update, key, dict)
    if not all(isinstance(value, str) for value in changes.values()):
        raise InputError("The values of table properties are texts.", hint='Write "true" or "10".')
    before = draft.document["properties"]
    draft.changed |= any(before.get(name) != value for name, value in changes.items())
    draft.document["properties"] = {**before, **changes}


def _remove_properties(draft: Draft, update: Update) -> None:
    gone = set(each(update, "removals" if "removals" in update else "removed", str))
    before = draft.document["properties"]
    draft.changed |= bool(gone & before.keys())
    draft.document["properties"] = {name: value for name, value in before.items() if name not in gone}


def _remove_schemas(draft: Draft, update: Update) -> None:
    gone = set(each(update, "schema-ids", int))
    if draft.document["current-schema-id"] in gone:
        raise InputError(f"Cannot remove the current schema: {draft.document['current-schema-id']}")
    _without(draft, "schemas", "schema-id", gone)


def _remove_specs(draft: Draft, update: Update) -> None:
    gone = set(each(update, "spec-ids", int))
    if draft.document["default-spec-id"] in gone:
        raise InputError(f"Cannot remove the default partition spec: {draft.document['default-spec-id']}")
    _without(draft, "partition-specs", "spec-id", gone)


def _set_statistics(key: str, field: str) -> Callable[[Draft, Update], None]:
    def change(draft: Draft, update: Update) -> None:
        file = wanted(update, key, dict)
        number = wanted({**file, "action": update["action"]}, "snapshot-id", int)
        wanted({**file, "action": update["action"]}, "statistics-path", str)
        kept = [other for other in draft.document.get(field, []) if other["snapshot-id"] != number]
        draft.document[field] = [*kept, file]
        draft.changed = True

    return change


def _remove_statistics(field: str) -> Callable[[Draft, Update], None]:
    def change(draft: Draft, update: Update) -> None:
        _without(draft, field, "snapshot-id", {wanted(update, "snapshot-id", int)})

    return change


def _add_key(draft: Draft, update: Update) -> None:
    key = wanted(update, "encryption-key", dict)
    number = wanted({**key, "action": update["action"]}, "key-id", str)
    keys = draft.document.setdefault("encryption-keys", [])
    if not any(other["key-id"] == number for other in keys):
        keys.append(key)
        draft.changed = True


def _remove_key(draft: Draft, update: Update) -> None:
    _without(draft, "encryption-keys", "key-id", {wanted(update, "key-id", str)})


def _row_lineage(draft: Draft, update: Update) -> None:
    if draft.version < 3:
        raise InputError(f"Cannot use row lineage with format version {draft.version}, which has none before 3.")


UPDATES: Mapping[str, Callable[[Draft, Update], None]] = {
    "assign-uuid": _assign_uuid,
    "upgrade-format-version": _upgrade,
    "add-schema": _add_schema,
    "set-current-schema": _set_current_schema,
    "add-spec": _add_spec,
    "set-default-spec": _set_default_spec,
    "add-sort-order": _add_order,
    "set-default-sort-order": _set_default_order,
    "add-snapshot": past.add_snapshot,
    "set-snapshot-ref": past.set_ref,
    "remove-snapshots": past.remove_snapshots,
    "remove-snapshot-ref": past.remove_ref,
    "set-location": _set_location,
    "set-properties": _set_properties,
    "remove-properties": _remove_properties,
    "set-statistics": _set_statistics("statistics", "statistics"),
    "remove-statistics": _remove_statistics("statistics"),
    "set-partition-statistics": _set_statistics("partition-statistics", "partition-statistics"),
    "remove-partition-statistics": _remove_statistics("partition-statistics"),
    "remove-partition-specs": _remove_specs,
    "remove-schemas": _remove_schemas,
    "enable-row-lineage": _row_lineage,
    "add-encryption-key": _add_key,
    "remove-encryption-key": _remove_key,
}


def _schema(draft: Draft) -> Schema:
    document = draft.document
    # A table that is being made may get its layout before its schema becomes the current one.
    number = document["current-schema-id"] if document["current-schema-id"] >= 0 else draft.schema
    found = [schema for schema in document["schemas"] if schema["schema-id"] == number]
    if not found:
        raise InputError("A partition spec or a sort order was added before a schema.", hint="Add the schema first.")
    schema: Schema = found[0]
    return schema


def _has(draft: Draft, field: str, key: str, number: int) -> bool:
    return any(entry[key] == number for entry in draft.document[field])


def _without(draft: Draft, field: str, key: str, gone: set[object]) -> None:
    entries = draft.document.get(field, [])
    kept = [entry for entry in entries if entry[key] not in gone]
    draft.changed |= len(kept) != len(entries)
    draft.document[field] = kept
