"""Commits of tables: requirements looked at, updates applied, and all of them landed as one commit of the branch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bascule.counting import counted
from bascule.errors import InputError
from bascule.history import Commit
from bascule.lake import objects
from bascule.lake.foreign import inspection, tables
from bascule.lake.foreign.landing import Author, Staged, State, land
from bascule.lake.foreign.names import Identifier
from bascule.lake.foreign.refusals import NoSuchTable
from bascule.lake.iceberg import metadata
from bascule.lake.iceberg.metadata import ENFORCED, SHARED, Metadata
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.updates import apply, demand
from bascule.lake.iceberg.updates.past import capped
from bascule.lake.tables import Lake

# A user may ask for more snapshots to be kept than Bascule does by itself.
KEPT_PROPERTY = "history.expire.min-snapshots-to-keep"


@dataclass(frozen=True, slots=True)
class TableChange:
    """What a client asks of one table."""

    identifier: Identifier
    requirements: Sequence[Mapping[str, Any]]
    updates: Sequence[Mapping[str, Any]]

    @property
    def creates(self) -> bool:
        """Whether the table is to be made by it."""
        return any(requirement.get("type") == "assert-create" for requirement in self.requirements)


def commit(lake: Lake, state: State, changes: Sequence[TableChange], author: Author) -> list[Table]:
    """Change some tables of a branch, all of them or none.

    A table may be named more than once: its changes are applied in order.

    Returns:
        The tables as they are now, in the order of the changes.

    Raises:
        RequirementFailed: a table is not as the client saw it.
        InputError: a change that a table cannot have. Of either, nothing was changed.
        Unknown: nobody knows whether it landed.
    """
    branch = state.writable()
    landed: dict[str, Table] = {}

    def stage(head: Commit, held: ExitStack) -> Staged:
        landed.clear()
        staged = Staged({}, {}, _message(changes), [], _facts(changes))
        try:
            _stage(lake, head, changes, held, staged, landed)
        except BaseException:
            staged.discard()
            raise
        return staged

    land(lake.workspace, branch, stage, author)
    return [landed[change.identifier.table_path] for change in changes]


def _stage(
    lake: Lake,
    head: Commit,
    changes: Sequence[TableChange],
    held: ExitStack,
    staged: Staged,
    landed: dict[str, Table],
) -> None:
    history = lake.workspace.history
    before: dict[str, Table | None] = {}
    documents: dict[str, Metadata] = {}
    expect: dict[str, str | None] = {}
    found: dict[str, objects.Object | None] = {}
    for change in changes:
        path = change.identifier.table_path
        if path not in before:
            digest = history.digest(head, path)
            expect[path] = digest
            before[path] = _held(lake, history.object(digest), change.identifier, held) if digest else None
            if digest is None and change.creates:
                tables.demand_free(history, head, change.identifier)
                expect[change.identifier.view_path] = None
        table = before[path]
        document = documents.get(path, table.metadata if table else None)
        if document is None and not change.creates:
            raise NoSuchTable(change.identifier)
        for requirement in change.requirements:
            demand(document, requirement)
        documents[path] = apply(document, change.updates)
    for change in changes:
        path, table = change.identifier.table_path, before[change.identifier.table_path]
        if path in landed:
            continue
        if table is not None and documents[path] is table.metadata:
            landed[path] = table
            continue
        landed[path] = _written(lake, change.identifier, table, documents[path], staged)
        found[path] = objects.describe(landed[path], lake.folder)
    staged.changes, staged.expect = found, expect


def _held(lake: Lake, value: objects.Object, identifier: Identifier, held: ExitStack) -> Table:
    return held.enter_context(lake.writing(value, identifier.local)).here()


def _written(lake: Lake, identifier: Identifier, before: Table | None, document: Metadata, staged: Staged) -> Table:
    if before is None:
        folder = tables.folder_at(lake, str(document.get("location") or ""))
        document = _completed({**document, "location": str(folder)}, identifier)
        before_table = Table(identifier.local, folder, folder / "metadata" / "none", document)
    else:
        before_table = before
        if document["location"] != before.metadata["location"]:
            raise InputError(
                f"The location of table {identifier} stays {before.metadata['location']}.",
                hint="Make a new table to have its files elsewhere in the lake.",
            )
    document = {**document, "properties": {**document["properties"], SHARED: "true"}}
    own = {objects.NAME: identifier.local, SHARED: "true"}
    old = {**before.metadata, "properties": {**before.properties, SHARED: "true"}} if before else {"properties": own}
    inspection.check_properties(old, document)
    after = Table(identifier.local, before_table.folder, before_table.path, document)
    checked = inspection.check_files(before, after)
    least = str(document["properties"].get(KEPT_PROPERTY, ""))
    kept = max(metadata.KEPT_FOR_OTHERS, int(least) if least.isdecimal() and len(least) < 6 else 0)
    written = before_table.written(capped(checked, kept))
    staged.undo.append(written.path.unlink)
    return written


def _completed(document: Metadata, identifier: Identifier) -> Metadata:
    """Return the document of a table that a client makes by a commit, with what every table has."""
    missing = [
        what
        for what, there in (
            ("a uuid", document.get("table-uuid")),
            ("a schema", document["current-schema-id"] >= 0),
            ("a partition spec", document["default-spec-id"] >= 0),
            ("a sort order", document["default-sort-order-id"] >= 0),
        )
        if not there
    ]
    if missing:
        raise InputError(
            f"Table {identifier} cannot be made: the updates give it no {', no '.join(m[2:] for m in missing)}.",
            hint="Send all that stage-create answered with.",
        )
    properties = document["properties"]
    return {**document, "properties": {**ENFORCED, **properties, objects.NAME: identifier.local}}


def _message(changes: Sequence[TableChange]) -> str:
    told = dict.fromkeys(_told(change) for change in changes)
    return ", ".join(told) if len(told) <= 4 else f"Change {len(told)} tables"


def _told(change: TableChange) -> str:
    name, rows = change.identifier.local, ""
    summary = next(iter(_summaries(change)), None)
    added = str(summary.get("added-records", "")) if summary is not None else ""
    if added.isascii() and added.isdigit():  # what an engine says of itself
        rows = f" ({counted(int(added), 'row')})"
    if change.creates:
        return f"Create table {name}{rows}"
    if summary is not None:
        return f"{_OPERATIONS.get(str(summary.get('operation')), 'Write')} {name}{rows}"
    actions = {update.get("action") for update in change.updates}
    return f"{next((said for action, said in _ACTIONS if action in actions), 'Change')} {name}"


_OPERATIONS = {"append": "Append to", "overwrite": "Overwrite", "delete": "Delete from", "replace": "Rewrite files of"}
_ACTIONS = (
    ("add-schema", "Change columns of"),
    ("add-spec", "Change partitions of"),
    ("add-sort-order", "Change order of"),
    ("remove-snapshots", "Expire snapshots of"),
    ("set-snapshot-ref", "Set a ref of"),
    ("remove-snapshot-ref", "Remove a ref of"),
    ("upgrade-format-version", "Upgrade format of"),
    ("set-properties", "Set properties of"),
    ("remove-properties", "Remove properties of"),
)


def _facts(changes: Sequence[TableChange]) -> dict[str, Any]:
    told = [
        {"table": change.identifier.local, "operation": summary.get("operation")}
        for change in changes
        for summary in _summaries(change)
    ]
    return {"iceberg": told} if told else {}


def _summaries(change: TableChange) -> list[Mapping[str, Any]]:
    snapshots = [u.get("snapshot") for u in change.updates if u.get("action") == "add-snapshot"]
    return [s.get("summary") or {} for s in snapshots if isinstance(s, dict)]
