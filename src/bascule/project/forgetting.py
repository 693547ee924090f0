"""Forgetting a subject everywhere: every state of the table, training sets, the online store, the logs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import delete, insert, select, update

from bascule.catalog import actor, audit
from bascule.catalog.schema import settings, training_sets
from bascule.features import LmdbStore
from bascule.history import Workspace, holding, holds
from bascule.lake import ForgetReport, Forgotten, forget, forget_rows, records
from bascule.lake.forgetting import Request
from bascule.lake.iceberg.types import literal, quoted
from bascule.project.querying import query
from bascule.project.remembering import let_go
from bascule.serving.log import GROUND_TRUTH, PREDICTIONS, move_segments
from bascule.store import digest_of


@dataclass(frozen=True)
class Forgetting:
    """What was removed, or would be.

    Attributes:
        report: what left the table and the places beside it.
        models: versions that learned from the subject's rows, as `delays@3`; they are named, not removed.
    """

    report: ForgetReport
    models: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The forgetting as one JSON object."""
        return {**self.report.as_dict(), "models": list(self.models)}


def forget_subject(
    workspace: Workspace,
    table: str,
    subject: dict[str, str],
    *,
    dry_run: bool = False,
    reason: str = "",
    despite_hold: str = "",
) -> Forgetting:
    """Remove every row of a table that belongs to a subject, from every branch, tag and earlier commit.

    Its rows leave training sets, online stores and the logs of answers too. The audit log keeps what was removed, from
    where and why, without the value. Killed half-way, the same command finishes the work.

    Args:
        subject: column to value; all of them name the subject.
        dry_run: say what would be removed, and change nothing.
        despite_hold: why it is done although a legal hold stands against it.

    Raises:
        Held: when rows that are to go are under legal hold, and no reason is given. Nothing was changed.
        NotFound: no state has such a table, or the table never had such a column.
    """
    if not dry_run and not despite_hold.strip():
        _refuse_held(workspace, table, subject)
    learned = {name for name, _ in _sets_with(workspace, subject)}
    models = _models_from(workspace, learned)
    if not dry_run:
        models = _noted(workspace, _note_of(table, subject), models)
    report = forget(
        workspace,
        table,
        subject,
        dry_run=dry_run,
        author=actor(),
        hooks=(_training_sets, _online, _logged, _states),
        despite_hold=despite_hold,
    )
    if not dry_run:
        detail = {"id": report.id, "reason": reason, "models": list(models), "elsewhere": _counted(report)}
        with workspace.catalog.write() as conn:
            conn.execute(delete(settings).where(settings.c.key == _note_of(table, subject)))
            audit.append(conn, actor=actor(), action="forget", subject=f"tables/{table}", detail=detail)
    return Forgetting(report, models)


def _refuse_held(workspace: Workspace, table: str, subject: dict[str, str]) -> None:
    """Raise `Held` before anything is changed: also when only the logs that come last are held."""
    with workspace.catalog.read() as conn:
        if not holds.listed(conn):
            return
    planned = forget(workspace, table, subject, dry_run=True, hooks=(_logged,))
    found = holding.against(workspace, table, planned.commits) if planned.rows else []
    if planned.elsewhere:
        found += [one for log in (PREDICTIONS, GROUND_TRUTH) for one in holding.against(workspace, log, ())]
    holding.overrule(workspace, found, table, "")


def _note_of(table: str, subject: Iterable[str]) -> str:
    """Return what a forgetting that is under way is noted as. It names columns, and no values."""
    return f"forgetting:{digest_of(','.join((table, *sorted(subject))).encode())}"


def _noted(workspace: Workspace, key: str, models: tuple[str, ...]) -> tuple[str, ...]:
    """Note which models learned from the subject, with those that an attempt noted which was killed.

    Later nobody could tell: their training sets are rewritten.
    """
    with workspace.catalog.write() as conn:
        held = conn.execute(select(settings.c.value).where(settings.c.key == key)).scalar()
        found = tuple(sorted({*models, *msgspec.json.decode(held or "[]", type=list[str])}))
        conn.execute(delete(settings).where(settings.c.key == key))
        conn.execute(insert(settings).values(key=key, value=msgspec.json.encode(found).decode()))
    return found


def _counted(report: ForgetReport) -> dict[str, int]:
    return {place.place: place.rows for place in report.elsewhere}


def _training_sets(request: Request) -> list[Forgotten]:
    """Write the training sets without the subject's rows; the set keeps its id, and so the models theirs."""
    removed = 0
    for name, rows in _sets_with(request.workspace, dict(request.key)):
        removed += rows
        if not request.dry_run:
            _rewrite(request.workspace, name, dict(request.key))
    return [Forgotten("training sets", removed)] if removed else []


def _rewrite(workspace: Workspace, name: str, subject: dict[str, Any]) -> None:
    with workspace.catalog.read() as conn:
        old = conn.execute(select(training_sets.c.blob).where(training_sets.c.id == name)).scalar_one()
    table = pq.read_table(pa.BufferReader(workspace.store.get(old)))
    kept = table.filter(pc.invert(_belongs(table, subject)))
    sink = pa.BufferOutputStream()
    pq.write_table(kept, sink, compression="zstd")
    fresh = workspace.store.put(sink.getvalue().to_pybytes())
    with workspace.catalog.write() as conn:
        conn.execute(update(training_sets).where(training_sets.c.id == name).values(blob=fresh, rows=kept.num_rows))
    workspace.store.delete(old)


def _sets_with(workspace: Workspace, subject: dict[str, Any]) -> list[tuple[str, int]]:
    """The training sets that hold rows of a subject, with how many."""
    found = []
    with workspace.catalog.read() as conn:
        sets = conn.execute(select(training_sets.c.id, training_sets.c.blob)).all()
    for row in sets:
        file = pq.ParquetFile(pa.BufferReader(workspace.store.get(row.blob)))
        if not set(subject) <= set(file.schema_arrow.names):
            continue
        count = pc.sum(_belongs(file.read(columns=list(subject)), subject)).as_py() or 0
        if count:
            found.append((row.id, int(count)))
    return found


def _belongs(table: pa.Table, subject: dict[str, Any]) -> pa.ChunkedArray:
    mask = None
    for column, value in subject.items():
        same = pc.fill_null(pc.equal(pc.cast(table.column(column), pa.string()), str(value)), False)
        mask = same if mask is None else pc.and_(mask, same)
    return mask


def _online(request: Request) -> list[Forgotten]:
    """Take the subject's timelines, of all branches, out of the online store: of entities that its columns name."""
    if not request.workspace.online_folder.exists():
        return []
    store = LmdbStore(request.workspace.online_folder)
    removed = store.count(request.key) if request.dry_run else store.forget(request.key)
    return [Forgotten("online stores", removed)] if removed else []


def _logged(request: Request) -> list[Forgotten]:
    """Take the answers about the subject, and the truth about them, out of the logs."""
    workspace = request.workspace
    move_segments(workspace, sealing=True)
    known = records.names(workspace)
    if PREDICTIONS not in known:
        return []
    terms = [f"json_extract_string(inputs, '$.{quoted(c)}') = {literal(str(v))}" for c, v in request.key.items()]
    where = " AND ".join(terms)
    ids = [row["prediction_id"] for row in query(workspace, f"SELECT prediction_id FROM predictions WHERE {where}")]
    if not ids:
        return []
    asked: dict[str, Any] = {"dry_run": request.dry_run, "author": actor(), "despite_hold": request.despite_hold}
    found = forget_rows(workspace, PREDICTIONS, where, **asked).rows
    if GROUND_TRUTH in known:
        listed = ", ".join(literal(name) for name in ids)
        told = f"prediction_id IN ({listed})"
        found += forget_rows(workspace, GROUND_TRUTH, told, **asked).rows
    return [Forgotten("logs", found)]


def _states(request: Request) -> list[Forgotten]:
    """Delete what checks keep of data files: extremes and the values around a median may be the subject's."""
    if not request.dry_run:
        with request.workspace.catalog.write() as conn:
            let_go(conn)
    return []


def _models_from(workspace: Workspace, sets: set[str]) -> tuple[str, ...]:
    found = set()
    for branch in workspace.history.branches():
        for path, model in workspace.history.entries(branch.head, "models/"):
            for version in model["versions"].values():
                if version["training_set"] in sets:
                    found.add(f"{path.partition('/')[2]}@{version['version']}")
    return tuple(sorted(found))
