"""Tables as a catalog gives and takes them: listed, loaded, made, registered, renamed, dropped."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from bascule.errors import EnvironmentProblem, InputError
from bascule.history import Commit, History
from bascule.lake import moved, objects, seen
from bascule.lake.foreign import inspection, namespaces
from bascule.lake.foreign.landing import Author, Staged, State, land
from bascule.lake.foreign.names import Identifier, Namespace, of_path
from bascule.lake.foreign.refusals import NoSuchTable, TableExists
from bascule.lake.iceberg import files, metadata
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.updates import created
from bascule.lake.tables import Lake

DOCUMENT = ".metadata.json"


def listed(history: History, at: Commit, namespace: Namespace) -> list[Identifier]:
    """Return the tables of a namespace by name.

    Raises:
        NoSuchNamespace: when it is not there.
    """
    namespaces.demand(history, at, namespace)
    found = (of_path(path) for path in history.digests(at, objects.PREFIX))
    return sorted((one for one in found if one.namespace == namespace), key=str)


def loaded(lake: Lake, at: Commit, identifier: Identifier) -> Table:
    """Return a table as a commit has it.

    Raises:
        NoSuchTable: when it is not there.
        EnvironmentProblem: when its metadata is missing or damaged.
    """
    return lake.table(_object(lake.workspace.history, at, identifier), identifier.local).here()


def exists(history: History, at: Commit, identifier: Identifier) -> bool:
    """Tell whether there is such a table."""
    return history.digest(at, identifier.table_path) is not None


def demand_free(history: History, at: Commit, identifier: Identifier) -> None:
    """Raise unless a table of that name could be made: its namespace is there, and the name is free."""
    namespaces.demand(history, at, identifier.namespace)
    if history.digest(at, identifier.table_path) is not None:
        raise TableExists(identifier)
    if history.digest(at, identifier.view_path) is not None:
        raise TableExists(identifier, "View with same name")


def described(
    lake: Lake,
    identifier: Identifier,
    schema: Any,
    *,
    spec: Any = None,
    order: Any = None,
    properties: Mapping[str, str] | None = None,
) -> Table:
    """Return a new table in a place of its own, with folders for its files and no document yet."""
    unique = str(uuid.uuid4())
    folder = lake.folder / f"{identifier.local}-{unique.replace('-', '')[:12]}"
    inspection.check_enforced(properties or {})
    document = created(unique, str(folder), schema, spec=spec, order=order, properties=properties)
    inspection.check_properties(None, document)
    document["properties"] |= {objects.NAME: identifier.local, metadata.SHARED: "true"}
    # Some engines write a table's first files without making its folders.
    for part in ("data", "metadata"):
        files.make_folder(folder / part)
    return Table(identifier.local, folder, folder / "metadata" / "none", document)


def create(lake: Lake, state: State, identifier: Identifier, new: Table, author: Author) -> Table:
    """Let a table that `described` gave be there.

    Raises:
        NoSuchNamespace, TableExists: when it cannot be.
    """
    history, made = lake.workspace.history, new

    def stage(head: Commit, held: ExitStack) -> Staged:
        nonlocal made
        demand_free(history, head, identifier)
        made = new.written(new.metadata)
        value = objects.describe(made, lake.folder)
        path = identifier.table_path
        return Staged({path: value}, _free(identifier), f"Create table {identifier.local}", [made.path.unlink])

    land(lake.workspace, state.writable(), stage, author)
    return made


def register(
    lake: Lake, state: State, identifier: Identifier, location: str, author: Author, *, overwrite: bool = False
) -> Table:
    """Let a table be there again by its metadata document, which lies in the lake.

    Args:
        overwrite: take the place of the table that has the name.

    Raises:
        InputError: for a document outside of the lake, or one that names files outside of its table's folder.
    """
    table = _document(lake, location, identifier)
    inspection.check_properties(table.metadata, table.metadata)
    if any("/" in part for part in (*seen.paths(table), *moved.paths(table))):
        raise InputError(f"{location!r} names sources outside of the table's folder.")
    inspection.check_files(None, table)
    history = lake.workspace.history
    value = objects.describe(table, lake.folder)

    def stage(head: Commit, held: ExitStack) -> Staged:
        digest = history.digest(head, identifier.table_path)
        if not overwrite or digest is None:
            demand_free(history, head, identifier)
        expect = {**_free(identifier), identifier.table_path: digest}
        return Staged({identifier.table_path: value}, expect, f"Register table {identifier.local}")

    land(lake.workspace, state.writable(), stage, author)
    return table


def drop(lake: Lake, state: State, identifier: Identifier, author: Author) -> None:
    """Take a table off a branch. Its files stay: other branches and older commits have it.

    Raises:
        NoSuchTable: when it is not there.
    """
    history, path = lake.workspace.history, identifier.table_path

    def stage(head: Commit, held: ExitStack) -> Staged:
        digest = history.digest(head, path)
        if digest is None:
            raise NoSuchTable(identifier)
        return Staged({path: None, **_kept(history, head, [identifier])}, {path: digest}, f"Drop {identifier.local}")

    land(lake.workspace, state.writable(), stage, author)


def rename(lake: Lake, state: State, source: Identifier, target: Identifier, author: Author) -> None:
    """Give a table another name. Two who give two tables one name at once: one of them is told that it is taken.

    Raises:
        NoSuchTable, NoSuchNamespace, TableExists: when it cannot be.
    """
    history = lake.workspace.history

    def stage(head: Commit, held: ExitStack) -> Staged:
        digest = history.digest(head, source.table_path)
        if digest is None:
            raise NoSuchTable(source)
        demand_free(history, head, target)
        changes = {
            source.table_path: None,
            target.table_path: history.object(digest),
            **_kept(history, head, [source]),
        }
        message = f"Rename {source.local} to {target.local}"
        return Staged(changes, {source.table_path: digest, **_free(target)}, message)

    land(lake.workspace, state.writable(), stage, author)


def folder_at(lake: Lake, location: str) -> Any:
    """Return the folder that a client was given for a table it has yet to commit.

    Raises:
        InputError: for any place but a new table's in the lake.
    """
    below = f"{lake.folder}/"
    name = location.removeprefix("file://").rstrip("/")
    name = name[len(below) :] if name.startswith(below) else ""
    folder = lake.folder / name if name and "/" not in name and not name.startswith(".") else None
    if folder is None or any((folder / "metadata").glob(f"*{DOCUMENT}")):
        raise InputError(
            f"{location!r} is no place for a new table.",
            hint="Leave the location out: Bascule gives every table a folder of its own.",
        )
    return folder


def _object(history: History, at: Commit, identifier: Identifier) -> objects.Object:
    found = history.read(at, identifier.table_path)
    if found is None:
        known = [str(of_path(path)) for path in history.digests(at, objects.PREFIX)]
        raise NoSuchTable(identifier, f"There are: {', '.join(sorted(known)[:8])}." if known else "")
    return found


def _free(identifier: Identifier) -> dict[str, str | None]:
    return {identifier.table_path: None, identifier.view_path: None}


def _kept(history: History, head: Commit, gone: Sequence[Identifier]) -> dict[str, Any]:
    """Return the namespaces that would vanish with their last table, as objects of their own."""
    return {path: value for one in gone for path, value in namespaces.kept(history, head, one.namespace).items()}


def _document(lake: Lake, location: str, identifier: Identifier) -> Table:
    below = f"{lake.folder}/"
    place = location.removeprefix("file://")
    parts = place[len(below) :].split("/") if place.startswith(below) else []
    if len(parts) != 3 or parts[1] != "metadata" or any(part in ("", ".", "..") for part in parts):
        raise InputError(
            f"{location!r} is not the metadata document of a table in this workspace's lake.",
            hint=f"It should be {below}FOLDER/metadata/…{DOCUMENT}",
        )
    try:
        table = Table.load(lake.folder / parts[0] / "metadata" / parts[2], identifier.local).here()
        metadata.schema_of(table.metadata)
    except (EnvironmentProblem, KeyError, StopIteration) as error:
        said = error.message if isinstance(error, EnvironmentProblem) else f"it lacks {error}"
        raise InputError(f"{location!r} cannot be registered: {said}") from error
    return table
