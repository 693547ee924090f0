"""What a user's SQL text says: `NAME@REF`, the tables it reads, and that it does nothing but read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import msgspec

from bascule.errors import InputError
from bascule.lake import engine
from bascule.lake.iceberg.types import quoted
from bascule.lake.narrowing import Condition, conditions

# Table functions that make rows out of their arguments. All others read files, settings or other queries.
FUNCTIONS = {"range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"}

_IDENTIFIER = re.compile(r"[^\W\d][\w$]*")
# As branch names, tags, ids and times are written; the last character is none that ends a clause.
_REF = re.compile(r"[\w./~@:+-]*[\w~]")
_DOLLAR = re.compile(r"\$(?:[^\W\d]\w*)?\$")
# Where AT is the keyword and no column: DuckDB 2 reserves the word, and half of the records have a column of that name.
_AT_CLAUSE = re.compile(r"\s*\(|\s+time\s+zone\b", re.IGNORECASE)
_EXPLAIN = re.compile(r"^\s*explain(\s+analyze)?\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TableName:
    """A table as SQL names it: `name`, `schema.name`, with `@ref` in the name when there is one."""

    schema: str
    name: str

    @property
    def text(self) -> str:
        """The name as one text."""
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that only reads.

    Attributes:
        text: the SQL to run, in which every `NAME@REF` is one quoted identifier.
        tables: the tables that it names and does not define itself.
        defined: the names that its WITH clauses define.
        lists: whether it is SHOW TABLES.
        wanted: what holds for every row that it reads, when it reads one table.
        count: the name of its one column, when it only counts the rows of one table; else "".
    """

    text: str
    tables: tuple[TableName, ...]
    defined: frozenset[str]
    lists: bool
    wanted: tuple[Condition, ...] = ()
    count: str = ""


def parse(connection: duckdb.DuckDBPyConnection, query: str) -> Statement:
    """Read a query's text.

    Raises:
        InputError: when it is not exactly one statement that reads, or DuckDB cannot parse it.
    """
    text = with_refs_quoted(query)
    with engine.told("This SQL cannot be read"):
        statements = connection.extract_statements(text)
    if len(statements) != 1:
        what = "nothing" if not statements else f"{len(statements)} statements"
        raise InputError(f"This SQL holds {what}; one SELECT is wanted.", hint="Run one query at a time.")
    match = _EXPLAIN.match(text)
    tree = _tree(connection, text[match.end() :] if match else text)
    tables: dict[TableName, None] = {}
    defined: set[str] = set()
    lists, named = False, 0
    for node in _nodes(tree):
        if "cte_map" in node:
            defined |= {entry["key"].casefold() for entry in node["cte_map"]["map"]}
        kind = node.get("type")
        if kind == "BASE_TABLE":
            named += 1
            tables[TableName(node.get("schema_name") or "", node["table_name"])] = None
        elif kind == "TABLE_FUNCTION":
            _refuse_function(node["function"]["function_name"])
        elif kind == "SHOW_REF" and node.get("show_type") == "SHOW_SPECIAL":
            lists = True
    count = "" if match else _count(tree)
    return Statement(text, tuple(tables), frozenset(defined), lists, conditions(tree, named), count)


def with_refs_quoted(query: str) -> str:
    """Return SQL in which every `NAME@REF` outside of strings, comments and quoted names is one quoted identifier.

    The ref follows without a space and may be quoted: `flights@v1`, `ops.flights@main~3`, `flights@"feat/x y"`. The
    column name `at`, which DuckDB reserves, is quoted on the way.
    """
    out: list[str] = []
    names: list[str] = []  # the identifier that ends where we are, with its namespace
    start = place = 0
    while place < len(query):
        end, kind = _token(query, place)
        token = query[place:end]
        if kind == "@" and names and (ref := _ref(query, end)):
            name, stop = ref
            out.append(quoted(".".join(names) + "@" + name))
            names, place, start = [], stop, stop
            continue
        if kind == "name":
            if token.lower() == "at" and not _AT_CLAUSE.match(query, end):
                query = f'{query[:place]}"{token}"{query[end:]}'
                token, end = query[place : end + 2], end + 2
            if not names or query[place - 1] != ".":
                out.append(query[start:place])
                names, start = [], place
            names.append(_bare(token))
        elif not (token == "." and names and query[place - 1] != "."):
            out.append(query[start:end])
            names, start = [], end
        place = end
    out.append(query[start:])
    return "".join(out)


def closes_what_it_opens(text: str) -> bool:
    """Tell whether a part of a query ends no parenthesis that began before it, and leaves nothing open."""
    depth = place = 0
    while place < len(text):
        end, kind = _token(text, place)
        if kind == "comment" or end > len(text):
            return False
        depth += {"(": 1, ")": -1}.get(text[place:end], 0)
        if depth < 0:
            return False
        place = end
    return depth == 0


def _ref(query: str, place: int) -> tuple[str, int] | None:
    if query[place : place + 1] in ('"', "'"):
        end, _ = _token(query, place)
        return _bare(query[place:end]), end
    match = _REF.match(query, place)
    if not match:
        return None
    text = match.group()
    for comment in ("--", "/*"):  # a comment ends a ref, and no branch is named like one
        text = text.partition(comment)[0]
    return (text, place + len(text)) if text else None


def _token(query: str, place: int) -> tuple[int, str]:
    """Return where the token that begins here ends, and what it is: a name, a text, a comment, or its own character."""
    here = query[place]
    if here in "'\"":
        escapes = here == "'" and place > 0 and query[place - 1] in "eE" and not _in_word(query, place - 2)
        return _closing(query, place, here, escapes), "name" if here == '"' else "text"
    if query.startswith("--", place):
        end = query.find("\n", place)
        return (len(query) if end < 0 else end), "comment"
    if query.startswith("/*", place):
        end = query.find("*/", place + 2)
        return (len(query) if end < 0 else end + 2), "comment"
    if here == "$" and (match := _DOLLAR.match(query, place)):
        end = query.find(match.group(), match.end())
        return (len(query) if end < 0 else end + len(match.group())), "text"
    if match := _IDENTIFIER.match(query, place):
        return match.end(), "name"
    if here.isdigit():  # so that the letters of 1e5 or 0xff are no name
        match = re.compile(r"[\w]+").match(query, place)
        return (match.end() if match else place + 1), "number"
    return place + 1, here


def _closing(query: str, place: int, quote: str, escapes: bool) -> int:
    place += 1
    while place < len(query):
        if escapes and query[place] == "\\":
            place += 2
        elif query[place] == quote:
            if query[place + 1 : place + 2] != quote:
                return place + 1
            place += 2
        else:
            place += 1
    return len(query)


def _in_word(query: str, place: int) -> bool:
    return place >= 0 and (query[place].isalnum() or query[place] in "_$")


def _bare(token: str) -> str:
    if token[:1] in ('"', "'"):
        return token[1:-1].replace(token[0] * 2, token[0])
    return token


def _tree(connection: duckdb.DuckDBPyConnection, text: str) -> Any:
    with connection.cursor() as cursor:
        found = cursor.execute("SELECT json_serialize_sql(?)", [text.strip().rstrip(";")]).fetchall()[0][0]
    tree = msgspec.json.decode(found)
    if tree["error"]:
        if tree.get("error_type") == "not implemented":
            raise InputError(
                "This SQL does something else than read.",
                hint="Write one SELECT. Tables change by `bascule run`, `bascule merge` and the Python API.",
            )
        raise InputError(
            f"This SQL cannot be read: {tree['error_message']}.",
            hint='Write one SELECT; `bascule sql "show tables"` lists what can be read.',
        )
    return tree


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _count(tree: Any) -> str:
    """Return what `SELECT count(*) FROM one_table`, with nothing else in it, calls its column; else ""."""
    node = tree["statements"][0]["node"]
    if node["type"] != "SELECT_NODE" or len(node["select_list"]) != 1 or node["cte_map"]["map"] or node["modifiers"]:
        return ""
    if any(node[part] for part in ("where_clause", "group_expressions", "group_sets", "having", "sample", "qualify")):
        return ""
    source, counted = node["from_table"], node["select_list"][0]
    plain = source["type"] == "BASE_TABLE" and not source["sample"] and not source["column_name_alias"]
    if not plain or counted.get("function_name") != "count_star" or counted["filter"] or counted["distinct"]:
        return ""
    return counted["alias"] or "count_star()"


def _refuse_function(name: str) -> None:
    if name.lower() not in FUNCTIONS:
        raise InputError(
            f"{name}(…) is not available as a table here: SQL reads tables and records, nothing else.",
            hint="Take files into a table first: bascule ingest, or a [source] in bascule.toml.",
        )
