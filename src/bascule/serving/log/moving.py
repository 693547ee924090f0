"""From segments to record tables: each segment exactly once, by whoever comes first.

A segment is moved when its writer has let go of it. Its rows and the note that they are in the table land in one
transaction; the file is removed after that. Killed in between, the next move sees the note and only removes the file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import Busy
from bascule.history import Workspace
from bascule.lake import engine
from bascule.lake.records import RecordTable
from bascule.serving.ids import STEM
from bascule.serving.log import predictions, truths, vectors
from bascule.serving.log.entities import of_entities
from bascule.serving.log.frames import Reading, read_segment
from bascule.serving.log.journal import seal
from bascule.serving.log.segment import segment_paths, taken
from bascule.store.locking import FileLock, Locked

LOCK = "moving.lock"
LOCK_S = 30.0
SEAL_S = 2.0
PAUSE_S = 0.02
DAMAGED = ".damaged"
TABLES: dict[str, tuple[pa.Schema, Callable[[Iterable[bytes]], pa.Table]]] = {
    predictions.PREDICTIONS: (predictions.SCHEMA, predictions.to_arrow),
    truths.GROUND_TRUTH: (truths.SCHEMA, truths.to_arrow),
    vectors.SERVED_FEATURES: (vectors.SCHEMA, vectors.to_arrow),
}


@dataclass(frozen=True, slots=True)
class MoveReport:
    """What one call moved.

    Attributes:
        rows: record table to rows.
        segments: how many segments were moved.
        open: segments that their writers still hold.
        repeated: rows of ground truth that the table had already.
        damaged: files with a wrong checksum, kept beside the segments; what came before it was moved.
    """

    rows: dict[str, int] = field(default_factory=dict)
    segments: int = 0
    open: int = 0
    repeated: int = 0
    damaged: tuple[str, ...] = ()


def move_segments(ws: Workspace, *, sealing: bool = False) -> MoveReport:
    """Move what the inference processes have logged into the record tables `predictions`, `ground_truth` and
    `served_features`.

    Ground truth is kept once for each (prediction_id, label_time, label): a row that was sent again is left out. What
    names an entity becomes a row for each of its predictions, logged before it.

    Args:
        sealing: first ask living writers to end their segments and wait for it, at most two seconds, so that what
            was answered until now is moved too.

    Raises:
        Busy: another process has been moving for half a minute.
    """
    asked = _seal(ws) if sealing else set()
    with _alone(ws):
        report = _move_all(ws)
        deadline = time.monotonic() + SEAL_S
        while asked and time.monotonic() < deadline:
            asked = {path for path in asked if path.exists()}
            if asked:
                time.sleep(PAUSE_S)
                report = _joined(report, _move_all(ws))
    return report


def unmoved(ws: Workspace, name: str, prediction_id: str | None = None) -> pa.Table:
    """Return the rows of a record table that are still in segments, those being written included.

    A row that is moved meanwhile may be here too, so read this before the table to miss nothing. A segment that was
    moved before is not here, also when its mover was killed before it removed the file.

    Args:
        prediction_id: read only the records that hold it; a record may hold other rows too.
    """
    schema, read = TABLES[name]
    wanted = prediction_id[:STEM].encode() if prediction_id is not None else b""  # that of the first id of a record
    parts = [schema.empty_table()]
    for reading in _waiting(ws, name).values():
        parts.append(read(one for one in reading.payloads if wanted in one or predictions.is_context(one)))
    return pa.concat_tables(parts)


@dataclass(frozen=True, slots=True)
class LogReport:
    """What lies in the segments: how many there are and their records, and which are damaged in the middle."""

    segments: int
    records: int
    damaged: tuple[str, ...]


def check_segments(ws: Workspace) -> LogReport:
    """Read every segment and tell whether each is whole up to the last record that was acknowledged."""
    segments, records, damaged = 0, 0, []
    for name in TABLES:
        for path, reading in _waiting(ws, name).items():
            segments, records = segments + 1, records + len(reading.payloads)
            if reading.damaged:
                damaged.append(path.name)
        damaged += [path.name for path in (ws.log_folder / name).glob(f"*{DAMAGED}")]
    return LogReport(segments, records, tuple(damaged))


def find_prediction(ws: Workspace, prediction_id: str) -> dict[str, Any] | None:
    """Return one prediction as column to value, moved or not, or None when it is not known."""
    rows = unmoved(ws, predictions.PREDICTIONS, prediction_id)
    rows = rows.filter(pc.equal(rows["prediction_id"], prediction_id))
    if not rows.num_rows:
        with engine.opened() as connection:
            scan = RecordTable(ws, predictions.PREDICTIONS, predictions.SCHEMA).scan()
            query = f"select * from {scan} where prediction_id = $1"
            rows = connection.sql(query, params=[prediction_id]).to_arrow_table()
    return rows.to_pylist()[0] if rows.num_rows else None


def _waiting(ws: Workspace, name: str) -> dict[Path, Reading]:
    """Read the segments whose rows are not in the table; asked after they were read, so none is here and there."""
    found = {}
    for path in segment_paths(ws.log_folder / name):
        with suppress(FileNotFoundError):  # moved meanwhile
            found[path] = read_segment(path)
    moved = RecordTable(ws, name, TABLES[name][0]).segments(path.name for path in found) if found else set()
    return {path: reading for path, reading in found.items() if path.name not in moved}


def _move_all(ws: Workspace) -> MoveReport:
    report = MoveReport()
    for name in TABLES:
        for path in segment_paths(ws.log_folder / name):
            with taken(path) as mine:
                report = _joined(report, _move(ws, name, path) if mine else MoveReport(open=int(path.exists())))
    return report


def _move(ws: Workspace, name: str, path: Path) -> MoveReport:
    schema, read = TABLES[name]
    table = RecordTable(ws, name, schema)
    reading = read_segment(path)
    rows = repeated = 0
    if reading.payloads and not table.has_segment(path.name):
        data = read(reading.payloads)
        came = data.num_rows
        if name == truths.GROUND_TRUTH:
            data = pa.concat_tables([data, of_entities(ws, truths.about_entities(reading.payloads), unmoved)])
            came = data.num_rows
            data = _new_truths(table, data)
        rows = table.move_segment(path.name, data) or 0
        repeated = came - data.num_rows
    damaged = _put_away(path, reading)
    return MoveReport({name: rows}, segments=1, repeated=repeated, damaged=damaged)


def _put_away(path: Path, reading: Reading) -> tuple[str, ...]:
    if not reading.damaged:
        path.unlink()
        return ()
    kept = path.with_suffix(DAMAGED)
    os.replace(path, kept)
    return (str(kept),)


def _new_truths(table: RecordTable, data: pa.Table) -> pa.Table:
    with engine.opened() as connection:
        connection.register("coming", data)
        return connection.sql(
            "select coming.* from coming anti join "
            f"(select prediction_id, label_time, label from {table.scan()}) using (prediction_id, label_time, label) "
            "qualify row_number() over (partition by prediction_id, label_time, label order by received_at) = 1"
        ).to_arrow_table()


def _seal(ws: Workspace) -> set[Path]:
    found: set[Path] = set()
    for name in TABLES:
        paths = segment_paths(ws.log_folder / name)
        if paths:
            seal(ws.log_folder / name)
            found.update(paths)
    return found


@contextmanager
def _alone(ws: Workspace) -> Iterator[None]:
    """Hold the right to move: comparing ground truth with the table allows one mover at a time."""
    deadline = time.monotonic() + LOCK_S
    lock = FileLock(ws.log_folder / LOCK, note=f"process {os.getpid()}")
    while True:
        try:
            lock.__enter__()
            break
        except Locked as held:
            if time.monotonic() > deadline:
                raise Busy(
                    f"The prediction log is being moved by {held.note or 'another process'}.",
                    hint="Repeat in a moment.",
                ) from None
            time.sleep(PAUSE_S)
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _joined(a: MoveReport, b: MoveReport) -> MoveReport:
    rows = {name: a.rows.get(name, 0) + b.rows.get(name, 0) for name in a.rows | b.rows}
    return MoveReport(rows, a.segments + b.segments, b.open, a.repeated + b.repeated, a.damaged + b.damaged)
