"""Masks: what a role that may not see personal data reads in a column instead of its values.

They are put on where a `Session` makes a table out of files, so no alias, view, join or CTE of a query reaches the
values. Which columns are masked, and how, contracts say; they belong to an upper room, which is asked through `RULES`.

Columns are known by their ids and tables by theirs: who renames a column or a table on a branch still reads masks. The
rules are those of `main` together with those of the state that is read, so an older state shows no more than today's.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, NamedTuple
from weakref import WeakSet

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from bascule.history import Commit, Workspace
from bascule.lake import instances, objects
from bascule.lake.iceberg.types import quoted
from bascule.lake.objects import Object
from bascule.seeing import Masked, current_role

Kind = Literal["hash", "null", "partial", "bins", "year", "month", "day", "prefix"]
KEY_VARIABLE = "BASCULE_MASK_KEY"
SHOWN, HIDDEN = 32, "(hidden)"
# Gives the masks of a state: table to column to mask.
RULES = "bascule.contracts.masking:masks_at"
MAIN = "main"
LENGTHS = {"year": 4, "month": 7, "day": 10}  # of dates as ISO 8601 writes them
ADMIN = "admin"
# Columns of records that repeat what tables hold: as JSON by column, or as raw text.
IN_JSON = {"predictions": ("inputs", "features"), "check_results": ("sample_json",)}
AS_TEXT = {
    "quarantine": ("raw", "reason"),
    "check_results": ("observed",),
    "runs": ("error",),  # it quotes the values that could not be read
    "jobs": ("result_json",),  # so does what a failed job says
}


class Mask(NamedTuple):
    """How a column is masked, and for which roles; an amount where the kind has one."""

    kind: Kind
    amount: float
    roles: frozenset[str]


class Veil(NamedTuple):
    """A view with masks on: of which table, its masked columns, and the queries without and with the masks."""

    table: str
    columns: tuple[str, ...]
    rows: str
    shown: str


@dataclass(slots=True)
class Masks:
    """The masks that one role has at one state of a workspace."""

    workspace: Workspace
    role: str
    by_name: Mapping[str, Mapping[str, Mask]]
    by_id: Mapping[str, Mapping[int, Mask]]
    function: str = field(default_factory=lambda: f"m_{secrets.token_hex(8)}")
    _known: WeakSet[duckdb.DuckDBPyConnection] = field(default_factory=WeakSet)

    @property
    def names(self) -> frozenset[str]:
        """The names of all masked columns, in lower case."""
        return frozenset(column for columns in self.by_name.values() for column in columns)

    def of(self, name: str, value: Object) -> dict[str, Mask]:
        """Return the masks of a table's columns, by their names at the state of its object."""
        fields = objects.load(value, self.workspace.lake_folder, name).schema["fields"]
        named, ids = self.by_name.get(name.casefold(), {}), self.by_id.get(str(value.get("uuid")), {})
        found = {}
        for one in fields:
            mask = ids.get(one["id"]) or named.get(one["name"].casefold())
            if mask is not None:
                found[one["name"]] = mask
        return found

    def over(self, connection: duckdb.DuckDBPyConnection, name: str, value: Object, query: str) -> str:
        """Return the query of a table with its masks on."""
        found = self.of(name, value)
        if not found:
            return query
        kinds = dict(_columns(connection, query))
        items = [f"{self._expression(connection, c, kinds[c], mask)} AS {quoted(c)}" for c, mask in found.items()]
        return f"SELECT * REPLACE ({', '.join(items)}) FROM ({query})"

    def over_record(self, connection: duckdb.DuckDBPyConnection, name: str, query: str) -> tuple[str, tuple[str, ...]]:
        """Return the query of a record table in which what repeats masked columns is hidden, and the columns hidden."""
        if not self.by_name:
            return query, ()
        there = dict(_columns(connection, query))
        items = [f"CASE WHEN false THEN {quoted(c)} END AS {quoted(c)}" for c in AS_TEXT.get(name, ()) if c in there]
        for column in IN_JSON.get(name, ()):
            if column in there:
                self._know(connection)
                items.append(f"{self.function}_json({quoted(column)}::VARCHAR) AS {quoted(column)}")
        hidden = tuple(c for c in (*AS_TEXT.get(name, ()), *IN_JSON.get(name, ())) if c in there)
        return (f"SELECT * REPLACE ({', '.join(items)}) FROM ({query})" if items else query), hidden

    def _expression(self, connection: duckdb.DuckDBPyConnection, column: str, kind: str, mask: Mask) -> str:
        cell, nothing = quoted(column), f"CASE WHEN false THEN {quoted(column)} END"
        if mask.kind == "hash":
            self._know(connection)
            return f"{self.function}({cell}::VARCHAR)"
        if mask.kind in ("partial", "prefix"):
            return masked_text(column, mask)
        if mask.kind == "bins" and _is_number(kind):
            return f"CAST(floor({cell} / {mask.amount!r}) * {mask.amount!r} AS DOUBLE)"
        if mask.kind in ("year", "month", "day"):
            if kind.startswith(("DATE", "TIMESTAMP")):
                return f"CAST(date_trunc('{mask.kind}', {cell}) AS {kind})"
            if kind == "VARCHAR":  # 1984-05-17: as far as the unit goes
                return f"left({cell}, {LENGTHS[mask.kind]})"
        return nothing  # also a kind that does not fit the column: rather nothing than the value

    def _know(self, connection: duckdb.DuckDBPyConnection) -> None:
        if connection in self._known:
            return
        self._known.add(connection)
        instances.keep_apart(connection)
        key, names = key_of(self.workspace), self.names
        options: dict[str, Any] = {"type": "arrow", "null_handling": "special"}
        connection.create_function(self.function, lambda cells: hashed(cells, key), ["VARCHAR"], "VARCHAR", **options)
        hide: Callable[[Any], Any] = lambda cells: _without(cells, names)  # noqa: E731
        connection.create_function(f"{self.function}_json", hide, ["VARCHAR"], "VARCHAR", **options)


def masks_for(workspace: Workspace, commit: Commit) -> Masks | None:
    """Return the masks that the current role has at a state; None for who sees all."""
    role = current_role()
    if role is None or role == ADMIN:
        return None
    by_name: dict[str, dict[str, Mask]] = {}
    by_id: dict[str, dict[int, Mask]] = {}
    head = workspace.history.resolve(MAIN)
    for state in (commit, head):  # what main says goes before what the state said
        for table, columns in _rules()(workspace, state).items():
            held = {column.casefold(): mask for column, mask in columns.items() if role in mask.roles}
            if not held:
                continue
            by_name.setdefault(table.casefold(), {}).update(held)
            value = workspace.history.read(state, objects.PREFIX + table)
            if value is not None:
                fields = objects.load(value, workspace.lake_folder, table).schema["fields"]
                ids = {one["id"]: held[one["name"].casefold()] for one in fields if one["name"].casefold() in held}
                by_id.setdefault(str(value.get("uuid")), {}).update(ids)
    return Masks(workspace, role, by_name, by_id) if by_name else None


def hidden_names(workspace: Workspace) -> frozenset[str]:
    """Return the names, in lower case, of all columns that the current role reads masked; for what was kept of rows."""
    masks = masks_for(workspace, workspace.history.resolve(MAIN))
    return masks.names if masks is not None else frozenset()


def hidden_columns(workspace: Workspace, commit: Commit, name: str, *values: Object | None) -> frozenset[str]:
    """Return the columns of some states of a table whose values the current role may not see, by their names there."""
    masks = masks_for(workspace, commit) if current_role() is not None else None
    if masks is None:
        return frozenset()
    return frozenset(column for value in values if value is not None for column in masks.of(name, value))


def refuse_raw(workspace: Workspace, commit: Commit, name: str, *values: Object | None, how: str) -> None:
    """Refuse to hand out something in which a table's values stand unmasked.

    Args:
        values: the states of the table that would be shown.
        how: what was asked for, as the start of a sentence.

    Raises:
        Masked: the current role may not see some of its columns; says which, and the way out.
    """
    hidden = sorted(hidden_columns(workspace, commit, name, *values))
    if hidden:
        raise Masked(
            f"{how} would show {', '.join(hidden)} of {name}, which the role {current_role()} reads masked.",
            hint=f'Ask with SQL, which masks them (POST /api/bascule/v1/sql, or: bascule sql "select … from {name}"), '
            "or with a token of a role that may see them.",
        )


def refuse_written(
    veils: Mapping[Any, Veil],
    into: str,
    columns_without: Callable[[Mapping[Any, Veil]], list[str] | None],
    columns: list[str],
) -> None:
    """Refuse to write what a query yields when it reads masked columns: masks would take the place of the values.

    Args:
        veils: the views with masks on that it may read.
        columns_without: gives the query's columns as if those tables had no masked ones, None when it fails so.
        columns: those that it has.

    Raises:
        Masked: naming the columns and the ways out.
    """
    if columns_without(veils) == columns:
        return
    for name, veil in veils.items():
        if columns_without({name: veil}) != columns:
            hidden = sorted(veil.columns)
            raise Masked(
                f"This query reads {veil.table}, of which the role {current_role()} sees {', '.join(hidden)} masked: "
                f"the masks would be written into {into} for the values.",
                hint=f"Leave {'it' if len(hidden) == 1 else 'them'} out of the query (also out of *), or write as a "
                "role that may see them.",
            )


def key_of(workspace: Workspace) -> bytes:
    """Return the key of the hashes: `BASCULE_MASK_KEY`, else the workspace's own, which only its owner may read.

    It is made on first use. Who has it can find out by trying which value a hash stands for. Machines that share a
    catalog share the key by the environment.
    """
    given = os.environ.get(KEY_VARIABLE)
    if given:
        return given.encode()
    file = workspace.folder / "secrets" / "mask.key"
    if not file.exists():
        file.parent.mkdir(mode=0o700, exist_ok=True)
        fresh = file.with_name(f"{secrets.token_hex(8)}.new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
            target.write(secrets.token_hex(32).encode())
            target.flush()
            os.fsync(target.fileno())
        try:
            os.link(fresh, file)  # who comes second takes the first one's
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return file.read_bytes()


def hashed(cells: pa.ChunkedArray | pa.Array, key: bytes) -> pa.Array:
    """Return HMAC-SHA-256 of texts in hexadecimal, 128 bits of it; null stays null. Equal texts have equal hashes."""
    distinct = pc.unique(cells)
    texts = [
        None if text is None else hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:SHOWN]
        for text in distinct.to_pylist()
    ]
    found = pa.array(texts, pa.string()).take(pc.index_in(cells, distinct))
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _without(cells: pa.ChunkedArray | pa.Array, names: frozenset[str]) -> pa.Array:
    return pa.array([None if text is None else _hidden(text, names) for text in cells.to_pylist()], pa.string())


def _hidden(text: str, names: frozenset[str]) -> str:
    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: HIDDEN if k.casefold() in names else clean(v) for k, v in value.items()}
        return [clean(one) for one in value] if isinstance(value, list) else value

    try:
        return json.dumps(clean(json.loads(text)), ensure_ascii=False)
    except ValueError:
        return HIDDEN


def masked_text(column: str, mask: Mask) -> str:
    """Return the SQL of a column's cells under the masks `partial` and `prefix`."""
    shown, text = int(mask.amount), f"{quoted(column)}::VARCHAR"
    if mask.kind == "prefix":
        return f"left({text}, {shown}) || '*'"
    last = f"least({shown}, length({text}) // 3)"
    return (
        f"CASE WHEN contains({text}, '@') THEN left({text}, 1) || '***@' || split_part({text}, '@', -1) "
        f"ELSE repeat('*', length({text}) - {last}) || right({text}, {last}) END"
    )


def _is_number(kind: str) -> bool:
    return (
        kind.startswith(("DECIMAL", "DOUBLE", "FLOAT")) or kind.removeprefix("U").endswith("INT") or kind == "INTEGER"
    )


def _columns(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in connection.execute(f"DESCRIBE {query}").fetchall()]


def _rules() -> Callable[[Workspace, Commit], Mapping[str, Mapping[str, Mask]]]:
    module, _, name = RULES.partition(":")
    found: Callable[[Workspace, Commit], Mapping[str, Mapping[str, Mask]]] = getattr(import_module(module), name)
    return found
