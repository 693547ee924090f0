"""DuckDB: the statements of a script, the files that they name, and what relations write."""

from __future__ import annotations

import glob
import os
import re
from functools import partial
from types import ModuleType
from typing import Any

from bascule_frameworks.tables import before_writing, is_bascule, note_table
from bascule_frameworks.telling import allowed
from bascule_frameworks.wrapping import Call, wrap

FRAMEWORK = "duckdb"
STATEMENTS = ("sql", "query", "execute", "executemany", "from_query")
READERS = ("read_csv", "read_parquet", "read_json", "from_csv_auto", "from_parquet")
WRITERS = ("to_csv", "to_parquet", "write_csv", "write_parquet")
MOST_QUERIES = 2000
_TEXT = re.compile(r"'((?:[^']|'')*)'")
_FILE = re.compile(
    r"\.(csv|tsv|txt|parquet|json|jsonl|ndjson|xlsx|arrow|feather|db|duckdb|sqlite)(\.(gz|zst|bz2))?$", re.I
)
_ADDRESS = re.compile(r"^(https?|s3|gs|gcs|az|abfss|hf|r2)://", re.I)
_COPY_TO = re.compile(r"\bTO\s*$", re.I)
_COPIES = re.compile(r"\s*(COPY|EXPORT)\b", re.I)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.S)

_asked: set[int] = set()


def wrap_duckdb(module: ModuleType) -> None:
    """Look at the module's functions, connections and relations."""
    connection, relation = module.DuckDBPyConnection, module.DuckDBPyRelation
    for name in STATEMENTS:
        for owner, place in ((module, 0), (connection, 1)):
            wrap(FRAMEWORK, owner, name, partial(_stated, name=name, place=place), before=_before)
    for name in READERS:
        wrap(FRAMEWORK, module, name, partial(_read, name=name, place=0))
        wrap(FRAMEWORK, connection, name, partial(_read, name=name, place=1))
    for name in WRITERS:
        wrap(FRAMEWORK, relation, name, partial(_wrote, name=name), before=before_writing)
    wrap(FRAMEWORK, module, "connect", _connected)


def _before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    for query in (*args[:2], kwargs.get("query")):
        if isinstance(query, str) and _COPIES.match(query):
            before_writing(tuple(path for mode, path in named_files(query) if mode == "w"), {})
    return args, kwargs


def _stated(call: Call, *, name: str, place: int) -> None:
    query = call.get(place, "query")
    if not isinstance(query, str) or hash(query) in _asked or len(_asked) >= MOST_QUERIES or is_bascule():
        if len(_asked) >= MOST_QUERIES:
            allowed("queries of DuckDB", 0)
        return
    _asked.add(hash(query))
    for mode, path in named_files(query):
        note_table(mode, f"duckdb.{name}", path, query=query)


def named_files(query: str) -> list[tuple[str, str]]:
    """Return the files that a statement names in quotes: read (`r`), or written by COPY … TO (`w`)."""
    plain = _COMMENT.sub(" ", query)
    found = []
    for text in _TEXT.finditer(plain):
        path = text[1].replace("''", "'")
        if _COPY_TO.search(plain[: text.start()]) and _COPIES.match(plain):
            found.append(("w", path))
        elif _ADDRESS.match(path) or (os.path.exists(path) and path) or (_FILE.search(path) and glob.glob(path)):
            found.append(("r", path))
    return found


def _read(call: Call, *, name: str, place: int) -> None:
    if is_bascule():
        return
    argument = "file_globs" if "parquet" in name else "path_or_buffer"
    source = call.get(place, argument) or call.kwargs.get("file_glob") or call.kwargs.get("name")
    columns = [(str(one), str(kind)) for one, kind in zip(call.result.columns, call.result.types, strict=False)]
    note_table("r", f"duckdb.{name}", source, columns=columns)


def _wrote(call: Call, *, name: str) -> None:
    if is_bascule():
        return
    relation: Any = call.args[0]
    columns = [(str(one), str(kind)) for one, kind in zip(relation.columns, relation.types, strict=False)]
    note_table("w", f"duckdb.{name}", call.get(1, "file_name"), columns=columns)


def _connected(call: Call) -> None:
    path = call.get(0, "database") or ":memory:"
    if isinstance(path, str | os.PathLike) and not os.fspath(path).startswith(":") and not is_bascule():
        mode = "r" if call.get(1, "read_only") else "w"
        note_table(mode, "duckdb.connect", path)
