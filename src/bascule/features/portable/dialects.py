"""Writes a plan in the words of one engine, with sqlglot: the plan's own SQL, and in it the SQL of the views.

A view's SQL is resolved first (`*` is written out, names get their tables, types are found from the tables' columns),
because how a time or a division is written depends on types. What has no words in an engine is refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlglot import ErrorLevel, exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope

from bascule.errors import InputError, suggestion
from bascule.features.columns import body
from bascule.features.portable.functions import prepared, rewritten, unknown_functions
from bascule.features.portable.plan import EXAMPLES, Plan

#: What a plan is written for, by the names that sqlglot has too.
DIALECTS = ("duckdb", "spark", "databricks", "snowflake", "bigquery", "trino")
#: The columns of a table with their DuckDB types, by the table's name; None where it is not known.
Columns = Callable[[str], Mapping[str, str] | None]
_WORD = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"


def written(
    plan: Plan, dialect: str, columns: Columns, tables: Callable[[str], str], *, pretty: bool = True
) -> tuple[str, tuple[str, ...]]:
    """Return a plan as the SQL of an engine, which its parser has read, and the functions that it takes on trust.

    Args:
        dialect: one of `DIALECTS`.
        columns: what is known of a table that a view or the examples read.
        tables: where the engine has a table: its name there, in the engine's own words.

    Raises:
        InputError: no such dialect, or SQL that cannot be written in it; says what.
    """
    if dialect not in DIALECTS:
        raise InputError(
            f"There is no dialect {dialect!r}: SQL is written for {', '.join(DIALECTS)}.",
            hint=suggestion(dialect, DIALECTS, "dialect"),
        )
    told = {EXAMPLES: "The entity rows"}
    tree = _tree(prepared(plan.sql), dialect)
    trusted: dict[str, None] = {}
    for name, sql in plan.sources.items():
        source, odd = _source(sql, name, dialect, columns, tables, told.get(name, "A view's SQL"))
        trusted |= dict.fromkeys(odd)
        for table in list(tree.find_all(exp.Table)):
            if table.name == name and not table.db:
                table.replace(exp.Subquery(this=source.copy(), alias=table.args["alias"]))
    if dialect == "snowflake":
        _unquote(tree)
    try:
        text = tree.sql(dialect=dialect, pretty=pretty, unsupported_level=ErrorLevel.RAISE, comments=False)
        parse_one(text, dialect=dialect)
    except (SqlglotError, RecursionError) as error:
        raise _refused("The plan", dialect, error) from None
    return text, tuple(trusted)


def _source(
    sql: str, head: str, dialect: str, columns: Columns, tables: Callable[[str], str], what: str
) -> tuple[exp.Expr, list[str]]:
    try:
        tree = prepared(parse_one(body(sql), dialect="duckdb"))
        for comment in tree.walk():
            comment.comments = None
        places = _apart(tree, head)
        known = {alias: dict(found) for alias, name in places.items() if (found := columns(name)) is not None}
        tree = _resolved(tree, known) if len(known) == len(places) else tree
        tree = _typed(tree, known)
        tree = rewritten(tree, dialect, as_written=True)
        odd = [] if dialect == "duckdb" else unknown_functions(tree)
        for table in tree.find_all(exp.Table):
            if table.name in places and not table.db:
                there = exp.to_table(tables(places[table.name]), dialect=dialect)
                table.set("this", there.this)
                table.set("db", there.args.get("db"))
                table.set("catalog", there.args.get("catalog"))
        return tree, odd
    except (SqlglotError, RecursionError) as error:
        raise _refused(what, dialect, error) from None


def _resolved(tree: exp.Expr, known: Mapping[str, Mapping[str, str]]) -> exp.Expr:
    return qualify(tree, schema=dict(known), dialect="duckdb", quote_identifiers=False, validate_qualify_columns=False)


def _typed(tree: exp.Expr, known: Mapping[str, Mapping[str, str]]) -> exp.Expr:
    """Annotate types, again and again while what a time zone makes of a time is learned from it."""
    for _ in range(8):
        tree = annotate_types(tree, schema=dict(known), dialect="duckdb")
        zoned = [
            node
            for node in tree.find_all(exp.Anonymous)
            if node.name == "__zone" and isinstance(node.expressions[1].type, exp.DataType)
        ]
        zoned = [node for node in zoned if not node.expressions[1].is_type(exp.DType.UNKNOWN)]
        for node in reversed(zoned):  # the innermost first: it is found last
            local = node.expressions[1].is_type(exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMPLTZ)
            call = exp.Anonymous(this="__local" if local else "__instant", expressions=node.expressions)
            node.replace(exp.cast(call, "TIMESTAMP" if local else "TIMESTAMPTZ", dialect="duckdb"))
        if not zoned:
            return tree
    return tree


def _apart(tree: exp.Expr, head: str) -> dict[str, str]:
    """Give base tables names of one part, so that engines and sqlglot tell them alike; return the names they had.

    Common table expressions get names that begin with `head`: some engines know them all in one place.
    """
    bases, places = set(), dict[str, str]()
    for scope in traverse_scope(tree):
        for source in scope.sources.values():
            if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
                bases.add(id(source))
    for table in list(tree.find_all(exp.Table)):
        alias = table.alias or table.name
        if id(table) in bases:
            name = f"{table.db}.{table.name}" if table.db else table.name
            place = next((one for one, had in places.items() if had == name), f"__t{len(places)}")
            places[place] = name
            table.set("this", exp.to_identifier(place))
            table.set("db", None)
        elif isinstance(table.this, exp.Identifier):
            table.set("this", exp.to_identifier(f"{head}_{_plain(table.name)}"))
        else:
            continue
        table.set("alias", exp.TableAlias(this=exp.to_identifier(_plain(alias)), columns=_alias_columns(table)))
    for cte in tree.find_all(exp.CTE):
        cte.args["alias"].set("this", exp.to_identifier(f"{head}_{_plain(cte.alias)}"))
    for column in tree.find_all(exp.Column):
        if column.table and not column.args.get("db"):
            column.set("table", exp.to_identifier(_plain(column.table)))
    return places


def _alias_columns(table: exp.Table) -> list[Any]:
    alias = table.args.get("alias")
    return list(alias.args.get("columns") or ()) if alias is not None else []


def _plain(name: str) -> str:
    return "".join(letter if letter in _WORD else "_" for letter in name)


def _tree(text: str | exp.Expr, dialect: str) -> exp.Expr:
    tree = parse_one(text, dialect="duckdb") if isinstance(text, str) else text
    return rewritten(tree, dialect)


def _unquote(tree: exp.Expr) -> None:
    """Leave plain names to the engine's own spelling: a warehouse's columns are upper case there, and quotes say so.

    The names of what the query gives stay as they are.
    """
    select = tree.this if isinstance(tree, exp.Subquery) else tree
    kept = {id(one.args["alias"]) for one in select.expressions if isinstance(one, exp.Alias)}
    for name in tree.find_all(exp.Identifier):
        if id(name) not in kept and name.name and all(letter in _WORD for letter in name.name):
            name.set("quoted", name.name[0].isdigit())


def _refused(what: str, dialect: str, error: BaseException) -> InputError:
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return InputError(
        f"{what} cannot be written for {dialect}: {first}",
        hint="Write it with functions that both engines have, or make the training set with the engine duckdb.",
    )
