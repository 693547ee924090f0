"""What the objects of a state say of each other: a deployment of versions, a version of blobs, a view of tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from bascule.delivery.traffic import needed
from bascule.errors import BasculeError
from bascule.history import Workspace
from bascule.history.commits import Object
from bascule.naming import model_path
from bascule.project.definitions import read_by_query
from bascule.registry.bundles import lost
from bascule.registry.external import SCHEME
from bascule.registry.runtimes import blobs_of

# What a version keeps in the store.
BLOBS = ("artifact", "card", "contract")


class Broken(NamedTuple):
    """A reference to something that is not there.

    Attributes:
        level: `damage` when what refers cannot work so; `note` when it is only not of use yet.
    """

    level: Literal["note", "damage"]
    message: str


def is_elsewhere(artifact: str) -> bool:
    """Tell whether a version's files are no bundle: a client registered it, and nobody served it yet."""
    return not artifact or artifact.startswith(SCHEME)


def broken_references(workspace: Workspace, head: str) -> Iterator[Broken]:
    """Look at the references between the objects of a state; nothing is yielded when all lead somewhere."""
    objects = dict(workspace.history.entries(head))
    for path, value in objects.items():
        kind = path.partition("/")[0]
        if kind == "deployments":
            yield from _deployment(path, value, objects)
        elif kind == "models":
            yield from _model(workspace, path, value)
        elif kind in ("contracts", "features"):
            yield from _reader(path, value, objects)


def _deployment(path: str, value: Object, objects: dict[str, Object]) -> Iterator[Broken]:
    model = model_path(value["model"])
    there = {int(number) for number in objects.get(model, {}).get("versions", ())}
    for version in sorted(needed(value) - there):
        told = f"{path} serves version {version} of {model}, which is not there"
        yield Broken("damage", f"{told}; deploy another one, or bring it back: bascule restore {model} --from COMMIT")
    waits = value.get("waits")
    if waits is not None and waits not in there:
        yield Broken("note", f"{path}: version {waits} of {model} waits to be rolled out, and is not there")


def _model(workspace: Workspace, path: str, value: Object) -> Iterator[Broken]:
    versions, gone = value.get("versions", {}), lost(workspace)
    for number, version in versions.items():
        beside = (version.get("served") or {}).get("artifact")
        if beside is not None and beside not in gone and not workspace.store.has(beside):
            told = f"{path}: what is served of version {number} is missing"
            yield Broken("damage", f"{told}; restore the blob {beside[:16]} from a copy")
        for name in BLOBS:
            digest = version.get(name)
            if digest is not None and not (is_elsewhere(digest) or digest in gone or workspace.store.has(digest)):
                yield Broken("damage", f"{path}: the {name} {digest[:16]} of version {number} is missing")
    for number, chosen in value.get("runtimes", {}).items():
        for digest in blobs_of(chosen):
            if digest not in gone and not workspace.store.has(digest):
                told = f"{path}: what was chosen to answer for version {number} is missing"
                yield Broken(
                    "note", f"{told}, so its own library does; choose again: bascule optimize {path[7:]}@{number}"
                )
    for alias, number in value.get("aliases", {}).items():
        if str(number) not in versions:
            yield Broken("damage", f"{path}: {alias} is version {number}, which is not there")


def _reader(path: str, value: Object, objects: dict[str, Object]) -> Iterator[Broken]:
    """A definition may be there before its table is; nothing reads it till then."""
    view = str(value.get("table", ""))
    if view.startswith("features/"):
        if view not in objects:
            yield Broken("note", f"{path} is about {view}, which is not there")
        return
    for table in sorted(_tables(value)):
        if f"tables/{table}" not in objects:
            yield Broken("note", f"{path} is about tables/{table}, which is not there")


def _tables(value: Object) -> set[str]:
    if "table" in value:
        return {str(value["table"])}
    try:
        return set(read_by_query(value["sql"])) if value.get("sql") else set()
    except BasculeError:  # what cannot be read is told by who runs it
        return set()
