"""Who needs a blob: versions of models, training sets, file sets and runs, and what to do if it is lost."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import select

from bascule.catalog.schema import nodes, run_io, runs, training_sets
from bascule.errors import BasculeError
from bascule.history import Workspace
from bascule.lake.filesets.references import references, states
from bascule.lake.maintenance.references import digests_in
from bascule.registry.withdrawals import blobs_of_version

MOST = 5


class Holder(NamedTuple):
    """Who needs a blob, as people name it, and what brings it back; empty when only a copy does."""

    name: str
    next: str


def holders(workspace: Workspace, digests: Collection[str]) -> dict[str, list[Holder]]:
    """Return who needs some blobs, in any state of the history and in the records, by the blob's digest.

    Costs a walk over all objects of the history.
    """
    found: dict[str, dict[Holder, None]] = {digest: {} for digest in digests}
    _of_models(workspace, found)
    _of_files(workspace, found)
    _of_records(workspace, found)
    return {digest: list(who) for digest, who in found.items()}


def told(found: Collection[Holder]) -> str:
    """Return holders in words: the first few, and what to do."""
    if not found:
        return "nothing that is known needs it; bascule gc deletes it when nothing does"
    names = [one.name for one in found]
    more = f" and {len(names) - MOST} more" if names[MOST:] else ""
    ways = "; or ".join(dict.fromkeys(one.next for one in found if one.next))
    need = "need" if names[1:] else "needs"
    return f"{', '.join(names[:MOST])}{more} {need} it; put a whole copy in its place" + (
        f"; or {ways}" if ways else ""
    )


def _of_models(workspace: Workspace, found: dict[str, dict[Holder, None]]) -> None:
    with workspace.catalog.read() as conn:
        for body in conn.execute(select(nodes.c.body), execution_options={"yield_per": 1000}).scalars():
            if b'"versions"' not in bytes(body) or not any(one.encode() in bytes(body) for one in found):
                continue
            model = msgspec.json.decode(bytes(body))
            for number, entry in model["versions"].items() if model.get("kind") == "model" else ():
                parts = {"card": entry.get("card"), "contract": entry.get("contract")}
                runtime = (model.get("runtimes") or {}).get(number)
                for digest in found.keys() & (digests_in(entry) | digests_in(runtime)):
                    part = next((name for name, one in parts.items() if one == digest), "")
                    answers = digest in blobs_of_version(entry, runtime)
                    if not part and not answers:
                        continue
                    name = f"{model['name']}@{number}"
                    way = f"train and deploy another version, then: bascule model delete {name}" if answers else ""
                    found[digest][Holder(f"the {part} of models/{name}" if part else f"models/{name}", way)] = None


def _of_files(workspace: Workspace, found: dict[str, dict[Holder, None]]) -> None:
    seen: set[bytes] = set()
    for name, commit, value in states(workspace):
        holder = Holder(
            f"files/{name} at {commit[:10]}", f"remove it and add the files again: bascule files add {name}"
        )
        try:
            named = set(references(workspace.store, value, seen))
        except BasculeError:  # a part of its own list is what is damaged
            named = digests_in(value)
        for digest in found.keys() & named:
            found[digest][holder] = None


def _of_records(workspace: Workspace, found: dict[str, dict[Holder, None]]) -> None:
    t, r, io = training_sets.c, runs.c, run_io.c
    asked: list[tuple[Any, str, str]] = [
        (
            select(t.blob, t.name).where(t.blob.in_(found)),
            "training set {}",
            "remove it and make it again: bascule run",
        ),
        (select(r.code_snapshot, r.id).where(r.code_snapshot.in_(found)), "the code of run {}", ""),
        (select(io.version, io.run_id).where(io.version.in_(found)), "run {}", ""),
    ]
    with workspace.catalog.read() as conn:
        for query, name, way in asked:
            for digest, who in conn.execute(query.distinct()):
                found[digest][Holder(name.format(who), way)] = None
