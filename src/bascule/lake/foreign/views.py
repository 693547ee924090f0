"""Views, for engines that have them: their SQL is kept and given back. Bascule does not run it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from bascule.history import Commit, History, Workspace
from bascule.lake.foreign import namespaces
from bascule.lake.foreign.landing import Author, Staged, State, land
from bascule.lake.foreign.names import VIEWS, Identifier, Namespace, of_path
from bascule.lake.foreign.refusals import NoSuchView, ViewExists
from bascule.lake.iceberg.updates.viewing import ViewMetadata, apply_to_view, demand_of_view, new_view

KIND = "view"


def listed(history: History, at: Commit, namespace: Namespace) -> list[Identifier]:
    """Return the views of a namespace by name.

    Raises:
        NoSuchNamespace: when it is not there.
    """
    namespaces.demand(history, at, namespace)
    found = (of_path(path) for path in history.digests(at, VIEWS))
    return sorted((one for one in found if one.namespace == namespace), key=str)


def exists(history: History, at: Commit, identifier: Identifier) -> bool:
    """Tell whether there is such a view."""
    return history.digest(at, identifier.view_path) is not None


def loaded(history: History, at: Commit, identifier: Identifier) -> ViewMetadata:
    """Return a view's metadata, or raise `NoSuchView`."""
    found = history.read(at, identifier.view_path)
    if found is None:
        raise NoSuchView(identifier)
    document: ViewMetadata = found["metadata"]
    return document


def create(
    workspace: Workspace,
    state: State,
    identifier: Identifier,
    schema: Any,
    version: Mapping[str, Any],
    properties: Mapping[str, str],
    author: Author,
) -> ViewMetadata:
    """Make a view.

    Raises:
        NoSuchNamespace, ViewExists: when it cannot be.
    """
    history, unique = workspace.history, str(uuid.uuid4())
    location = f"{workspace.lake_folder}/{identifier.local}-{unique.replace('-', '')[:12]}"
    document = new_view(unique, location, schema, version, properties)

    def stage(head: Commit, held: ExitStack) -> Staged:
        _demand_free(history, head, identifier)
        changes = {identifier.view_path: {"kind": KIND, "metadata": document}}
        return Staged(changes, _free(identifier), f"Create view {identifier.local}")

    land(workspace, state.writable(), stage, author)
    return document


def replace(
    workspace: Workspace,
    state: State,
    identifier: Identifier,
    requirements: Sequence[Mapping[str, Any]],
    updates: Sequence[Mapping[str, Any]],
    author: Author,
) -> ViewMetadata:
    """Change a view.

    Raises:
        NoSuchView: when it is not there.
        RequirementFailed: when it is not as the client saw it.
    """
    history, path = workspace.history, identifier.view_path
    after: ViewMetadata = {}

    def stage(head: Commit, held: ExitStack) -> Staged:
        nonlocal after
        before = loaded(history, head, identifier)
        for requirement in requirements:
            demand_of_view(before, requirement)
        after = apply_to_view(before, updates)
        changes = {path: {"kind": KIND, "metadata": after}}
        return Staged(changes, {path: history.digest(head, path)}, f"Change view {identifier.local}")

    land(workspace, state.writable(), stage, author)
    return after


def drop(workspace: Workspace, state: State, identifier: Identifier, author: Author) -> None:
    """Take a view off a branch, or raise `NoSuchView`."""
    history, path = workspace.history, identifier.view_path

    def stage(head: Commit, held: ExitStack) -> Staged:
        loaded(history, head, identifier)
        changes = {path: None, **namespaces.kept(history, head, identifier.namespace)}
        return Staged(changes, {path: history.digest(head, path)}, f"Drop view {identifier.local}")

    land(workspace, state.writable(), stage, author)


def rename(workspace: Workspace, state: State, source: Identifier, target: Identifier, author: Author) -> None:
    """Give a view another name.

    Raises:
        NoSuchView, NoSuchNamespace, ViewExists: when it cannot be.
    """
    history = workspace.history

    def stage(head: Commit, held: ExitStack) -> Staged:
        value = {"kind": KIND, "metadata": loaded(history, head, source)}
        _demand_free(history, head, target)
        changes = {
            source.view_path: None,
            target.view_path: value,
            **namespaces.kept(history, head, source.namespace),
        }
        expect = {source.view_path: history.digest(head, source.view_path), **_free(target)}
        return Staged(changes, expect, f"Rename view {source.local} to {target.local}")

    land(workspace, state.writable(), stage, author)


def _demand_free(history: History, at: Commit, identifier: Identifier) -> None:
    namespaces.demand(history, at, identifier.namespace)
    if history.digest(at, identifier.view_path) is not None:
        raise ViewExists(identifier)
    if history.digest(at, identifier.table_path) is not None:
        raise ViewExists(identifier, "Table with same name")


def _free(identifier: Identifier) -> dict[str, str | None]:
    return {identifier.table_path: None, identifier.view_path: None}
