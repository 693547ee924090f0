"""Joined sets: entity rows with their features, kept as they were asked for: every row once, in order.

They are training sets of no particular model: any tool may learn from them. They live beside those that models are made
of, in the same records and as the same Parquet files, so that lineage, forgetting and cleaning know them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Row, select
from sqlalchemy.exc import IntegrityError

from bascule.catalog import now, schema
from bascule.errors import NotFound
from bascule.history import Workspace
from bascule.store import digest_of

ROW_GROUP = 65_536
SHORT = 8
KIND = "joined"


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a joined set was asked for. Together with the rows' bytes it decides the set's id.

    Attributes:
        name: what it is for; the set is called `NAME@<first 8 of its id>`.
        population: the SQL of the entity rows, or a word for where they came from.
        prediction_time: the column that says as of when features are read.
        where: the condition that entity rows had to meet.
        known_at: what became known after it is left out (µs since 1970 UTC).
        label: an SQL expression over the entity rows.
        maturity: how long after the prediction time a label becomes known (µs).
        split: `time`, `entity` or `folds`; empty for none.
        validation, test: the sizes of the splits, spans or shares.
        group: the columns whose values stay together.
        folds: how many.
        seed: of the split by entities.
    """

    kind: str = KIND
    name: str
    population: str
    prediction_time: str | None = None
    where: str = ""
    known_at: int | None = None
    label: str = ""
    maturity: int | None = None
    split: str = ""
    validation: str | float = 0.0
    test: str | float = 0.0
    group: tuple[str, ...] = ()
    folds: int = 0
    seed: int = 0


class JoinedSet(msgspec.Struct, frozen=True, kw_only=True):
    """One joined set; the same rows asked for in the same way are the same set.

    Attributes:
        id: BLAKE3 over the definition and the bytes.
        name: `NAME@` and the first eight characters of the id.
        blob: digest of the Parquet file in the store.
        features: the names of the features, in order.
        types: column to Arrow type, in order.
        splits: rows by split or fold; empty when there is none.
        left_out: rows whose label is not mature (`label is not known yet`), or that no split may use.
        commit_id: the commit whose tables it was made from.
        created_at: microseconds since 1970 UTC.
    """

    id: str
    name: str
    blob: str
    rows: int
    features: tuple[str, ...]
    types: dict[str, str]
    asked: Asked
    feature_set: dict[str, Any]
    splits: dict[str, int]
    left_out: dict[str, int]
    commit_id: str
    created_at: int


def keep_joined(
    ws: Workspace, rows: pa.RecordBatchReader, asked: Asked, feature_set: dict[str, Any], *, commit_id: str
) -> JoinedSet:
    """Write rows to the store as they come, in their order, and record the set; memory holds two row groups.

    Args:
        rows: the entity rows with their features; the columns `split` or `fold` where `asked` has one.
        feature_set: JSON-able.
    """
    with tempfile.TemporaryDirectory(dir=ws.temporary_folder) as folder:
        file = Path(folder) / "rows.parquet"
        count, splits, left_out = _write(rows, file, asked)
        blob = ws.store.put_file(file)
    said = {"asked": asked, "feature_set": feature_set, "spec": {"name": asked.name, "population": asked.population}}
    identity = digest_of(msgspec.json.encode([said, blob], order="deterministic"))
    made = JoinedSet(
        id=identity,
        name=f"{asked.name}@{identity[:SHORT]}",
        blob=blob,
        rows=count,
        features=tuple(feature_set["features"]),
        types={field.name: str(field.type) for field in rows.schema},
        asked=asked,
        feature_set=feature_set,
        splits=splits,
        left_out=left_out,
        commit_id=commit_id,
        created_at=now(),
    )
    return _record(ws, made, said)


def read_joined(ws: Workspace, name: str) -> JoinedSet:
    """Return a joined set by its name or the beginning of its id (four characters at least).

    Raises:
        NotFound: there is none, or more than one begins so.
    """
    sets = [one for one in joined_sets(ws) if _means(name, one)]
    if len(sets) != 1:
        hint = f"More than one begins with {name!r}; write more of it." if sets else ""
        raise NotFound("training set", name, [one.name for one in joined_sets(ws)], hint=hint)
    return sets[0]


def joined_sets(ws: Workspace) -> list[JoinedSet]:
    """Return all joined sets, the newest first."""
    sets = schema.training_sets
    query = select(sets).where(sets.c.split_json.like(f'{{"kind":"{KIND}"%')).order_by(sets.c.created_at.desc())
    with ws.catalog.read() as conn:
        return [_from_row(row) for row in conn.execute(query)]


def joined_batches(ws: Workspace, made: JoinedSet, split: str | int | None = None) -> Iterator[pa.RecordBatch]:
    """Give the rows in their order, of one split or fold if one is named, a row group at a time.

    Raises:
        NotFound: there is no such split.
    """
    if split is not None and str(split) not in made.splits:
        raise NotFound("split", str(split), made.splits)
    with ws.store.open(made.blob) as file:
        for batch in pq.ParquetFile(file).iter_batches(ROW_GROUP):
            if split is None:
                yield batch
                continue
            column = batch.column(_column(made.asked))
            yield batch.filter(pc.fill_null(pc.equal(pc.cast(column, pa.string()), str(split)), False))


def joined_rows(ws: Workspace, made: JoinedSet, split: str | int | None = None) -> pa.Table:
    """Return the rows as one table; see `joined_batches`."""
    with ws.store.open(made.blob) as file:
        arrow = pq.ParquetFile(file).schema_arrow
    return pa.Table.from_batches(joined_batches(ws, made, split), arrow)


def _means(name: str, made: JoinedSet) -> bool:
    return name == made.name or (len(name) >= 4 and made.id.startswith(name)) or name == made.name.split("@")[0]


def _column(asked: Asked) -> str:
    return "fold" if asked.split == "folds" else "split"


def _write(rows: pa.RecordBatchReader, file: Path, asked: Asked) -> tuple[int, dict[str, int], dict[str, int]]:
    count, splits, left_out = 0, dict[str, int](), dict[str, int]()
    # The footer says nothing of who wrote it when, so that equal rows are equal bytes.
    with pq.ParquetWriter(file, rows.schema, compression="zstd", version="2.6") as writer:
        for table in _even(rows):
            writer.write_table(table, row_group_size=ROW_GROUP)
            count += table.num_rows
            if asked.label:
                _count(left_out, "has no label", table.column("label").null_count)
            if asked.split:
                for one in pc.value_counts(table.column(_column(asked)).combine_chunks()).to_pylist():
                    if one["values"] is None:
                        _count(left_out, "is in no split", one["counts"])
                    else:
                        _count(splits, str(one["values"]), one["counts"])
    return count, dict(sorted(splits.items(), key=lambda one: (len(one[0]), one[0]))), left_out


def _count(into: dict[str, int], name: str, rows: int) -> None:
    if rows:
        into[name] = into.get(name, 0) + rows


def _even(rows: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Tables of the same length, but the last: however the engine cuts its batches, the file is the same."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in rows:
        held.append(batch)
        size += batch.num_rows
        while size >= ROW_GROUP:
            table = pa.Table.from_batches(held)
            yield table.slice(0, ROW_GROUP).combine_chunks()
            held = table.slice(ROW_GROUP).to_batches()
            size -= ROW_GROUP
    if size:
        yield pa.Table.from_batches(held, rows.schema).combine_chunks()


def _record(ws: Workspace, made: JoinedSet, said: dict[str, Any]) -> JoinedSet:
    sets = schema.training_sets
    values = {
        "id": made.id,
        "name": made.name,
        "blob": made.blob,
        "rows": made.rows,
        "columns_json": msgspec.json.encode({"features": made.features, "types": made.types}).decode(),
        "spec_json": msgspec.json.encode(said).decode(),
        "split_json": msgspec.json.encode({"kind": KIND, "splits": made.splits, "left_out": made.left_out}).decode(),
        "commit_id": made.commit_id,
        "run_id": None,
        "created_at": made.created_at,
    }
    try:
        with ws.catalog.write() as conn:
            before = conn.execute(select(sets).where(sets.c.id == made.id)).first()
            if before is not None:
                return _from_row(before)
            conn.execute(sets.insert().values(**values))
    except IntegrityError:  # another process made the same set at the same moment
        return read_joined(ws, made.id)
    return made


def _from_row(row: Row[Any]) -> JoinedSet:
    said, columns, split = (msgspec.json.decode(text) for text in (row.spec_json, row.columns_json, row.split_json))
    return JoinedSet(
        id=row.id,
        name=row.name,
        blob=row.blob,
        rows=row.rows,
        features=tuple(columns["features"]),
        types=columns["types"],
        asked=msgspec.convert(said["asked"], Asked),
        feature_set=said["feature_set"],
        splits=split["splits"],
        left_out=split["left_out"],
        commit_id=row.commit_id,
        created_at=row.created_at,
    )
