"""Reading by as many threads as the disk keeps waiting."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

try:
    import resource
except ImportError:  # Windows
    WHO = None
else:
    WHO = getattr(resource, "RUSAGE_THREAD", None)

READERS = min(8, (os.cpu_count() or 2) + 2)
# So many waits a task mean that files come from the disk and not from memory.
WAITS = 32

_Task = TypeVar("_Task")
_Done = TypeVar("_Done")


def in_order(
    tasks: Iterable[_Task], work: Callable[[_Task], _Done], is_large: Callable[[_Task], bool]
) -> Iterator[_Done]:
    """Iterate over what tasks give, in their order, a few of them running ahead.

    Small files that are in memory already are read by the caller's thread: others would only take turns with it in the
    interpreter. As soon as a task had to wait for the disk, the next ones go to threads, and so do large ones.
    """
    with ThreadPoolExecutor(READERS, thread_name_prefix="files") as pool:
        running: deque[Future[_Done]] = deque()
        waits = WHO is None
        try:
            for task in tasks:
                if waits or is_large(task):
                    running.append(pool.submit(work, task))
                else:
                    done, before = Future[_Done](), _waited()
                    done.set_result(work(task))
                    waits = _waited() - before > WAITS
                    running.append(done)
                while running and (len(running) > READERS or running[0].done()):
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def _waited() -> int:
    """Return how often this thread gave up the processor to wait for something."""
    return resource.getrusage(WHO).ru_nvcsw if WHO is not None else 0
