"""Training sets: they are written anew without the subject's rows, and keep their ids."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import delete, insert, select, update

from bascule.catalog.schema import settings, training_sets
from bascule.errors import EnvironmentProblem
from bascule.history import Workspace
from bascule.lake.forgetting import Forgotten, Request
from bascule.project.erasing.contents import Sought

OLD = "forgetting-blob"  # the setting that names a training set's old file until it is deleted


def from_training_sets(request: Request) -> list[Forgotten]:
    """Write the training sets without the subject's rows; the set keeps its id, and so the models theirs."""
    removed = 0
    if not request.dry_run:
        _drop_old(request.workspace)
    for name, rows in sets_with(request.workspace, dict(request.key)):
        removed += rows
        if not request.dry_run:
            _rewrite(request.workspace, name, dict(request.key))
    return [Forgotten("training sets", removed)] if removed else []


def _rewrite(workspace: Workspace, name: str, subject: dict[str, Any]) -> None:
    with workspace.catalog.read() as conn:
        old = conn.execute(select(training_sets.c.blob).where(training_sets.c.id == name)).scalar_one()
    table = pq.read_table(pa.BufferReader(workspace.store.get(old)))
    stays = table.filter(pc.invert(_belongs(table, subject)))
    sink = pa.BufferOutputStream()
    pq.write_table(stays, sink, compression="zstd")
    fresh = workspace.store.put(sink.getvalue().to_pybytes())
    with workspace.catalog.write() as conn:
        conn.execute(update(training_sets).where(training_sets.c.id == name).values(blob=fresh, rows=stays.num_rows))
        conn.execute(delete(settings).where(settings.c.key == OLD))
        conn.execute(insert(settings).values(key=OLD, value=old))
    _drop_old(workspace)


def _drop_old(workspace: Workspace) -> None:
    """Delete the file of a training set that was rewritten, also when that was cut short."""
    with workspace.catalog.read() as conn:
        old = conn.execute(select(settings.c.value).where(settings.c.key == OLD)).scalar()
    if old is not None:
        workspace.store.delete(old)
        with workspace.catalog.write() as conn:
            conn.execute(delete(settings).where(settings.c.key == OLD))


def sets_with(workspace: Workspace, subject: dict[str, Any]) -> list[tuple[str, int]]:
    """The training sets that hold rows of a subject, with how many."""
    found = []
    with workspace.catalog.read() as conn:
        sets = conn.execute(select(training_sets.c.id, training_sets.c.blob)).all()
    for row in sets:
        try:
            file = pq.ParquetFile(pa.BufferReader(workspace.store.get(row.blob)))
            table = file.read(columns=[*subject, *_texts(file.schema_arrow)])
        except pa.ArrowException as error:
            raise EnvironmentProblem(
                f"The training set {row.id} cannot be read, so it cannot be said whether it holds the subject: {error}",
                hint="`bascule doctor` tells what is damaged.",
            ) from None
        count = pc.sum(_belongs(table, subject)).as_py() or 0
        if count:
            found.append((row.id, int(count)))
    return found


def _texts(schema: pa.Schema) -> list[str]:
    return [one.name for one in schema if pa.types.is_string(one.type) or pa.types.is_large_string(one.type)]


def _belongs(table: pa.Table, subject: dict[str, Any]) -> pa.Array:
    """Tell which rows have the key, or a distinctive value of it in a text of another name."""
    mask = pa.array([False] * table.num_rows)
    if set(subject) <= set(table.column_names):
        keyed = pa.array([True] * table.num_rows)
        for column, value in subject.items():
            cells = pc.cast(table.column(column).combine_chunks(), pa.string())
            keyed = pc.and_(keyed, pc.fill_null(pc.equal(cells, str(value)), False))
        mask = keyed
    values = pa.array(Sought(subject).values, pa.string())
    for name in _texts(table.schema) if len(values) else ():
        mask = pc.or_(mask, pc.is_in(pc.cast(table.column(name).combine_chunks(), pa.string()), values))
    return mask
