"""The step cache: a key made of named terms, so that a miss can say which of them differs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
from blake3 import blake3
from sqlalchemy import select

from bascule.catalog import now, upsert
from bascule.catalog.schema import step_cache
from bascule.history import Workspace
from bascule.project.receipt import Receipt
from bascule.project.step import Context, Step, Terms
from bascule.tracking.environment import environment_class


@dataclass(frozen=True)
class Key:
    """A step's cache key with the terms that it is made of."""

    digest: str
    terms: Terms


@dataclass(frozen=True)
class Difference:
    """A term that differs: its value when the step last ran, and now. None: it was, or is, not there."""

    term: str
    before: str | None
    after: str | None


def key_of(step: Step, context: Context) -> Key:
    """Return the key that a step has now: its code, its inputs and the class of its environment."""
    terms = {
        "step": step.name,
        "code": code_version(step.code),
        "environment": environment_class(step.packages),
        **step.inputs(context),
    }
    return Key(blake3(msgspec.json.encode(terms, order="deterministic")).hexdigest(), terms)


def find(workspace: Workspace, key: Key) -> Receipt | None:
    """Return the receipt of the run that had this key, or None."""
    with workspace.catalog.read() as conn:
        found = conn.execute(select(step_cache.c.receipt_json).where(step_cache.c.key == key.digest)).scalar()
    return msgspec.json.decode(found, type=Receipt) if found else None


def keep(workspace: Workspace, key: Key, receipt: Receipt) -> None:
    """Remember a receipt. A later run with the same key replaces it."""
    row = {
        "key": key.digest,
        "step": receipt.step,
        "terms_json": msgspec.json.encode(key.terms, order="deterministic").decode(),
        "receipt_json": msgspec.json.encode(receipt).decode(),
        "run_id": receipt.run_id,
        "created_at": now(),
    }
    with workspace.catalog.write() as conn:
        changed = {name: value for name, value in row.items() if name != "key"}
        conn.execute(upsert(conn, step_cache).values(row).on_conflict_do_update(index_elements=["key"], set_=changed))


def differences(workspace: Workspace, key: Key) -> list[Difference] | None:
    """Compare a key with the step's last one, term by term. None when the step never ran."""
    query = select(step_cache.c.terms_json).where(step_cache.c.step == key.terms["step"])
    with workspace.catalog.read() as conn:
        last = conn.execute(query.order_by(step_cache.c.created_at.desc()).limit(1)).scalar()
    return None if last is None else compared(msgspec.json.decode(last), key.terms)


def last(workspace: Workspace, step: str) -> Receipt | None:
    """Return the receipt of a step's last run, whatever its key was; None when it never ran."""
    query = select(step_cache.c.receipt_json).where(step_cache.c.step == step)
    with workspace.catalog.read() as conn:
        found = conn.execute(query.order_by(step_cache.c.created_at.desc()).limit(1)).scalar()
    return msgspec.json.decode(found, type=Receipt) if found else None


def compared(before: Terms, after: Terms) -> list[Difference]:
    """Return the terms that differ, by name."""
    return [
        Difference(term, before.get(term), after.get(term))
        for term in sorted(before.keys() | after.keys())
        if before.get(term) != after.get(term)
    ]


@cache
def code_version(packages: tuple[str, ...]) -> str:
    """Return a digest of the text of some of Bascule's packages or modules: the code that a step calls."""
    hasher = blake3()
    for package in packages:
        for path in _sources(package):
            hasher.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return hasher.hexdigest()


def file_version(folder: Path, module: str) -> str:
    """Return a digest of a module's text in the project's folder, or of nothing when it is not there."""
    path = folder.joinpath(*module.split(".")).with_suffix(".py")
    return blake3(path.read_bytes()).hexdigest() if path.is_file() else ""


def _sources(package: str) -> Iterator[Path]:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return
    if found.submodule_search_locations:
        yield from sorted(Path(found.origin).parent.rglob("*.py"))
    else:
        yield Path(found.origin)
