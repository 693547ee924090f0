"""Group commit: writes that come at once share a transaction, and so one wait for the disk.

Who finds nobody writing begins; what arrives meanwhile is done together in the next transaction. Each piece of work has
a savepoint of its own, so one that is refused takes nothing of its neighbours with it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from bascule.catalog.database import Catalog, told

T = TypeVar("T")
MOST = 64  # pieces of work in one transaction


class _Piece(Generic[T]):
    def __init__(self, work: Callable[[Connection], T]) -> None:
        self.work = work
        self.woken = threading.Event()
        self.leads = False
        self.answer: T | None = None
        self.error: BaseException | None = None


class GroupCommit:
    """Runs pieces of work in transactions that they share. Any number of threads may use one."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = threading.Lock()
        self._waiting: deque[_Piece[Any]] = deque()
        self._writing = False

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do a piece of work in a transaction, and return its result when that is durable.

        Raises:
            BaseException: what the work raised, and nothing of it stays; or what the commit raised.
        """
        piece = _Piece(work)
        with self._lock:
            self._waiting.append(piece)
            leads = not self._writing
            self._writing = True
        if not leads:
            piece.woken.wait()
            leads = piece.leads
        if leads:
            self._lead()
        if piece.error is not None:
            with told(self._catalog.engine.url):
                raise piece.error
        return piece.answer  # type: ignore[return-value]

    def _lead(self) -> None:
        with self._lock:
            pieces = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
        try:
            with self._catalog.write() as conn:
                for piece in pieces:
                    _try(conn, piece)
        except BaseException as error:
            for piece in pieces:
                piece.error = piece.error or error
        with self._lock:
            successor = self._waiting[0] if self._waiting else None
            self._writing = successor is not None
        for piece in pieces:
            piece.woken.set()
        if successor is not None:
            successor.leads = True
            successor.woken.set()


def _try(conn: Connection, piece: _Piece[Any]) -> None:
    conn.exec_driver_sql("SAVEPOINT piece")
    try:
        piece.answer = piece.work(conn)
    except BaseException as error:
        piece.error = error
        conn.exec_driver_sql("ROLLBACK TO SAVEPOINT piece")
    conn.exec_driver_sql("RELEASE SAVEPOINT piece")
