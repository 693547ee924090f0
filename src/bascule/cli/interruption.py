"""Ctrl-C during a query: DuckDB waits for its threads without looking for signals, so a thread of ours does."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stopping_queries() -> Iterator[None]:
    """Stop what runs in the lake's connections as soon as a Ctrl-C comes, so that Python can raise it.

    Does nothing in a thread that gets no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(heard,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        told.close()
        watcher.join()
        heard.close()


def _watch(heard: socket.socket) -> None:
    while signals := heard.recv(64):
        # Looked up and not imported: most commands never open a connection.
        engine = sys.modules.get("bascule.lake.engine")
        # While it is being imported it has opened nothing, and has no such function yet.
        interrupt = getattr(engine, "interrupt", None)
        if signal.SIGINT in signals and interrupt is not None:
            interrupt()
