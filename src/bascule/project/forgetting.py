"""Forgetting a subject everywhere: every state of the table, the online store, the logs; with a proof that stays."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import select

from bascule.catalog import actor, audit, new_id
from bascule.catalog.schema import training_sets
from bascule.errors import NotFound
from bascule.history import Workspace
from bascule.lake import forget as forget_rows

Subject = dict[str, str]


@dataclass(frozen=True)
class Forgotten:
    """What was removed, or would be.

    Attributes:
        table: the table that was named.
        rows: rows of the table, over all its files.
        files: files that were rewritten.
        states: states of the table that held such rows.
        online: keys of online stores.
        logged: rows of the prediction log and of ground truth.
        models: models that learned from such rows, as `delays@3`.
        proof: the id of the audit entry, or empty for a dry run.
    """

    table: str
    rows: int
    files: int
    states: int
    online: int
    logged: int
    models: tuple[str, ...]
    proof: str


def forget_subject(
    workspace: Workspace, table: str, subject: Subject, *, dry_run: bool = False, reason: str = ""
) -> Forgotten:
    """Remove every row of a table that belongs to a subject, from every branch, tag and earlier commit.

    The proof is an audit entry that does not hold the value: a keyed hash of it, with the key thrown away, so that it
    cannot be found again by trying values. Killed half-way, the same command finishes the work.

    Args:
        subject: column to value; all of them name the subject.

    Raises:
        NotFound: no branch or tag has such a table.
        InputError: the table has no such column.
    """
    from bascule.project.forgetting_places import logged_rows, online_keys

    if not any(
        workspace.history.digest(ref.head, f"tables/{table}")
        for ref in (*workspace.history.branches(), *workspace.history.tags())
    ):
        known = {
            p.partition("/")[2]
            for b in workspace.history.branches()
            for p in workspace.history.digests(b.head, "tables/")
        }
        raise NotFound("table", table, known)
    models = _models_that_learned(workspace, table)
    rows = forget_rows(workspace, table, subject, dry_run=dry_run)
    online = online_keys(workspace, subject, dry_run=dry_run)
    logged = logged_rows(workspace, subject, dry_run=dry_run)
    found = Forgotten(table, rows.rows, rows.files, len(rows.commits), online, logged, models if rows.rows else (), "")
    if dry_run:
        return found
    return msgspec.structs.replace(found, proof=_prove(workspace, subject, found, reason))  # type: ignore[type-var]


def _prove(workspace: Workspace, subject: Subject, found: Forgotten, reason: str) -> str:
    name = new_id("forget")
    digest = hmac.new(secrets.token_bytes(32), msgspec.json.encode(subject, order="sorted"), "sha256").hexdigest()
    detail: dict[str, Any] = {
        "id": name,
        "table": found.table,
        "columns": sorted(subject),
        "subject": digest,
        "rows": found.rows,
        "files": found.files,
        "states": found.states,
        "online": found.online,
        "logged": found.logged,
        "models": list(found.models),
        "reason": reason,
    }
    with workspace.catalog.write() as conn:
        audit.append(conn, actor=actor(), action="forget", subject=f"tables/{found.table}", detail=detail)
    return name


def _models_that_learned(workspace: Workspace, table: str) -> tuple[str, ...]:
    """The versions on any branch whose training set was joined from a state that had the table."""
    with workspace.catalog.read() as conn:
        sets = {row.id for row in conn.execute(select(training_sets)) if _reads(row.spec_json, table)}
    found = set()
    for branch in workspace.history.branches():
        for path, model in workspace.history.entries(branch.head, "models/"):
            for version in model["versions"].values():
                if version["training_set"] in sets:
                    found.add(f"{path.partition('/')[2]}@{version['version']}")
    return tuple(sorted(found))


def _reads(definition: str, table: str) -> bool:
    return table.rpartition(".")[2] in definition
