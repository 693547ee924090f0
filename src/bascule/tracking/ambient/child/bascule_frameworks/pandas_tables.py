"""pandas: its readers, and the `to_…` of frames and series."""

from __future__ import annotations

import os
import sys
from functools import partial
from types import ModuleType
from typing import Any

from bascule_frameworks.addresses import without_secrets
from bascule_frameworks.tables import before_writing, note_table
from bascule_frameworks.wrapping import Call, wrap

FRAMEWORK = "pandas"
READERS = {
    "read_csv": "filepath_or_buffer", "read_table": "filepath_or_buffer", "read_fwf": "filepath_or_buffer",
    "read_parquet": "path", "read_feather": "path", "read_orc": "path", "read_json": "path_or_buf",
    "read_excel": "io", "read_pickle": "filepath_or_buffer", "read_hdf": "path_or_buf", "read_xml": "path_or_buffer",
    "read_stata": "filepath_or_buffer", "read_sas": "filepath_or_buffer", "read_spss": "path",
}  # fmt: skip
QUERIES = ("read_sql", "read_sql_query", "read_sql_table")
WRITERS = {
    "to_csv": "path_or_buf", "to_parquet": "path", "to_feather": "path", "to_orc": "path", "to_json": "path_or_buf",
    "to_excel": "excel_writer", "to_pickle": "path", "to_hdf": "path_or_buf", "to_stata": "path",
    "to_xml": "path_or_buffer",
}  # fmt: skip
FINGERPRINTED = 10_000


def wrap_pandas(module: ModuleType) -> None:
    """Look at readers and writers."""
    for name, argument in READERS.items():
        wrap(FRAMEWORK, module, name, partial(_read, name=name, argument=argument))
    for name in QUERIES:
        wrap(FRAMEWORK, module, name, partial(_asked, name=name))
    for cls in (module.DataFrame, module.Series):
        for name, argument in WRITERS.items():
            wrap(FRAMEWORK, cls, name, partial(_wrote, name=name, argument=argument), before=before_writing)
        wrap(FRAMEWORK, cls, "to_sql", _stored)


def _read(call: Call, *, name: str, argument: str) -> None:
    result = call.result
    if isinstance(result, dict):  # sheets
        for sheet, data in result.items():
            note_table("r", f"pandas.{name}", call.get(0, argument), data=data, query=f"sheet {sheet}")
        return
    note_table("r", f"pandas.{name}", call.get(0, argument), data=result if hasattr(result, "columns") else None)


def _wrote(call: Call, *, name: str, argument: str) -> None:
    target = call.get(1, argument)
    target = getattr(target, "path", target) if name == "to_excel" else target
    note_table("w", f"pandas.{name}", target, data=call.args[0])


def _asked(call: Call, *, name: str) -> None:
    query, connection = str(call.get(0, "table_name" if name == "read_sql_table" else "sql")), call.get(1, "con")
    data = call.result if hasattr(call.result, "columns") else None
    source = database_of(connection)
    version = _fingerprint(data) if data is not None else None
    note_table("r", f"pandas.{name}", source, data=data, query=query, kind="sql", version=version)


def _stored(call: Call) -> None:
    table, connection = call.get(1, "name"), call.get(2, "con")
    note_table("w", "pandas.to_sql", f"{database_of(connection)}#{table}", data=call.args[0], kind="sql")


def database_of(connection: Any) -> str:
    """Return the address of a database without its password, as far as a connection tells it."""
    if isinstance(connection, str):
        return without_secrets(connection)
    url = getattr(getattr(connection, "engine", connection), "url", None)
    if hasattr(url, "render_as_string"):
        if url.drivername.startswith("sqlite") and url.database and url.database != ":memory:":
            return f"sqlite:///{os.path.realpath(url.database)}"
        return without_secrets(str(url.render_as_string(hide_password=True)).replace(":***@", "@"))
    sqlite = sys.modules.get("sqlite3")
    if sqlite is not None and isinstance(connection, sqlite.Connection):
        files = [row[2] for row in connection.cursor().execute("PRAGMA database_list") if row[1] == "main"]
        return f"sqlite:///{files[0] if files and files[0] else ':memory:'}"
    return type(connection).__module__.partition(".")[0]


def _fingerprint(data: Any) -> str | None:
    """Return what tells a query's rows from others: a digest of how many there are, and of the first ten thousand."""
    import hashlib

    pandas = sys.modules["pandas"]
    try:
        hashed = pandas.util.hash_pandas_object(data.iloc[:FINGERPRINTED], index=False).to_numpy().tobytes()
    except TypeError:  # a column of what cannot be hashed
        return None
    names = repr([(str(name), str(kind)) for name, kind in zip(data.columns, data.dtypes, strict=False)])
    return f"rows-{hashlib.blake2b(hashed + names.encode() + str(len(data)).encode(), digest_size=16).hexdigest()}"
