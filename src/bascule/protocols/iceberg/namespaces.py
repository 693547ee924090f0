"""Namespaces over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bascule.errors import InputError
from bascule.lake.foreign import namespaces
from bascule.lake.foreign.names import dotted
from bascule.lake.foreign.refusals import NoSuchNamespace
from bascule.protocols.iceberg.messages import NOTHING, Answer, Ask, NewNamespace, PropertyUpdate, levels

MOST_IN_PAGE = 1000


def list_all(ask: Ask) -> Answer:
    """The namespaces below another one, or the topmost."""
    parent = levels(ask.query["parent"]) if ask.query.get("parent") else ()
    found = namespaces.listed(ask.workspace.history, ask.state().commit, parent)
    return Answer(paged(ask, "namespaces", [list(one) for one in found]))


def create(ask: Ask) -> Answer:
    """Make a namespace."""
    new = ask.read(NewNamespace)
    made = namespaces.create(ask.workspace, ask.state(), new.namespace, new.properties, ask.author())
    return Answer({"namespace": list(made), "properties": new.properties})


def load(ask: Ask) -> Answer:
    """What is said of a namespace."""
    found = namespaces.properties(ask.workspace, ask.state().commit, ask.namespace)
    return Answer({"namespace": list(ask.namespace), "properties": found})


def exists(ask: Ask) -> Answer:
    """Whether there is such a namespace."""
    if not namespaces.exists(ask.workspace.history, ask.state().commit, ask.namespace):
        raise NoSuchNamespace(dotted(ask.namespace))
    return NOTHING


def drop(ask: Ask) -> Answer:
    """Take an empty namespace away."""
    namespaces.drop(ask.workspace, ask.state(), ask.namespace, ask.author())
    return NOTHING


def update(ask: Ask) -> Answer:
    """Set and remove properties of a namespace."""
    told = ask.read(PropertyUpdate)
    changed = namespaces.update(ask.workspace, ask.state(), ask.namespace, told.updates, told.removals, ask.author())
    return Answer({"updated": changed.updated, "removed": changed.removed, "missing": changed.missing})


def paged(ask: Ask, what: str, found: Sequence[Any]) -> dict[str, Any]:
    """Return a list's answer: all of it, or the page that the client asks for.

    Args:
        found: in an order that stays; a page's token is the place where it begins.
    """
    if "pageToken" not in ask.query and "pageSize" not in ask.query:
        return {what: found}
    token, size = ask.query.get("pageToken") or "0", ask.query.get("pageSize") or str(MOST_IN_PAGE)
    if not token.isdecimal() or not size.isdecimal() or int(size) < 1:
        raise InputError(f"pageToken {token!r} or pageSize {size!r} cannot be used.", hint="Use those that were given.")
    start, end = int(token), int(token) + min(int(size), MOST_IN_PAGE)
    return {what: found[start:end], "next-page-token": str(end) if end < len(found) else None}
