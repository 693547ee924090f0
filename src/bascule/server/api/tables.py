"""Tables and SQL over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from bascule.lake import TableDiff
from bascule.project.batches import Batch, bring_in
from bascule.project.pushing import push_rows
from bascule.project.required import required_in
from bascule.server.api.history import BASE, RefQuery
from bascule.server.api.sending import ROWS_BYTES, sent_as
from bascule.server.reads import history, tables
from bascule.server.reads.asking import Answer, ask
from bascule.server.routes import Call, Route


class RowsQuery(msgspec.Struct, frozen=True):
    """How many rows of which state."""

    ref: str = "main"
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100


class TableDiffQuery(msgspec.Struct, frozen=True):
    """Between which states, how many rows of each kind to show, and whether to read all rows for columns' figures."""

    after: str
    before: str = "main"
    limit: Annotated[int, msgspec.Meta(ge=0, le=1000)] = tables.DIFF_ROWS
    whole: bool | None = None


class Sql(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query that only reads. `params` fill its `?` (a list) or `$name` (an object)."""

    sql: str
    ref: str = "main"
    params: list[Any] | dict[str, Any] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None


class AddQuery(msgspec.Struct, frozen=True):
    """Where rows go. `key` names the columns that tell rows apart, for a table that is made now."""

    branch: str = "main"
    key: tuple[str, ...] = ()
    tolerate: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0


class Bring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file on the web that is to be fetched, and where its rows go."""

    source: str
    branch: str = "main"
    key: tuple[str, ...] = ()
    mode: Literal["append", "replace"] = "append"
    tolerate: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0


class Brought(msgspec.Struct, frozen=True):
    """What became of a batch; without a commit it was there already.

    Attributes:
        rejected: records that could not be read and went to the table `quarantine`.
    """

    table: str
    rows: int
    rejected: int
    commit: str | None
    checks: int
    problems: list[dict[str, Any]]


def list_tables(call: Call[RefQuery, None]) -> list[tables.TableInfo]:
    """The tables of a state."""
    return tables.list_tables(call.workspace, call.query.ref)


def one_table(call: Call[RefQuery, None]) -> tables.TableDetail:
    """A table with its columns, contract, last checks and versions."""
    return tables.get_table(call.workspace, call.query.ref, call.path["table"])


def rows(call: Call[RowsQuery, None]) -> Answer:
    """Rows of a table, as they lie in its files."""
    return tables.sample(call.workspace, call.query.ref, call.path["table"], call.query.limit)


def diff(call: Call[TableDiffQuery, None]) -> TableDiff:
    """What columns, rows and values differ in a table between two states."""
    query = call.query
    return tables.rows_between(
        call.workspace, query.before, query.after, call.path["table"], query.limit, whole=query.whole
    )


def sql(call: Call[None, Sql]) -> Answer:
    """Answer one SQL query over tables at any ref and over the records. It cannot write."""
    most = call.settings.sql_rows
    return ask(
        call.workspace,
        call.body.sql,
        call.body.params,
        ref=call.body.ref,
        rows=min(call.body.limit or most, most),
        seconds=call.settings.sql_seconds,
    )


def add_rows(call: Call[AddQuery, bytes]) -> Brought:
    """Add rows to a table: JSON objects or Arrow IPC. Under one Idempotency-Key, or one content, they come in once."""
    kind, once = sent_as(call)
    batch = push_rows(
        call.workspace,
        call.path["table"],
        call.body,
        kind,
        into=history.demand_branch(call.workspace, call.query.branch),
        key=call.query.key,
        once=once,
        tolerate=call.query.tolerate,
        author=call.principal.name,
    )
    return _brought(batch)


def bring(call: Call[None, Bring]) -> Brought:
    """Fetch a file from a public web address into a table. Nothing inside of the server's own network is fetched."""
    body = call.body
    into = history.demand_branch(call.workspace, body.branch)
    told: dict[str, Any] = {"key": body.key, "mode": body.mode, "tolerate": body.tolerate, "confined": True}
    told["required"] = required_in(call.workspace.folder.parent)
    batch = bring_in(call.workspace, call.path["table"], body.source, into, author=call.principal.name, **told)
    return _brought(batch)


def _brought(batch: Batch) -> Brought:
    found = batch.as_dict()
    return Brought(**{name: found[name] for name in Brought.__struct_fields__})


ROUTES = [
    Route("GET", f"{BASE}/tables", list_tables, "read"),
    Route("GET", f"{BASE}/tables/{{table}}", one_table, "read"),
    Route("GET", f"{BASE}/tables/{{table}}/rows", rows, "read"),
    Route("POST", f"{BASE}/tables/{{table}}/rows", add_rows, "write", max_body=ROWS_BYTES),
    Route("POST", f"{BASE}/tables/{{table}}/ingest", bring, "write"),
    Route("GET", f"{BASE}/tables/{{table}}/diff", diff, "read"),
    Route("POST", f"{BASE}/sql", sql, "read"),
]
