"""Threads that make answers end with the server, also one that hangs."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError

import pytest

from bascule.serving.http.threads import Threads

BUSY = """
import sys
from bascule.serving.http.threads import Threads
sys.setswitchinterval(1e-6)
for _ in range(500):
    threads = Threads(8, "answer")
    for _ in range(200):
        threads.submit(int)
    assert threads.end(10)
"""

HANGS = """
import time
from bascule.serving.http.threads import Threads
threads = Threads(2, "answer")
threads.submit(time.sleep, 600)
print(threads.end(0.1))
"""


def test_as_many_work_at_once_as_there_may_be() -> None:
    threads, gate, at_once = Threads(2, "answer"), threading.Event(), threading.Semaphore(0)

    def work(number: int) -> int:
        at_once.release()
        gate.wait(10)
        return number * number

    futures = [threads.submit(work, number) for number in range(5)]
    assert at_once.acquire(timeout=10)
    assert at_once.acquire(timeout=10)
    assert not at_once.acquire(timeout=0.1)
    gate.set()
    assert [future.result(60) for future in futures] == [0, 1, 4, 9, 16]
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result(60)
    assert threads.submit(work, 3).result(60) == 9  # an error ends no thread
    assert threads.end(10)
    with pytest.raises(RuntimeError, match="no more work"):
        threads.submit(work, 1)


def test_what_was_not_begun_is_forgotten_at_the_end() -> None:
    threads, gate = Threads(1, "answer"), threading.Event()
    first, second = threads.submit(gate.wait, 10), threads.submit(gate.wait, 10)
    assert not threads.end(0.1)
    gate.set()
    assert first.result(60)
    with pytest.raises(CancelledError):
        second.result(60)


def test_one_that_hangs_does_not_hold_the_process_up() -> None:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
    assert time.monotonic() - began < 50


@pytest.mark.slow
def test_threads_that_empty_the_queue_meanwhile_do_not_hold_the_end_up() -> None:
    subprocess.run([sys.executable, "-c", BUSY], timeout=60, check=True)


def test_those_that_are_there_do_it_when_the_system_gives_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads, gate = Threads(2, "answer"), threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        with pytest.raises(RuntimeError, match="new thread"):
            threads.submit(gate.wait, 10)
    first = threads.submit(gate.wait, 10)
    monkeypatch.setattr(threading.Thread, "start", none)
    second = threads.submit(gate.wait, 10)
    gate.set()
    assert first.result(60)
    assert second.result(60)
    assert threads.end(10)
