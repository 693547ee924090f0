"""Where a column of a query comes from: the columns of base tables that make it, row by row."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlglot import exp, parse_one
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, build_scope, traverse_scope

PLAIN = re.compile("[A-Za-z_][A-Za-z0-9_]*")
WORDS = frozenset(DuckDB.Tokenizer.KEYWORDS)  # a name among them may need its quotes
# A base table's columns, by the name that stands in the query.
Columns = Callable[[str], Mapping[str, str]]


@dataclass(frozen=True)
class Origin:
    """An expression over the rows of base tables.

    Attributes:
        sql: the expression, over columns without their tables.
        columns: the columns that it reads, as (table as named in the query, column).
    """

    sql: str
    columns: frozenset[tuple[str, str]]

    @property
    def table(self) -> str | None:
        """The table, when there is only one."""
        tables = {table for table, _ in self.columns}
        return tables.pop() if len(tables) == 1 else None

    @property
    def plain(self) -> bool:
        """Whether it is a column as it is."""
        return any(self.sql == exp.column(name, quoted=True).sql(dialect="duckdb") for _, name in self.columns)


def origin(sql: str, column: str, columns: Columns) -> Origin | None:
    """Return what a query's column is over base tables.

    None when it is an aggregate, a window function, comes from a union or nowhere, or the SQL is not understood.
    """
    try:
        scope = build_scope(parse_one(sql, dialect="duckdb"))
        found = None if scope is None else _expand(scope, column, columns, frozenset())
        if found is None:
            return None
        expression, read = found
        return Origin(expression.unnest().sql(dialect="duckdb"), frozenset(read)) if read else None
    except (SqlglotError, RecursionError, ValueError):
        return None


def tables_of(sql: str) -> set[str]:
    """The base tables that a query reads, as named in it; empty when the SQL is not understood."""
    try:
        return {_bare(table) for table in _base_tables(parse_one(sql, dialect="duckdb"))}
    except (SqlglotError, RecursionError):
        return set()


def with_table(sql: str, name: str, replacement: str) -> str:
    """A query that reads a replacement wherever it read a base table. Raises `SqlglotError` when not understood."""
    tree = parse_one(sql, dialect="duckdb")
    inner = parse_one(replacement, dialect="duckdb")
    for table in _base_tables(tree):
        if _bare(table).lower() == name.lower():
            alias = exp.TableAlias(this=exp.to_identifier(table.alias_or_name, quoted=True))
            table.replace(exp.Subquery(this=inner.copy(), alias=alias))
    return tree.sql(dialect="duckdb")


def _base_tables(tree: exp.Expr) -> list[exp.Table]:
    # A scope's sources tell tables from common table expressions of the same name.
    found: list[exp.Table] = []
    for scope in traverse_scope(tree):
        for source in scope.sources.values():
            if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
                found.extend(node for node in scope.tables if node is source)
    return found


def _bare(table: exp.Table) -> str:
    """A table's name without its alias, and without quotes that it does not need: `"orders"` is `orders`."""
    bare = table.copy()
    bare.set("alias", None)
    for part in bare.parts:
        if isinstance(part, exp.Identifier) and PLAIN.fullmatch(part.name) and part.name.upper() not in WORDS:
            part.set("quoted", False)
    return str(bare.sql(dialect="duckdb"))


def _expand(
    scope: Scope, name: str, columns: Columns, expanding: frozenset[tuple[int, str]]
) -> tuple[exp.Expr, set[tuple[str, str]]] | None:
    """A select's column as an expression over base tables, in parentheses, and the columns that it reads."""
    if not isinstance(scope.expression, exp.Select) or (id(scope), name.lower()) in expanding:
        return None
    expanding = expanding | {(id(scope), name.lower())}
    projection = _projection(scope, name)
    if projection is None:
        return None
    if projection.find(exp.AggFunc, exp.Window, exp.Subquery):
        return None
    read: set[tuple[str, str]] = set()
    # A wrapper, so that the root itself can be replaced.
    wrapper = exp.Paren(this=projection.copy())
    for leaf in list(wrapper.find_all(exp.Column)):
        found = _leaf(scope, leaf, columns, expanding)
        if found is None:
            return None
        expression, sources = found
        read |= sources
        leaf.replace(expression)
    return wrapper, read


def _projection(scope: Scope, name: str) -> exp.Expr | None:
    starred = False
    for item in scope.expression.expressions:
        if item.alias_or_name.lower() == name.lower() and not item.is_star:
            return item.unalias()  # type: ignore[no-any-return]
        starred = starred or item.is_star
    return exp.column(name, quoted=True) if starred else None


def _leaf(
    scope: Scope, leaf: exp.Column, columns: Columns, expanding: frozenset[tuple[int, str]]
) -> tuple[exp.Expr, set[tuple[str, str]]] | None:
    for alias, source in scope.sources.items():
        if leaf.table and alias.lower() != leaf.table.lower():
            continue
        if isinstance(source, exp.Table):
            named = _bare(source)
            known = {column.lower(): column for column in columns(named)}
            if leaf.name.lower() in known:
                name = known[leaf.name.lower()]
                return exp.column(name, quoted=True), {(named, name)}
        elif isinstance(source, Scope):
            found = _expand(source, leaf.name, columns, expanding)
            if found is not None:
                return found
    # Not a column of any source: DuckDB lets a select use its own earlier names.
    return None if leaf.table else _expand(scope, leaf.name, columns, expanding)


def columns_read(sql: str, columns: Columns) -> frozenset[tuple[str, str]] | None:
    """Return every column of base tables that a query reads anywhere, as (table as named in it, column).

    A star reads all columns. None when the SQL is not understood; then it may read anything.
    """
    try:
        scopes = traverse_scope(parse_one(sql, dialect="duckdb"))
    except (SqlglotError, RecursionError):
        return None
    found: set[tuple[str, str]] = set()
    for scope in scopes:
        tables = {
            alias.lower(): _bare(source) for alias, source in scope.sources.items() if isinstance(source, exp.Table)
        }
        known = {alias: {name.lower(): name for name in columns(table)} for alias, table in tables.items()}
        for column in scope.columns:
            for alias, table in tables.items():
                if column.table.lower() in ("", alias) and column.name.lower() in known[alias]:
                    found.add((table, known[alias][column.name.lower()]))
        for item in scope.expression.expressions if isinstance(scope.expression, exp.Select) else ():
            if item.is_star:
                of = item.table.lower() if isinstance(item, exp.Column) else ""
                for alias, table in tables.items():
                    if of in ("", alias):
                        found |= {(table, name) for name in known[alias].values()}
    return frozenset(found)


@dataclass(frozen=True)
class Influence:
    """Which columns of base tables make a query's result, as (table as named in it, column).

    Attributes:
        outputs: for each column of the result, in lower case, those that its values are computed from.
        rows: those that decide which rows there are: conditions, joins, groups, order.
    """

    outputs: Mapping[str, frozenset[tuple[str, str]]]
    rows: frozenset[tuple[str, str]]


def influence(sql: str, columns: Columns) -> Influence | None:
    """Tell for each column of a query's result what it is computed from, through subqueries, aggregates and unions.

    Nothing that the query reads is missing from the answer: what is in no output chooses rows. None when the SQL is not
    understood.
    """
    read = columns_read(sql, columns)
    try:
        scopes = traverse_scope(parse_one(sql, dialect="duckdb"))
        if read is None or not scopes:
            return None
        outputs = {
            name: frozenset(_made_of(scopes[-1], name, columns, frozenset())) for name in _names(scopes[-1], columns)
        }
        rows = {found for scope in scopes for found in _chosen_by(scope, columns)}
    except (SqlglotError, RecursionError, ValueError):
        return None
    made = frozenset[tuple[str, str]]().union(*outputs.values()) if outputs else frozenset()
    return Influence(outputs, frozenset(rows) | (read - made))


def _names(scope: Scope, columns: Columns) -> list[str]:
    """The names of a query's result, in lower case."""
    if _unions(scope):
        return _names(_unions(scope)[0], columns)
    found: list[str] = []
    for item in scope.expression.expressions if isinstance(scope.expression, exp.Select) else ():
        if not item.is_star:
            found.append(item.alias_or_name.lower())
            continue
        of = item.table.lower() if isinstance(item, exp.Column) else ""
        for alias, source in scope.sources.items():
            if of in ("", alias.lower()):
                given = columns(_bare(source)) if isinstance(source, exp.Table) else _names(source, columns)
                found += [name.lower() for name in given]
    return found


def _made_of(scope: Scope, name: str, columns: Columns, seen: frozenset[tuple[int, str]]) -> set[tuple[str, str]]:
    if (id(scope), name) in seen:
        return set()
    seen = seen | {(id(scope), name)}
    if _unions(scope):
        names = _names(_unions(scope)[0], columns)
        place = names.index(name) if name in names else -1
        found: set[tuple[str, str]] = set()
        for part in _unions(scope):
            other = _names(part, columns)
            if 0 <= place < len(other):
                found |= _made_of(part, other[place], columns, seen)
        return found
    if not isinstance(scope.expression, exp.Select):
        return set()
    projection = _projection(scope, name)
    return set() if projection is None else _leaves(scope, projection, columns, seen)


def _leaves(scope: Scope, tree: exp.Expr, columns: Columns, seen: frozenset[tuple[int, str]]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for leaf in tree.find_all(exp.Column):
        found |= _resolved(scope, leaf, columns, seen)
    return found


def _resolved(
    scope: Scope, leaf: exp.Column, columns: Columns, seen: frozenset[tuple[int, str]]
) -> set[tuple[str, str]]:
    name = leaf.name.lower()
    for alias, source in scope.sources.items():
        if leaf.table and alias.lower() != leaf.table.lower():
            continue
        if isinstance(source, exp.Table):
            known = {column.lower(): column for column in columns(_bare(source))}
            if name in known:
                return {(_bare(source), known[name])}
        elif isinstance(source, Scope) and name in _names(source, columns):
            return _made_of(source, name, columns, seen)
    return set() if leaf.table else _made_of(scope, name, columns, seen)


def _chosen_by(scope: Scope, columns: Columns) -> set[tuple[str, str]]:
    """What the clauses of one SELECT beside its projections read."""
    found: set[tuple[str, str]] = set()
    if isinstance(scope.expression, exp.Select):
        for key in ("where", "joins", "group", "having", "qualify", "order", "distinct"):
            clause = scope.expression.args.get(key)
            for part in clause if isinstance(clause, list) else [clause]:
                if isinstance(part, exp.Join):
                    part = part.args.get("on")
                if isinstance(part, exp.Expr):
                    found |= _leaves(scope, part, columns, frozenset())
    return found


def parts_of_query(sql: str, column: str) -> tuple[str, str] | None:
    """A column's expression, and the query without what it gives, both written in one way; None when not understood.

    Two columns with equal parts are the same, whatever they are called.
    """
    try:
        tree = parse_one(sql, dialect="duckdb")
        scope = build_scope(tree)
    except (SqlglotError, RecursionError):
        return None
    if scope is None or not isinstance(tree, exp.Select):
        return None
    if (inner := _passed_on(tree, column)) is not None:
        return parts_of_query(*inner)
    projection = _projection(scope, column)
    if projection is None:
        return None
    rest = tree.copy()
    rest.set("expressions", [exp.Star()])
    return projection.sql(dialect="duckdb", normalize=True, comments=False), rest.sql(
        dialect="duckdb", normalize=True, comments=False
    )


def _passed_on(tree: exp.Select, column: str) -> tuple[str, str] | None:
    """The query that a query passes a column on from, and its name there; None where it does more than that."""
    kept = {key for key, value in tree.args.items() if value} - {"expressions", "from", "from_", "with", "with_"}
    source = tree.find(exp.From)
    if kept or source is None or source.parent is not tree:
        return None
    body, named = source.this, {cte.alias: cte.this for cte in tree.ctes}
    inner = body.this if isinstance(body, exp.Subquery) else named.get(body.sql(dialect="duckdb").strip('"'))
    renamed = any(one.alias_column_names for one in (body, *tree.ctes))
    sampled = {key for key, value in body.args.items() if value} - {"this", "alias"}
    if not isinstance(inner, exp.Select) or renamed or sampled:
        return None
    chosen = {one.alias_or_name: one.unalias() for one in tree.expressions}
    found = chosen.get(column, chosen.get("*"))
    plain = all(isinstance(one, exp.Column) or one == exp.Star() for one in chosen.values())  # unnest() makes rows
    if found is None or not plain:
        return None
    needed = [cte for cte in tree.ctes if cte.this is not inner]
    read = {table.name for table in inner.find_all(exp.Table)}
    if any(cte.alias in read for cte in needed):
        inner = inner.copy()
        for cte in needed:
            inner = inner.with_(cte.args["alias"].copy(), cte.this.copy(), copy=False)
    return inner.sql(dialect="duckdb"), column if isinstance(found, exp.Star) else found.name


def _unions(scope: Scope) -> list[Scope]:
    """The parts of a union; empty for anything else."""
    found: list[Scope] = getattr(scope, "set_operation_scopes", None) or getattr(scope, "union_scopes", None) or []
    return found
