"""Namespaces: one is there when it was made, or when something is in it. What is said of it is an object of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bascule.errors import InputError
from bascule.history import Commit, History, Workspace
from bascule.lake import objects
from bascule.lake.foreign.landing import Author, Staged, State, land
from bascule.lake.foreign.names import DEFAULT, NAMESPACES, VIEWS, Namespace, checked, dotted, of_path
from bascule.lake.foreign.refusals import NamespaceExists, NamespaceNotEmpty, NoSuchNamespace

KIND = "namespace"
# Said by the server, not by the user.
LOCATION = "location"


class Contradiction(InputError):
    """One update that both sets and removes a property."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of an update of properties: which were set, which removed, and which of those were not there."""

    updated: list[str]
    removed: list[str]
    missing: list[str]


def listed(history: History, at: Commit, parent: Namespace = ()) -> list[Namespace]:
    """Return the namespaces right below another, or the topmost ones.

    Raises:
        NoSuchNamespace: when the other is not there.
    """
    if parent:
        demand(history, at, parent)
    depth = len(parent) + 1
    return sorted(
        {found[:depth] for found in _all(history, at) if len(found) >= depth and found[: depth - 1] == parent}
    )


def exists(history: History, at: Commit, namespace: Namespace) -> bool:
    """Tell whether there is such a namespace."""
    if namespace == DEFAULT or history.digest(at, _path(namespace)) is not None:
        return True
    begins = f"{dotted(namespace)}."
    return any(history.digests(at, f"{prefix}{begins}") for prefix in (NAMESPACES, objects.PREFIX, VIEWS))


def demand(history: History, at: Commit, namespace: Namespace) -> None:
    """Raise `NoSuchNamespace` unless there is such a namespace."""
    if not exists(history, at, namespace):
        raise NoSuchNamespace(dotted(namespace))


def properties(workspace: Workspace, at: Commit, namespace: Namespace) -> dict[str, str]:
    """Return what is said of a namespace, and where its tables' folders are."""
    demand(workspace.history, at, namespace)
    found = workspace.history.read(at, _path(namespace)) or {"properties": {}}
    return {LOCATION: str(workspace.lake_folder), **found["properties"]}


def create(
    workspace: Workspace, state: State, namespace: Sequence[str], told: Mapping[str, str], author: Author
) -> Namespace:
    """Make a namespace.

    Raises:
        NamespaceExists: when there is one.
        InputError: for a name that none can have.
    """
    found, history = checked(namespace), workspace.history
    _check_properties(told)

    def stage(head: Commit, held: ExitStack) -> Staged:
        if exists(history, head, found):
            raise NamespaceExists(dotted(found))
        return _staged(found, None, _without_location(told), f"Create namespace {dotted(found)}")

    land(workspace, state.writable(), stage, author)
    return found


def update(
    workspace: Workspace,
    state: State,
    namespace: Namespace,
    updates: Mapping[str, str],
    removals: Sequence[str],
    author: Author,
) -> Changed:
    """Set and remove properties of a namespace.

    Raises:
        NoSuchNamespace: when it is not there.
        Contradiction: for a property that is both set and removed.
    """
    both = sorted(set(updates) & set(removals))
    if both:
        raise Contradiction(
            f"Invalid property update: cannot set and remove {', '.join(both)}.", hint="Do one of them."
        )
    _check_properties(updates)
    history, gone = workspace.history, list(dict.fromkeys(removals))
    changed = Changed([], [], [])

    def stage(head: Commit, held: ExitStack) -> Staged:
        nonlocal changed
        demand(history, head, namespace)
        digest = history.digest(head, _path(namespace))
        before = history.object(digest)["properties"] if digest else {}
        changed = Changed(list(updates), [n for n in gone if n in before], [n for n in gone if n not in before])
        after = {name: value for name, value in {**before, **updates}.items() if name not in gone}
        return _staged(namespace, digest, _without_location(after), f"Change namespace {dotted(namespace)}")

    land(workspace, state.writable(), stage, author)
    return changed


def drop(workspace: Workspace, state: State, namespace: Namespace, author: Author) -> None:
    """Take away a namespace that has nothing in it.

    Raises:
        NoSuchNamespace: when it is not there.
        NamespaceNotEmpty: when something is in it.
    """
    history = workspace.history

    def stage(head: Commit, held: ExitStack) -> Staged:
        demand(history, head, namespace)
        inside = _inside(history, head, namespace)
        if inside:
            raise NamespaceNotEmpty(dotted(namespace), inside)
        if namespace == DEFAULT:
            raise InputError("The namespace default is always there: it is where tables without one are.")
        digest = history.digest(head, _path(namespace))
        path = _path(namespace)
        return Staged({path: None}, {path: digest}, f"Drop namespace {dotted(namespace)}")

    land(workspace, state.writable(), stage, author)


def _all(history: History, at: Commit) -> set[Namespace]:
    made = {tuple(path.partition("/")[2].split(".")) for path in history.digests(at, NAMESPACES)}
    used = {of_path(path).namespace for prefix in (objects.PREFIX, VIEWS) for path in history.digests(at, prefix)}
    return {DEFAULT, *made, *used}


def _inside(history: History, at: Commit, namespace: Namespace) -> str:
    for path in (*history.digests(at, objects.PREFIX), *history.digests(at, VIEWS)):
        if of_path(path).namespace[: len(namespace)] == namespace:
            return path
    return next(iter(history.digests(at, f"{NAMESPACES}{dotted(namespace)}.")), "")


def _path(namespace: Namespace) -> str:
    return NAMESPACES + dotted(namespace)


def _staged(namespace: Namespace, digest: str | None, told: Mapping[str, str], message: str) -> Staged:
    value: dict[str, Any] = {"kind": KIND, "properties": dict(told)}
    return Staged({_path(namespace): value}, {_path(namespace): digest}, message)


def _without_location(told: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in told.items() if name != LOCATION}


def _check_properties(told: Mapping[str, str]) -> None:
    if LOCATION in told:
        raise InputError(
            f"The {LOCATION} of a namespace cannot be chosen: tables live in the workspace's lake.",
            hint=f"Leave {LOCATION!r} out.",
        )


def kept(history: History, at: Commit, namespace: Namespace) -> dict[str, Any]:
    """Return the objects that make a namespace stay when the last of its tables goes."""
    if namespace == DEFAULT or history.digest(at, _path(namespace)) is not None:
        return {}
    return {_path(namespace): {"kind": KIND, "properties": {}}}
