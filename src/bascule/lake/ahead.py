"""Reading ahead: what comes next is made in a thread while what came is worked on, a few pieces at most."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")

PIECES = 8
WAIT_SECONDS = 0.05


def ahead(pieces: Iterable[T], most: int = PIECES) -> Generator[T]:
    """Iterate over pieces that a thread takes from their iterator; what that raises is raised here.

    When the reader stops early, the thread ends with the piece that it is at, before this returns.
    """
    waiting: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(most)
    stopped = threading.Event()

    def put(item: tuple[T | None, BaseException | None]) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=WAIT_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for piece in pieces:
                if not put((piece, None)):
                    return
        except BaseException as error:
            put((None, error))
        else:
            put((None, None))

    thread = threading.Thread(target=work, name="bascule-ahead", daemon=True)
    thread.start()
    try:
        while True:
            piece, error = waiting.get()
            if error is not None:
                raise error
            if piece is None:
                return
            yield piece
    finally:
        stopped.set()
        thread.join()
