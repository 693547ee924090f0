"""Threads that make answers, of which none can hold up the end of the server or of its process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")
_Work = tuple["Future[Any]", Callable[[], Any]]


class Threads(Executor):
    """An executor whose threads are daemons: Python waits for those of its own pools when it ends, however long.

    Args:
        most: how many there are at once; they are started when they are needed.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._waiting: SimpleQueue[_Work | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, fn: Callable[Given, Made], /, *args: Given.args, **kwargs: Given.kwargs) -> Future[Made]:
        """Have a thread do something.

        Raises:
            RuntimeError: the threads were told to end, or none can be started.
        """
        future: Future[Made] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("these threads take no more work")
            self._waiting.put((future, lambda: fn(*args, **kwargs)))
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
                name = f"{self._name}_{len(self._threads)}"
                thread = threading.Thread(target=self._run, name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the system gives no more threads: those that are there do it
                    if not self._threads:
                        self._forget_waiting()
                        raise
                else:
                    self._threads.append(thread)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work, and let the threads end when what was taken is done."""
        self.end(float("inf") if wait else 0.0, cancel=cancel_futures)

    def end(self, seconds: float, *, cancel: bool = True) -> bool:
        """Take no more work, and wait so long for what is being done; return whether all of it was.

        Args:
            cancel: forget what was not begun.
        """
        with self._lock:
            self._closed = True
            if cancel:
                self._forget_waiting()
            for _ in self._threads:
                self._waiting.put(None)
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(None if seconds == float("inf") else max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _forget_waiting(self) -> None:
        while True:
            try:  # a thread may take the last one meanwhile
                work = self._waiting.get_nowait()
            except Empty:
                return
            if work is not None:
                work[0].cancel()

    def _run(self) -> None:
        while (work := self._waiting.get()) is not None:
            future, made = work
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(made())
                except BaseException as error:  # whoever waits for it gets it
                    future.set_exception(error)
            del work, future, made  # what they hold need not wait for the next
            self._idle.release()
