"""Ctrl-C during a query: DuckDB waits for its threads without looking for signals, so a thread of ours does."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN_S = 0.1


@contextmanager
def stopping_queries() -> Iterator[None]:
    """Stop what runs in the lake's connections as soon as a Ctrl-C comes, so that Python can raise it.

    Does nothing in a thread that gets no signals, nor where nothing is raised for a Ctrl-C.
    """
    raising = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(raising):
        yield
        return
    back = threading.Event()

    def raised(number: int, frame: FrameType | None) -> None:
        # DuckDB may look for signals all the same, and would then wait for threads that nobody has told to stop.
        _interrupt()
        back.set()
        raising(number, frame)

    heard, told = socket.socketpair()
    told.setblocking(False)
    signal.signal(signal.SIGINT, raised)
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(heard, back), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        if signal.getsignal(signal.SIGINT) is raised:
            signal.signal(signal.SIGINT, raising)
        back.set()
        told.close()
        watcher.join()
        heard.close()


def _watch(heard: socket.socket, back: threading.Event) -> None:
    while signals := heard.recv(64):
        if signal.SIGINT in signals:
            _interrupt()
            while not back.wait(AGAIN_S):  # a query that was just about to begin has not heard it
                _interrupt()


def _interrupt() -> None:
    # Looked up and not imported: most commands never open a connection.
    engine = sys.modules.get("bascule.lake.engine")
    # While it is being imported it has opened nothing, and has no such function yet.
    interrupt = getattr(engine, "interrupt", None)
    if interrupt is not None:
        interrupt()
