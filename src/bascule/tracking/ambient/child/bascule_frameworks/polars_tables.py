"""Polars: `read_…`, `scan_…`, `write_…` and `sink_…`."""

from __future__ import annotations

from functools import partial
from types import ModuleType

from bascule_frameworks.pandas_tables import database_of
from bascule_frameworks.tables import before_writing, note_table
from bascule_frameworks.wrapping import Call, wrap

FRAMEWORK = "polars"
FORMS = ("csv", "parquet", "json", "ndjson", "ipc", "ipc_stream", "avro", "excel", "ods", "delta", "iceberg", "lines")


def wrap_polars(module: ModuleType) -> None:
    """Look at readers, scanners and writers."""
    for form in FORMS:
        for name in (f"read_{form}", f"scan_{form}"):
            wrap(FRAMEWORK, module, name, partial(_read, name=name))
        for cls, name in ((module.DataFrame, f"write_{form}"), (module.LazyFrame, f"sink_{form}")):
            wrap(FRAMEWORK, cls, name, partial(_wrote, name=name), before=before_writing)
    for name in ("read_database", "read_database_uri"):
        wrap(FRAMEWORK, module, name, partial(_asked, name=name))
    wrap(FRAMEWORK, module.DataFrame, "write_database", _stored)


def _read(call: Call, *, name: str) -> None:
    source = call.get(0, "source")
    # What a scan will read is only known when it is collected; asking for its columns would read.
    data = call.result if name.startswith("read_") and hasattr(call.result, "height") else None
    note_table("r", f"polars.{name}", source, data=data)


def _wrote(call: Call, *, name: str) -> None:
    target = call.get(1, "path" if name.startswith("sink_") else "file")
    if target is None:
        target = call.kwargs.get("workbook", call.kwargs.get("target"))
    note_table("w", f"polars.{name}", target, data=call.args[0] if name.startswith("write_") else None)


def _asked(call: Call, *, name: str) -> None:
    connection = call.get(1, "connection" if name == "read_database" else "uri")
    query = str(call.get(0, "query"))
    data = call.result if hasattr(call.result, "height") else None
    note_table("r", f"polars.{name}", database_of(connection), data=data, query=query, kind="sql")


def _stored(call: Call) -> None:
    source = f"{database_of(call.get(2, 'connection'))}#{call.get(1, 'table_name')}"
    note_table("w", "polars.write_database", source, data=call.args[0], kind="sql")
