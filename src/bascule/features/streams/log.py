"""The log of a stream: events that were taken over, durable and in order, until the lake and the tiles have them.

One LMDB file a stream and branch. An entry is a batch of events with what was set aside beside them, and it is written
in one transaction with how far its source was read: so each event is in the log once, whatever is killed when. Whoever
reads the log (the tiles, the lake) keeps its own place in it, in the transaction of what it writes.

What the file holds is in `entries.py`. How the consumer is stands in a file beside, `told`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import lmdb
import msgspec
import numpy as np
import pyarrow as pa

from bascule.durations import format_duration
from bascule.errors import Busy, Conflict, EnvironmentProblem
from bascule.features.streams.entries import (
    Entry,
    LogState,
    beginning_with,
    entries_of,
    entry_key,
    environment_of,
    put_state,
    state_of,
    written,
)
from bascule.features.streams.events import Events, EventType
from bascule.lake.sources import Rejected
from bascule.lake.sources.quarantine import bounded

T = TypeVar("T")
KEYS_KEPT = 7 * 86_400 * 1_000_000
LATE, AHEAD, UNREADABLE = "late", "ahead", "unreadable"


class Appended(NamedTuple):
    """What became of a batch: the entry, how many events, how many were set aside; `again` if it had come before."""

    number: int
    rows: int
    aside: int
    again: bool = False


class EventLog:
    """The log of one stream on one branch.

    Args:
        folder: made when missing.
        events: what its events are.
        lateness: how much older than the newest an event may be (µs).
        ahead: how far beyond the clock an event's time may be (µs).
        clock: gives the time (µs); for tests.
    """

    def __init__(
        self,
        folder: Path,
        events: EventType,
        *,
        lateness: int,
        ahead: int,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.folder, self.events, self.lateness, self.ahead, self.clock = folder, events, lateness, ahead, clock

    def append(
        self, events: Events, *, before: Mapping[str, str] | None, after: Mapping[str, str] | None, once: str = ""
    ) -> Appended:
        """Take over a batch. It is durable when this returns.

        Args:
            before, after: how far the source was read before this batch and with it; None for what is sent.
            once: what names this batch: one that comes again under the same name changes nothing.

        Raises:
            Conflict: another one read on from there meanwhile.
            EnvironmentProblem: the disk is full, or the file cannot be written. Nothing was changed.
        """

        def work(transaction: Any) -> Appended:
            state = state_of(transaction)
            if before is not None and dict(before) != state.offsets:
                raise Conflict("Another process reads this stream.", hint="End one of them.")
            mark = b"k" + once.encode()[:400]
            if once and (found := transaction.get(mark)) is not None:
                return Appended(msgspec.msgpack.decode(found)[0], 0, 0, again=True)
            rows, aside = self._sorted_out(events, state)
            if after is not None:
                state.offsets = dict(after)
            if rows.num_rows or aside:
                state.last += 1
                data = written(rows)
                told = [(one.file, one.line, one.reason, one.raw) for one in aside]
                entry = Entry(rows.num_rows, data, told, state.offsets, self.clock())
                transaction.put(entry_key(state.last), msgspec.msgpack.encode(entry))
                state.events += rows.num_rows
                state.waiting_rows += rows.num_rows
                state.waiting_bytes += len(data)
            if once:
                transaction.put(mark, msgspec.msgpack.encode((state.last, self.clock())))
            put_state(transaction, state)
            return Appended(state.last, rows.num_rows, len(aside))

        return self._write(work)

    def _sorted_out(self, events: Events, state: LogState) -> tuple[pa.RecordBatch, list[Rejected]]:
        """Take out what is too late or ahead of the clock; count, and move the watermark."""
        rows, aside = events.rows, list(events.rejected)
        counted = dict(state.aside)
        if aside:
            counted[UNREADABLE] = counted.get(UNREADABLE, 0) + len(aside)
        if rows.num_rows:
            times = rows.column(self.events.time).cast(pa.int64()).to_numpy()
            limit = self.clock() + self.ahead
            early = times > limit
            # The newest before each event, as if they had come one by one: batches may be cut anywhere.
            newest = np.where(early, np.iinfo(np.int64).min // 2, times)
            first = np.int64(np.iinfo(np.int64).min // 2 if state.watermark is None else state.watermark)
            before = np.maximum.accumulate(np.concatenate(([first], newest[:-1])))
            late = times < before - self.lateness
            for why, odd, told in (
                (LATE, late, "its time is more than {} behind the newest event."),
                (AHEAD, early & ~late, "its time is more than {} ahead of the clock."),
            ):
                if odd.any():
                    span = self.lateness if why == LATE else self.ahead
                    aside += self._refused(rows, odd, told.format(format_duration(span)), state.last + 1)
                    counted[why] = counted.get(why, 0) + int(odd.sum())
            kept = ~(late | early)
            if not kept.all():
                rows = rows.filter(pa.array(kept))
            if kept.any():
                latest = int(times[kept].max())
                state.watermark = latest if state.watermark is None else max(latest, state.watermark)
        state.aside = counted
        return rows, aside

    def _refused(self, rows: pa.RecordBatch, odd: np.ndarray, why: str, entry: int) -> list[Rejected]:
        places = np.flatnonzero(odd)
        raws = rows.take(pa.array(places)).to_pylist()
        return [
            Rejected(f"entry {entry}", int(place), why, bounded(msgspec.json.encode(raw).decode()))
            for place, raw in zip(places, raws, strict=True)
        ]

    # Reading --------------------------------------------------------------------------------------------------------

    def state(self) -> LogState:
        """Return where the log is now."""
        return self._read(state_of)

    def entries(self, after: int, until: int | None = None, rows: int | None = None) -> list[tuple[int, Entry]]:
        """Return the entries with numbers in (after, until], and no more when they have as many rows."""

        def work(transaction: Any) -> list[tuple[int, Entry]]:
            found, total = [], 0
            for number, data in entries_of(transaction, after):
                if until is not None and number > until:
                    break
                entry = msgspec.msgpack.decode(data, type=Entry)
                found.append((number, entry))
                total += entry.rows
                if rows is not None and total >= rows:
                    break
            return found

        return self._read(work)

    def table(self, entries: list[tuple[int, Entry]]) -> pa.Table:
        """Return the events of some entries as one table, in the columns that the stream has now.

        Raises:
            InputError: they were taken over when a column was of a kind that does not become the present one.
        """
        return self.events.aligned([batch for _, entry in entries for batch in pa.ipc.open_stream(entry.data)])

    # Landing --------------------------------------------------------------------------------------------------------

    def intend(self, rows: int) -> tuple[int, int]:
        """Say what goes to the lake next: entries in (landed, landing], of about so many rows; the same after a crash.

        So what was on the way when somebody killed the process is the same batch again, and lands once.
        """

        def work(transaction: Any) -> tuple[int, int]:
            state = state_of(transaction)
            if state.landing <= state.landed:
                total, state.landing = 0, state.landed
                for number, data in entries_of(transaction, state.landed):
                    total += msgspec.msgpack.decode(data, type=Entry).rows
                    state.landing = number
                    if total >= rows:
                        break
                put_state(transaction, state)
            return state.landed, state.landing

        state = self.state()
        if state.landed == state.last:
            return state.landed, state.landed
        return self._write(work)

    def landed(self, through: int) -> None:
        """Say that entries up to a number are in the lake."""

        def work(transaction: Any) -> None:
            state = state_of(transaction)
            for number, data in entries_of(transaction, state.landed):
                if number > through:
                    break
                entry = msgspec.msgpack.decode(data, type=Entry)
                state.waiting_rows -= entry.rows
                state.waiting_bytes -= len(entry.data)
            state.landed = max(state.landed, through)
            put_state(transaction, state)

        self._write(work)

    def trim(self, through: int) -> None:
        """Remove entries up to a number, which the lake must have, and keys of batches that came long ago."""

        def work(transaction: Any) -> None:
            state = state_of(transaction)
            through_ = min(through, state.landed)
            for number in range(state.trimmed + 1, through_ + 1):
                transaction.delete(entry_key(number))
            state.trimmed = max(state.trimmed, through_)
            put_state(transaction, state)
            old = self.clock() - KEYS_KEPT
            with transaction.cursor() as cursor:
                gone = [key for key, value in beginning_with(cursor, b"k") if msgspec.msgpack.decode(value)[1] < old]
            for key in gone:
                transaction.delete(key)

        if through > self.state().trimmed:
            self._write(work)

    def begin_at(self, offsets: Mapping[str, str]) -> None:
        """Begin a log, if it has not begun: where the table ends already."""

        def work(transaction: Any) -> None:
            state = state_of(transaction)
            if not state.last and not state.offsets:
                state.offsets = dict(offsets)
            put_state(transaction, state)

        self._write(work)

    # How it is ------------------------------------------------------------------------------------------------------

    def tell(self, told: Mapping[str, Any]) -> None:
        """Keep how the consumer is, for others to read; lost when the machine stops."""
        data = msgspec.msgpack.encode(dict(told))
        path = self.folder / "told"
        fresh = self.folder / f"told-{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(data)
            fresh.replace(path)
        except OSError:  # a full disk shows where events are written
            fresh.unlink(missing_ok=True)

    def told(self) -> dict[str, Any]:
        """Return what the consumer said of itself last."""
        return _told(self.folder)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _read(self, work: Callable[[Any], T]) -> T:
        try:
            with environment_of(self.folder).begin() as transaction:
                return work(transaction)
        except lmdb.Error as error:
            raise self._problem("read", error) from error

    def _write(self, work: Callable[[Any], T]) -> T:
        try:
            env = environment_of(self.folder)
            env.reader_check()
            with env.begin(write=True) as transaction:
                return work(transaction)
        except lmdb.MapFullError as error:
            raise Busy(f"The stream's log at {self.folder} is full.", hint="Let it land in the lake first.") from error
        except lmdb.Error as error:
            raise self._problem("written", error) from error

    def _problem(self, verb: str, error: Exception) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"The stream's log at {self.folder} could not be {verb}: {error}.",
            hint="Free some space if the disk is full, or check the folder's permissions; then repeat.",
        )


def look(folder: Path) -> tuple[LogState, dict[str, Any]]:
    """Return where the log in a folder is, and what its consumer said of itself last."""
    with environment_of(folder).begin() as transaction:
        return state_of(transaction), _told(folder)


def _told(folder: Path) -> dict[str, Any]:
    try:
        return dict(msgspec.msgpack.decode((folder / "told").read_bytes()))
    except (OSError, msgspec.DecodeError):
        return {}
