"""SQLAlchemy: the statements of a script, and on which database, without its password."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

from bascule_frameworks.pandas_tables import database_of
from bascule_frameworks.tables import is_bascule, note_table
from bascule_frameworks.telling import allowed, warn
from bascule_frameworks.wrapping import depth

FRAMEWORK = "sqlalchemy"
MOST_STATEMENTS = 500
_READS = re.compile(r"\s*(SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)
_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|MERGE|REPLACE|COPY|CREATE\s+TABLE)\b", re.IGNORECASE)

_asked: set[tuple[int, int]] = set()


def wrap_engine(module: ModuleType) -> None:
    """Listen to all engines by the events that SQLAlchemy offers for this."""
    from sqlalchemy import event

    event.listen(module.Engine, "after_cursor_execute", _executed)


def _executed(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
    try:
        mark = (id(connection.engine), hash(statement))
        if depth() or mark in _asked:
            return
        if len(_asked) >= MOST_STATEMENTS:
            allowed("statements of SQLAlchemy", 0)
            return
        _asked.add(mark)
        reads, writes = _READS.match(statement), _WRITES.match(statement)
        if not (reads or writes) or is_bascule():
            return
        rows = cursor.rowcount if cursor.rowcount >= 0 else None
        columns = [(str(one[0]), "") for one in cursor.description or ()] if reads else []
        mode = "r" if reads else "w"
        source = database_of(connection)
        note_table(mode, "sqlalchemy.execute", source, rows=rows, columns=columns, query=statement, kind="sql")
    except Exception as error:
        warn(FRAMEWORK, "a statement is not captured", error)
