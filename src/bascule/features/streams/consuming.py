"""The loop of a stream: poll, write down, count, land. Each part keeps its own place, and any may fail by itself.

What does not answer is waited for: brokers, the online store, a contract that refuses. What it waits for is said, and
as long as the log has room the others go on. When it has none, nothing more is polled (back-pressure).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

import duckdb
import pyarrow as pa

from bascule.errors import BasculeError, Conflict
from bascule.features.streams.applying import TiledView, opened
from bascule.features.streams.log import EventLog
from bascule.features.streams.sources.source import StreamSource
from bascule.lake.sources import Rejected

POLL_EVENTS = 50_000
POLL_SECONDS = 0.2
APPLY_EVENTS = 200_000
LAND_EVENTS = 1_000_000
MOST_WAITING = 1 << 30  # bytes
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
TELL_EVERY = 1.0
PATIENCE = 10.0  # seconds for messages that a topic has


class TableNow(NamedTuple):
    """The stream's table: a connection that sees it, what to say after FROM, and the entry that it ends with."""

    connection: duckdb.DuckDBPyConnection
    source: str | None
    through: int


class Landing(Protocol):
    """The lake, as a stream sees it."""

    def land(
        self, rows: pa.Table, log: str, after: int, through: int, offsets: dict[str, str], aside: Sequence[Rejected]
    ) -> None:
        """Append entries (after, through] of a log to the table, once, with what was set aside beside them.

        Raises:
            CheckFailed: the table's contract refuses them; nothing was changed, and they will come again.
        """
        ...

    def table(self, log: str) -> AbstractContextManager[TableNow]:
        """Open the table as the branch has it now."""
        ...


@dataclass
class Stream:
    """One stream on one branch, put together.

    Attributes:
        source: None when events are sent, and so are in the log already.
        land_every: seconds between two landings.
    """

    name: str
    log: EventLog
    source: StreamSource | None
    views: Sequence[TiledView]
    landing: Landing
    land_every: float = 60.0
    most_waiting: int = MOST_WAITING
    problems: dict[str, str] = field(default_factory=dict)


class Consumer:
    """Consumes one stream.

    Args:
        say: told what somebody should know, a sentence each; the same one once.
    """

    def __init__(self, stream: Stream, say: Callable[[str], None] = lambda text: None) -> None:
        self.stream, self.say = stream, say
        self.lag: int | None = None
        self._more = False
        self._connection = opened()
        self._pauses: dict[str, float] = {}
        self._again: dict[str, float] = {}
        self._landed_at = time.monotonic()
        self._told_at = 0.0
        self._polled_at = 0.0
        self._counted: tuple[float, int] | None = None
        self._rate = 0.0
        self._taken: set[str] = set()

    def run(self, stop: threading.Event) -> None:
        """Go on until `stop` is set; then land what there is."""
        while not stop.is_set():
            if not self.step():
                stop.wait(POLL_SECONDS if self.stream.source is None or self._again else 0.01)
        self._guarded("lake", self._land_all)
        self.tell(final=True)

    def drain(self, stop: threading.Event) -> None:
        """Take over all that is there now, count it and land it; then come back, or earlier when `stop` is set.

        Raises:
            BasculeError: something does not answer or refuses. What was done stays done.
        """
        patience = time.monotonic() + PATIENCE
        while self.stream.source is not None and not stop.is_set():
            if self._poll():
                self._apply()
                patience = time.monotonic() + PATIENCE
            elif not self._more or time.monotonic() > patience:
                break
        self._apply()
        self._land_all()
        self.tell(final=True)

    def count(self) -> None:
        """Bring all tiles up to the log."""
        self._apply()

    def step(self) -> bool:
        """Do one round; return whether anything came."""
        came = False
        if self.stream.source is not None:
            state = self.stream.log.state()
            if state.waiting_bytes < self.stream.most_waiting:
                self.stream.problems.pop("room", None)
                came = bool(self._guarded("source", self._poll))
            else:
                self._has_problem("room", f"{state.waiting_rows:,} events wait for the lake, so no more are read.")
        for view in self.stream.views:
            came = bool(self._guarded(f"features.{view.view.name}", partial(self._apply_one, view))) or came
        if time.monotonic() - self._landed_at >= self.stream.land_every or self._is_much():
            self._guarded("lake", self._land)
        self.tell()
        return came

    # The parts ------------------------------------------------------------------------------------------------------

    def _poll(self) -> bool:
        source, log = self.stream.source, self.stream.log
        assert source is not None
        before = log.state().offsets
        polled = source.poll(before, POLL_EVENTS, POLL_SECONDS)
        for note in polled.notes:
            self.say(note)
        self.lag, self._polled_at, self._more = polled.lag, time.time(), polled.more
        if polled.offsets == before and not polled.events.rows.num_rows and not polled.events.rejected:
            return False
        log.append(polled.events, before=before, after=polled.offsets)
        return True

    def _apply(self) -> bool:
        done = [self._apply_one(view) for view in self.stream.views]
        return any(done)

    def _apply_one(self, view: TiledView) -> bool:
        """Bring a view's tiles up to the log."""
        log, did = self.stream.log, False
        state = log.state()
        if view.digest not in self._taken:
            view.take_up()
            self._taken.add(view.digest)
        place = view.place(state.id)
        while place is None or place < state.last:
            if place is None or place < state.trimmed:
                with self.stream.landing.table(state.id) as now:
                    self.say(f"{view.view.name} is filled from the table")
                    view.fill(now.connection, now.source, state.id, now.through, state.watermark)
            else:
                entries = log.entries(place, rows=APPLY_EVENTS)
                rows = log.table(entries)
                view.apply(self._connection, rows, state.id, place, entries[-1][0], state.watermark)
            did, place = True, view.place(state.id)
        return did

    def _is_much(self) -> bool:
        return self.stream.log.state().waiting_rows >= LAND_EVENTS and "lake" not in self._again

    def _land_all(self) -> None:
        while self.stream.log.state().landed < self.stream.log.state().last:
            self._land()

    def _land(self) -> None:
        """Append what waits to the table, and let go of what everyone has."""
        log = self.stream.log
        self._landed_at = time.monotonic()
        after, through = log.intend(LAND_EVENTS)
        if through > after:
            state = log.state()
            entries = log.entries(after, through)
            aside = [Rejected(*one) for _, entry in entries for one in entry.aside]
            self.stream.landing.land(log.table(entries), state.id, after, through, dict(entries[-1][1].offsets), aside)
            log.landed(through)
        state = log.state()
        # A view that cannot go on is filled from the table once it can: it keeps no entry from being let go.
        places = [self._place_of(view, state.id) for view in self.stream.views]
        log.trim(min([state.landed, *(place for place in places if place is not None)]))

    def _place_of(self, view: TiledView, log: str) -> int | None:
        return None if f"features.{view.view.name}" in self.stream.problems else view.place(log)

    # Failing and telling --------------------------------------------------------------------------------------------

    def _guarded(self, part: str, work: Callable[[], Any]) -> Any:
        """Do something that may fail and is tried again later, after longer and longer pauses."""
        if self._again.get(part, 0.0) > time.monotonic():
            return None
        try:
            done = work()
        except Conflict:
            raise
        except BasculeError as error:
            pause = self._pauses.get(part, FIRST_PAUSE)
            self._again[part] = time.monotonic() + pause
            self._pauses[part] = min(pause * 2, LONGEST_PAUSE)
            self._has_problem(part, " ".join(filter(None, (error.message, error.hint))))
            return None
        if self.stream.problems.pop(part, None) is not None:
            self.say(f"{part}: it goes on.")
        self._pauses.pop(part, None)
        self._again.pop(part, None)
        return done

    def _has_problem(self, part: str, message: str) -> None:
        if part not in self.stream.problems:
            self.say(f"{part}: {message}")
        self.stream.problems[part] = message

    def tell(self, *, final: bool = False) -> None:
        """Write down how it is, at most once a second."""
        now = time.monotonic()
        if not final and now - self._told_at < TELL_EVERY:
            return
        state = self.stream.log.state()
        if self._counted is not None and now > self._counted[0]:
            self._rate = (state.events - self._counted[1]) / (now - self._counted[0])
        self._counted, self._told_at = (now, state.events), now
        self.stream.log.tell(
            {
                "at": time.time_ns() // 1000,
                "running": not final,
                "polled": int(self._polled_at * 1e6),
                "lag": self.lag,
                "rate": round(self._rate, 1),
                "problems": dict(self.stream.problems),
            }
        )

    def close(self) -> None:
        """Release what is open."""
        if self.stream.source is not None:
            self.stream.source.close()
        self._connection.close()
