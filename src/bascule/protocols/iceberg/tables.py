"""Tables over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from blake3 import blake3

from bascule.errors import InputError
from bascule.lake.foreign import commits, reports, tables
from bascule.lake.foreign.commits import TableChange
from bascule.lake.foreign.names import Identifier, identifier
from bascule.lake.foreign.refusals import NoSuchTable
from bascule.lake.iceberg.tables import Table
from bascule.lake.masking import refuse_raw
from bascule.protocols.iceberg.messages import (
    NOTHING,
    Answer,
    Ask,
    NewTable,
    Registration,
    Rename,
    Report,
    TableCommit,
    Transaction,
)
from bascule.protocols.iceberg.namespaces import paged

SNAPSHOTS = ("all", "refs")


def list_all(ask: Ask) -> Answer:
    """The tables of a namespace."""
    found = tables.listed(ask.workspace.history, ask.state().commit, ask.namespace)
    return Answer(paged(ask, "identifiers", [named(one) for one in found]))


def create(ask: Ask) -> Answer:
    """Make a table; or describe it and give it a place, for a client that makes it by a commit."""
    new, state = ask.read(NewTable), ask.state()
    name = identifier(ask.namespace, new.name)
    state.writable()
    if new.location is not None:
        raise InputError(
            f"The location of a table cannot be chosen: {new.location!r}.",
            hint="Leave it out: Bascule gives every table a folder of its own in the workspace's lake.",
        )
    tables.demand_free(ask.workspace.history, state.commit, name)
    table = tables.described(
        ask.lake, name, new.schema, spec=new.partition_spec, order=new.write_order, properties=new.properties
    )
    if new.stage_create:
        return Answer({"metadata": table.metadata, "config": {}})
    return _loaded(tables.create(ask.lake, state, name, table, ask.author()))


def register(ask: Ask) -> Answer:
    """Let a table be there again by its metadata document."""
    told = ask.read(Registration)
    name = identifier(ask.namespace, told.name)
    table = tables.register(ask.lake, ask.state(), name, told.metadata_location, ask.author(), overwrite=told.overwrite)
    return _loaded(table)


def load(ask: Ask) -> Answer:
    """A table's metadata: with all of its snapshots, or those that its branches and tags name."""
    which = ask.query.get("snapshots", "all").lower()
    if which not in SNAPSHOTS:
        raise InputError(f"snapshots={which!r} is not known.", hint=f"Known: {', '.join(SNAPSHOTS)}.")
    state = ask.state().commit
    table = tables.loaded(ask.lake, state, ask.table)
    # Who has the metadata has the files: an engine reads them without asking us again.
    value = ask.workspace.history.read(state, ask.table.table_path)
    refuse_raw(ask.workspace, state, ask.table.local, value, how="The files of this table")
    answer = _loaded(table, only_refs=which == "refs")
    if _matches(ask.headers.get("if-none-match"), answer.headers["etag"]):
        return Answer(None, 304, answer.headers)
    return answer


def exists(ask: Ask) -> Answer:
    """Whether there is such a table."""
    if not tables.exists(ask.workspace.history, ask.state().commit, ask.table):
        raise NoSuchTable(ask.table)
    return NOTHING


def commit(ask: Ask) -> Answer:
    """Change one table, or make it."""
    told = ask.read(TableCommit)
    change = TableChange(ask.new_table, told.requirements, told.updates)
    refuse_raw(
        ask.workspace,
        ask.state().commit,
        ask.table.local,
        ask.workspace.history.read(ask.state().commit, ask.table.table_path),
        how="The files of this table",
    )
    (table,) = commits.commit(ask.lake, ask.state(), [change], ask.author())
    return Answer({"metadata-location": str(table.path), "metadata": table.metadata})


def transact(ask: Ask) -> Answer:
    """Change several tables, all or none."""
    told = ask.read(Transaction)
    changes = []
    for one in told.table_changes:
        if one.identifier is None:
            raise InputError("A change in a transaction does not name its table.", hint="Send its identifier.")
        changes.append(TableChange(one.identifier.identifier(), one.requirements, one.updates))
    commits.commit(ask.lake, ask.state(), changes, ask.author())
    return NOTHING


def drop(ask: Ask) -> Answer:
    """Take a table off the branch. Its files stay, whatever is asked: other branches and older commits have them."""
    tables.drop(ask.lake, ask.state(), ask.table, ask.author())
    return NOTHING


def rename(ask: Ask) -> Answer:
    """Give a table another name."""
    told = ask.read(Rename)
    tables.rename(ask.lake, ask.state(), told.source.identifier(), told.destination.identifier(), ask.author())
    return NOTHING


def report(ask: Ask) -> Answer:
    """Keep what an engine says of a scan or a commit."""
    told, state = ask.read(Report), ask.state()
    if not tables.exists(ask.workspace.history, state.commit, ask.table):
        raise NoSuchTable(ask.table)
    reports.keep(ask.workspace, ask.table, state, ask.who, told.report_type, told.snapshot_id, ask.body)
    return NOTHING


def named(one: Identifier) -> dict[str, Any]:
    """Return an identifier as bodies have it."""
    return {"namespace": list(one.namespace), "name": one.name}


def _loaded(table: Table, *, only_refs: bool = False) -> Answer:
    metadata = _with_refs_only(table.metadata) if only_refs else table.metadata
    body = msgspec.json.encode({"metadata-location": str(table.path), "metadata": metadata, "config": {}})
    return Answer(body, headers={"etag": f'"{blake3(body).hexdigest(16)}"'})


def _with_refs_only(metadata: Mapping[str, Any]) -> dict[str, Any]:
    named_by = {ref["snapshot-id"] for ref in (metadata.get("refs") or {}).values()}
    kept = [s for s in metadata.get("snapshots") or () if s["snapshot-id"] in named_by]
    return {**metadata, "snapshots": kept}


def _matches(header: str | None, tag: str) -> bool:
    tags = [one.strip().removeprefix("W/") for one in (header or "").split(",")]
    return tag in tags or "*" in tags
