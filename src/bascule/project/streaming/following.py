"""A table of the lake as a source of events: each state of it on the stream's branch brings the rows that it appended.

How far it is read is which state was read to its end, and, within the next one, up to which event time: rows of a
state have no order, so they come by their time, and rows of one time come together. So a place is right whatever
files the rows lie in: a compaction moves them, and a forgetting takes some out of the past, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import InputError
from bascule.features.streams.events import MOMENTS, Events, EventType
from bascule.features.streams.sources.source import Polled
from bascule.history import Workspace
from bascule.lake import engine, objects
from bascule.lake.comparing.appeared import Appeared, appeared
from bascule.lake.iceberg import schemas
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.types import quoted
from bascule.lake.sources import Rejected
from bascule.lake.sources.quarantine import bounded

PREFIX = "table:"
STATE, TO, TIME = "state", "to", "time"
PAUSE = 0.05
MOMENT = "__moment"
#: What to do where rows went: `refuse` waits until they are back, `keep` lets them stay counted.
CHANGES = ("refuse", "keep")


@dataclass
class _Reading:
    """One state while it is read: its rows by time, on a connection that is open for it."""

    opened: AbstractContextManager[duckdb.DuckDBPyConnection]
    batches: Iterator[pa.RecordBatch]
    at: dict[str, str]
    left: int
    carried: list[pa.Table] = field(default_factory=list)
    ended: bool = False

    def close(self) -> None:
        self.opened.__exit__(None, None, None)


class FollowedTable:
    """The rows that are appended to a table of the same branch.

    Args:
        table: its name.
        begin: where a table that was never read begins: `earliest` takes the rows that it has, `latest` those to come.
        changes: one of `CHANGES`.
    """

    def __init__(
        self,
        events: EventType,
        workspace: Workspace,
        branch: str,
        table: str,
        *,
        begin: str = "earliest",
        changes: str = "refuse",
    ) -> None:
        self.events, self.workspace, self.branch, self.table = events, workspace, branch, table
        self.begin, self.changes = begin, changes
        self._path = objects.path_of(table)
        self._reading: _Reading | None = None
        self._missed = False

    def poll(self, offsets: Mapping[str, str], most: int, seconds: float) -> Polled:
        """See `StreamSource`. Rows of one moment come together, so there may be more of them than `most`."""
        until = time.monotonic() + seconds
        while True:
            polled = self._read(dict(offsets), most)
            if polled.offsets != dict(offsets) or polled.notes or time.monotonic() >= until:
                return polled
            time.sleep(min(PAUSE, max(seconds, 0.0)))

    def close(self) -> None:
        """Let go of the state that is being read."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _read(self, offsets: dict[str, str], most: int) -> Polled:
        nothing = self.events.empty_batch()
        target = offsets.get(TO)
        if target is None:
            value = self.workspace.history.read(self.branch, self._path)
            if value is None:
                missed, self._missed = self._missed, True
                told = f"There is no table {self.table} on {self.branch}; it is waited for."
                return Polled(nothing, offsets, 0, () if missed else (told,))
            target = str(value["metadata_location"])
            if target == offsets.get(STATE):
                return Polled(nothing, offsets, 0)
            if not offsets and self.begin == "latest":
                return Polled(nothing, {STATE: target}, 0)
        reading, notes, aside = self._opened(offsets, target)
        with engine.told(f"The rows that came to table {self.table!r} cannot be read"):
            rows = self._next(reading, most)
        events = Events(self._as_events(rows), aside)
        if reading.ended:
            now = {STATE: target}
            self.close()
            return Polled(events, now, 0, notes)
        newest = pc.max(rows.column(MOMENT).cast(pa.int64())).as_py()
        reading.at = {STATE: offsets.get(STATE, ""), TO: target, TIME: str(newest)}
        reading.left -= rows.num_rows
        return Polled(events, dict(reading.at), reading.left, notes, more=True)

    def _opened(self, offsets: dict[str, str], target: str) -> tuple[_Reading, tuple[str, ...], list[Rejected]]:
        """Return the rows to read on with; what is to be said, and rows without a time, when it is opened anew."""
        if self._reading is not None and self._reading.at == offsets and TO in offsets:
            return self._reading, (), []
        self.close()
        before, after = self._state(offsets.get(STATE, "")), self._state(target)
        assert after is not None
        columns = self._columns(after)
        opened = engine.opened(self.workspace.temporary_folder)
        connection = opened.__enter__()
        try:
            with engine.told(f"The rows that came to table {self.table!r} cannot be read"):
                came = appeared(connection, before, after)
                notes = self._judged(came, target)
                moment = f"{quoted(columns[self.events.time])}::TIMESTAMPTZ"
                timed = self._timed(columns)
                aside = [] if TIME in offsets else self._without_time(connection, came, moment, timed)
                where, left = timed, came.rows
                if TIME in offsets:
                    where += f" AND {moment} > make_timestamptz({int(offsets[TIME])})"
                    left = int(connection.execute(f"SELECT count(*) FROM {came.source} WHERE {where}").fetchall()[0][0])
                listed = ", ".join(f"{quoted(there)} AS {quoted(name)}" for name, there in columns.items())
                query = f"SELECT {listed}, {moment} AS {MOMENT} FROM {came.source} WHERE {where} ORDER BY {MOMENT}"
                batches = connection.sql(query).to_arrow_reader(65_536)
        except BaseException:
            connection.close()
            raise
        self._reading = _Reading(opened, iter(batches), offsets, left - len(aside))
        return self._reading, notes, aside

    def _state(self, location: str) -> Table | None:
        if not location:
            return None
        value = {"metadata_location": location}
        if not objects.document_of(value, self.workspace.lake_folder).exists():
            raise InputError(
                f"The state of table {self.table!r} that was read last is not kept any more, so nobody can tell what "
                "came since.",
                hint="Give the stream another name, so that its table is another one.",
            )
        return objects.load(value, self.workspace.lake_folder, self.table)

    def _judged(self, came: Appeared, target: str) -> tuple[str, ...]:
        if not came.gone:
            return ()
        told = f"{came.gone:,} rows of table {self.table!r} were deleted or replaced"
        if self.changes == "keep":
            return (f"{told}; what they counted stays counted.",)
        raise InputError(
            f"{told}, and what they counted cannot be taken back ({target.rpartition('/')[2]}).",
            hint=f'Revert that on {self.branch!r}, or let them stay counted: options = {{ changes = "keep" }}.',
        )

    def _columns(self, after: Table) -> dict[str, str]:
        """Each column of the stream as the table calls it; raises `NotFound` for one that it has not."""
        return {name: str(schemas.find(after.schema, name)["name"]) for name in self.events.columns}

    def _timed(self, columns: dict[str, str]) -> str:
        """What is true of rows that have a time, and no other one that is beyond the years 1 to 9999."""
        first, last = (f"make_timestamptz({moment})" for moment in MOMENTS)
        terms = [f"{quoted(columns[self.events.time])} IS NOT NULL"]
        for name in self.events.times:
            terms.append(f"coalesce({quoted(columns[name])}::TIMESTAMPTZ BETWEEN {first} AND {last}, TRUE)")
        return " AND ".join(terms)

    def _without_time(
        self, connection: duckdb.DuckDBPyConnection, came: Appeared, moment: str, timed: str
    ) -> list[Rejected]:
        query = f"SELECT {moment} IS NULL, to_json(row)::VARCHAR FROM {came.source} row WHERE NOT ({timed})"
        missing = f"its time, {self.events.time}, is null."
        beyond = f"{' or '.join(self.events.times)} is beyond the years 1 to 9999."
        found = connection.execute(query).fetchall()
        return [Rejected(f"{PREFIX}{self.table}", None, missing if no else beyond, bounded(raw)) for no, raw in found]

    def _next(self, reading: _Reading, most: int) -> pa.Table:
        """Return the next rows, up to where the time changes; all of them at the end."""
        held, total = reading.carried, sum(one.num_rows for one in reading.carried)
        for batch in reading.batches:
            held.append(pa.Table.from_batches([batch]))
            total += batch.num_rows
            if total < most:
                continue
            rows = pa.concat_tables(held)
            times = rows.column(MOMENT)
            last = pc.equal(times, times[-1])
            whole = rows.filter(pc.invert(last))
            if whole.num_rows:
                reading.carried = [rows.filter(last)]
                return whole
            held = [rows]
        reading.ended, reading.carried = True, []
        return pa.concat_tables(held) if held else self.events.schema.append(pa.field(MOMENT, pa.int64())).empty_table()

    def _as_events(self, rows: pa.Table) -> Any:
        return self.events.read_arrow(rows.combine_chunks())
