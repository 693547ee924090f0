"""Bascule's own tables: what a session or the lake read and wrote, and at which commit and snapshot."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

from bascule_frameworks.tables import note_table
from bascule_frameworks.wrapping import Call, wrap

FRAMEWORK = "bascule"
WRITERS = ("append", "overwrite", "upsert", "delete")


def wrap_session(module: ModuleType) -> None:
    """Look at the queries of sessions, which `bascule.sql` asks too."""
    wrap(FRAMEWORK, module.Session, "sql", _asked)


def wrap_lake(module: ModuleType) -> None:
    """Look at what is written to tables."""
    for name in WRITERS:
        wrap(FRAMEWORK, module.Lake, name, partial(_wrote, name=name))


def _asked(call: Call) -> None:
    session, query = call.args[0], str(call.get(1, "query"))
    parse = __import__("bascule.lake.sqltext", fromlist=["parse"]).parse
    for name in parse(session.connection, query).tables:
        plain, _, ref = name.text.partition("@")
        state = session.workspace.history.resolve(ref) if ref else session.commit
        digest = session.workspace.history.digest(state, f"tables/{plain}")
        if digest is None:
            continue
        value = session.workspace.history.object(digest)
        read = _read_of(session, name)
        note_table(
            "r",
            "bascule.sql",
            f"tables/{plain}@{state.id}",
            rows=value.get("rows"),
            columns=read,
            query=query,
            kind="bascule",
            version=digest,
        )


def _read_of(session: Any, name: Any) -> list[tuple[str, str]]:
    found = session._read.get((name.schema.casefold(), name.name.casefold()))
    fields = found[1].schema["fields"] if found else ()
    return [(str(field["name"]), str(field["type"])) for field in fields]


def _wrote(call: Call, *, name: str) -> None:
    lake, table = call.args[0], call.get(1, "name")
    commit = getattr(call.result, "commit", call.result)
    digest = lake.workspace.history.digest(commit, f"tables/{table}")
    if digest is None:
        return
    value = lake.workspace.history.object(digest)
    source = f"tables/{table}@{commit.id}"
    note_table("w", f"bascule.{name}", source, rows=value.get("rows"), kind="bascule", version=digest)
