"""SQL over the lake and the records, bounded in rows and in time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from bascule.errors import InputError, is_interruption
from bascule.history import Workspace
from bascule.lake import Session, cells
from bascule.lake.engine import told
from bascule.project.querying import session

ROWS = 10_000
SECONDS = 30.0

Params = Sequence[Any] | Mapping[str, Any] | None


class Answer(msgspec.Struct, frozen=True):
    """What a query returned. `more` when there were more rows than were asked for."""

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    more: bool


class Asker:
    """Asks several queries of one state, one after the other: opening a session costs more than most queries."""

    def __init__(self, opened: Session) -> None:
        self._session = opened

    def ask(self, sql: str, params: Params = None, *, rows: int = ROWS, seconds: float = SECONDS) -> Answer:
        """Run one query that only reads.

        Args:
            rows: most rows to return.
            seconds: the query is ended after this time.

        Raises:
            InputError: the query is wrong, would write, or took too long.
            NotFound: it names a table that there is not.
        """
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._session.connection.interrupt()

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            relation = self._session.sql(sql, params)
            with told("This SQL cannot run"):
                # Through Arrow, because DuckDB's own rows need another package for times with a zone.
                found = relation.limit(rows + 1).to_arrow_table()
        except BaseException as error:
            if late.is_set() and is_interruption(error):
                raise InputError(
                    f"The query took more than {seconds:g} s and was ended.", hint="Ask for less, or use: bascule sql"
                ) from None
            raise
        finally:
            timer.cancel()
        columns = [cells.values(column) for column in found.slice(0, rows).columns]
        values = [list(row) for row in zip(*columns, strict=True)]
        types = [str(kind) for kind in relation.types]
        return Answer(list(relation.columns), types, values, found.num_rows > rows)


@contextmanager
def asking(ws: Workspace, ref: str = "main") -> Iterator[Asker]:
    """Open one state for several queries.

    Raises:
        NotFound: there is no such ref.
    """
    with session(ws, ref) as opened:
        yield Asker(opened)


def ask(
    ws: Workspace, sql: str, params: Params = None, *, ref: str = "main", rows: int = ROWS, seconds: float = SECONDS
) -> Answer:
    """Run one query at a state; arguments and errors are those of `Asker.ask`."""
    with asking(ws, ref) as asker:
        return asker.ask(sql, params, rows=rows, seconds=seconds)
