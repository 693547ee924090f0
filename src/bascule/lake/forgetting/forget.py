"""Removing a subject from a table: find its rows in every file, rewrite those, say what was done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import select

from bascule.catalog import actor as acting
from bascule.catalog import audit, new_id
from bascule.catalog.schema import audit as audit_table
from bascule.catalog.schema import commits, record_tables
from bascule.errors import Conflict, InputError, NotFound
from bascule.history import Workspace, holding, holds
from bascule.lake import journal, objects, records
from bascule.lake.forgetting.folder import Folder
from bascule.lake.forgetting.replacing import Replacing
from bascule.lake.forgetting.report import ForgetReport, Forgotten, ForgottenFile
from bascule.lake.forgetting.rewriting import Rewriting
from bascule.lake.iceberg import files
from bascule.lake.iceberg.tables import LOCK
from bascule.lake.journal import Journal, Rewritten
from bascule.store import Place
from bascule.store.places import below

Positions = Mapping[Place, np.ndarray]
Finder = Callable[[Folder], Positions]
TRIES = 20
ACTION = "forget"


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be forgotten: a subject of a table, by the values of some of its columns."""

    workspace: Workspace
    table: str
    key: Mapping[str, Any]
    dry_run: bool
    despite_hold: str = ""


# Removes the subject from a place that an upper room owns, and says what was there. It must bear being called again.
Hook = Callable[[Request], Sequence[Forgotten]]


def forget(
    workspace: Workspace,
    table: str,
    key: Mapping[str, Any],
    *,
    dry_run: bool = False,
    author: str | None = None,
    hooks: Sequence[Hook] = (),
    despite_hold: str = "",
) -> ForgetReport:
    """Remove the rows of a subject from a table in all its states: on every branch, tag and commit, in every file.

    All other rows, and every state, stay readable as they were; the heads of branches get an object with the new
    counts. Nothing of the subject is in the lake's folder afterwards: not in rows, dictionaries, statistics or bounds.
    It bears being killed at any moment and called again.

    Args:
        table: its name in the history, or a record table's.
        key: column to value, all of which a row must have; a renamed or dropped column is also found by its old name.
        dry_run: say what would be done and change nothing.
        hooks: what removes the subject from places that upper rooms own; called with the same request.
        despite_hold: why it is done although a legal hold stands against it; kept in the audit log.

    Raises:
        Held: when rows that are to go are under legal hold, and no reason is given. Nothing was changed.
        NotFound: when there is no such table, or it never had such a column.
        InputError: when the key is empty or has a null, a value does not fit its column, or the table cannot be
            rewritten.
    """
    if not key or any(value is None for value in key.values()):
        raise InputError(
            "A subject is named by values: a key column without one is no subject.", hint="Give COLUMN=VALUE."
        )
    temporary = workspace.temporary_folder
    request = Request(workspace, table, dict(key), dry_run, despite_hold)
    report = _heeding(workspace, table, tuple(key), lambda f: f.matching(key, temporary), dry_run, author, despite_hold)
    elsewhere = tuple(found for hook in hooks for found in hook(request))
    return ForgetReport(
        report.id, table, report.columns, report.files, report.rows, report.commits, report.branches, elsewhere, dry_run
    )


def forget_rows(
    workspace: Workspace,
    table: str,
    where: str,
    *,
    dry_run: bool = False,
    author: str | None = None,
    despite_hold: str = "",
) -> ForgetReport:
    """Remove the rows for which a SQL condition is true from a table in all its states, as `forget` does.

    For rooms whose rows name a subject in another way than by a column: a prediction's inputs, say.
    """
    temporary = workspace.temporary_folder
    return _heeding(workspace, table, (), lambda f: f.where(where, temporary), dry_run, author, despite_hold)


def forget_values(
    workspace: Workspace,
    table: str,
    replacing: Replacing,
    *,
    dry_run: bool = False,
    author: str | None = None,
    despite_hold: str = "",
) -> ForgetReport:
    """Take values out of a table's rows in all its states: rows that are the subject's go, in others the texts change.

    Errors and guarantees are those of `forget`; a row whose texts change counts as one that goes.
    """
    return _heeding(workspace, table, (), replacing.find, dry_run, author, despite_hold, replacing)


def _heeding(
    workspace: Workspace,
    name: str,
    columns: tuple[str, ...],
    find: Finder,
    dry_run: bool,
    author: str | None,
    despite_hold: str,
    replacing: Replacing | None = None,
) -> ForgetReport:
    """Forget, unless a hold stands against it: who has one looks first, and changes nothing."""
    with workspace.catalog.read() as conn:
        is_held = bool(holds.listed(conn))
    if is_held and not dry_run:
        planned = _run(workspace, name, columns, find, True, author, replacing)
        found = holding.against(workspace, name, planned.commits) if planned.rows else []
        holding.overrule(workspace, found, name, despite_hold, author)
    return _run(workspace, name, columns, find, dry_run, author, replacing)


def _run(
    workspace: Workspace,
    name: str,
    columns: tuple[str, ...],
    find: Finder,
    dry_run: bool,
    author: str | None,
    replacing: Replacing | None = None,
) -> ForgetReport:
    states = _states(workspace, name)
    folders = _folders(workspace, name, states)
    if not folders:
        known = [path.removeprefix(objects.PREFIX) for path in workspace.history.digests("main", objects.PREFIX)]
        raise NotFound("table", name, [*known, *records.names(workspace)])
    found: list[Journal] = []
    number = new_id("forget")
    with ExitStack() as held:
        for path in folders:
            held.enter_context(files.locked(path / LOCK, exclusive=True))
        for path in folders:
            if not dry_run:
                found += _finish(workspace, name, columns, path, author)
            found.append(_forget_in(path, name, number, find, dry_run, replacing))
            if not dry_run:
                _finish(workspace, name, columns, path, author)
    touched = {document for one in found for document in one.documents}
    ids = tuple(sorted({commit for location in touched for commit in states.get(location, ())}))
    rewritten = tuple(ForgottenFile(f.path, f.rows, f.before, f.after) for one in found for f in one.files)
    rows = sum(f.rows for f in rewritten)
    branches = {} if dry_run else _refresh(workspace, name, author)
    used = next((one.id for one in found if one.files), "")
    return ForgetReport("" if dry_run else used, name, columns, rewritten, rows, ids, branches, (), dry_run)


def _finish(
    workspace: Workspace, name: str, columns: tuple[str, ...], path: Place, author: str | None
) -> list[Journal]:
    """Bring a journal that is there to its end: replay it, tell the audit log, remove it."""
    waiting = journal.found(path)
    if waiting is None:
        return []
    journal.replay(path)
    told = {
        "id": waiting.id,
        "columns": list(columns),
        "rows": sum(file.rows for file in waiting.files),
        "files": [{"path": f.path, "rows": f.rows, "before": f.before, "after": f.after} for f in waiting.files],
    }
    with workspace.catalog.write() as conn:
        query = select(audit_table.c.detail_json).where(
            audit_table.c.action == ACTION, audit_table.c.detail_json.contains(f'"{waiting.id}"')
        )
        if not any(msgspec.json.decode(text) == told for text in conn.execute(query).scalars()):
            subject = objects.PREFIX + name
            audit.append(conn, actor=author or acting(), action=ACTION, subject=subject, detail=told)
    journal.end(path)
    return [waiting]


def _forget_in(
    path: Place, name: str, number: str, find: Finder, dry_run: bool, replacing: Replacing | None
) -> Journal:
    """Find the rows in one table's folder and, unless it is a dry run, leave a journal that removes them."""
    if not dry_run:
        for leftover in path.rglob(f"*{files.UNFINISHED}"):
            leftover.unlink(missing_ok=True)  # nobody writes while we hold the lock: a killed writer left it
    folder = Folder.read(path, name)
    positions = find(folder)
    documents = [
        objects.location_of(document.path, path.parent)
        for document in folder.documents
        if any(document.resolve(entry["data_file"]["file_path"]) in positions for entry in _live(folder, document))
    ]
    if positions and not dry_run:
        Rewriting(folder, positions, number, replacing).prepare(documents)
        waiting = journal.found(path)
        assert waiting is not None
        return waiting
    more = replacing.changes if replacing else {}
    rewritten = [
        Rewritten(f"{path.name}/data/{p.name}", len(rows) + len(more.get(p, ())), "", "")
        for p, rows in positions.items()
    ]
    return Journal(number, [], [], rewritten, documents)


def _live(folder: Folder, document: Any) -> list[Any]:
    snapshot = document.snapshot
    listed = folder.lists.get(document.resolve(snapshot["manifest-list"])) if snapshot else None
    found = []
    for manifest in listed.records if listed else ():
        file = folder.manifests.get(document.resolve(manifest["manifest_path"]))
        found += [entry for entry in (file.records if file else ()) if entry["status"] != 2]
    return found


def _states(workspace: Workspace, name: str) -> dict[str, list[str]]:
    """Return the commits that hold the table, by the metadata location of its object there."""
    history = workspace.history
    with workspace.catalog.read() as conn:
        found = conn.execute(select(commits.c.id, commits.c.root)).all()
    by_root: dict[str, str | None] = {}
    states: dict[str, list[str]] = {}
    for row in found:
        if row.root not in by_root:
            digest = history.digest(history.commit_by_id(row.id), objects.PREFIX + name)
            by_root[row.root] = str(history.object(digest)["metadata_location"]) if digest else None
        location = by_root[row.root]
        if location is not None:
            states.setdefault(location, []).append(row.id)
    return states


def _folders(workspace: Workspace, name: str, states: Mapping[str, Sequence[str]]) -> list[Place]:
    lake = workspace.lake_folder
    found = {(lake / location).parent.parent for location in states}
    with workspace.catalog.read() as conn:
        known = conn.execute(select(record_tables.c.name).where(record_tables.c.name == name)).scalar()
    prefixes = [name, records.FOLDER + name] if known else [name]
    for folder in lake.iterdir() if lake.exists() else ():
        if any(folder.name.rpartition("-")[0] == prefix for prefix in prefixes):  # also states that nobody committed
            found.add(folder)
    for folder in found:
        if below(folder, lake) is None:
            raise InputError(
                f"Table {name!r} lies outside of the lake ({folder}), where Bascule rewrites nothing.",
                hint="Remove the subject there with the engine that writes it.",
            )
    return sorted((f for f in found if any((f / "metadata").glob("*.metadata.json"))), key=str)


def _refresh(workspace: Workspace, name: str, author: str | None) -> dict[str, str]:
    """Give each branch's head, and the record table, an object with the counts that its files have now."""
    history, lake, path = workspace.history, workspace.lake_folder, objects.PREFIX + name
    moved: dict[str, str] = {}
    for branch in [ref.name for ref in history.branches()]:
        for _ in range(TRIES):
            digest = history.digest(branch, path)
            if digest is None:
                break
            fresh = objects.describe(objects.load(history.object(digest), lake, name), lake)
            if fresh == history.object(digest):
                break
            try:
                commit = history.commit(
                    branch,
                    {path: fresh},
                    message=f"Forget a subject in {name}",
                    author=author,
                    expect={path: digest},
                    action=ACTION,
                )
            except Conflict:
                continue
            moved[branch] = commit.id
            break
    records.refresh(workspace, name)
    return moved
