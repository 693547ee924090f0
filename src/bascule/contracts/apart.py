"""Python checks in a process of their own, which ends when their time is over.

Nothing less really stops one: a thread cannot be ended, and a check may wait in C code for what never comes. The rows
stay here: the process asks, and gets Arrow tables.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa

from bascule.contracts.calling import Overran, Rows, Said
from bascule.contracts.sql import error_text
from bascule.errors import InputError

ALONE = "bascule.contracts.alone"

# Answers what a process asks: a message and a table for one of its messages. What it raises ends the process.
Answer = Callable[[dict[str, Any]], tuple[dict[str, Any], pa.Table | None]]
_LAST_WORDS = 2.0


def apart(name: str, folder: Path, seconds: float) -> Callable[[Rows], Said]:
    """Return the check that `module:function` of a project's folder names, called in a process of its own.

    What it prints goes to the standard error. Called, it raises `Overran` when it does not answer in time (its process
    and those that it started are killed then, and the query that it waits for is ended), and `InputError` when it
    cannot be imported, fails, or ends without an answer.

    Args:
        seconds: how long it may take, imports and queries included.
    """

    def check(rows: Rows) -> Said:
        def answer(message: dict[str, Any]) -> tuple[dict[str, Any], pa.Table | None]:
            try:
                return {}, rows.sql(message["query"])
            except duckdb.Error as error:
                return {"error": error_text(error)}, None

        asked = {"name": name, "folder": str(folder), "table": rows.table, "columns": rows.columns}
        message, table = ask(ALONE, asked, seconds, answer, rows.interrupt)
        if "refused" in message:
            raise InputError(message["refused"])
        return Said(message["failing"], message["text"], table)

    return check


def ask(
    module: str, asked: dict[str, Any], seconds: float, answer: Answer, interrupt: Callable[[], None]
) -> tuple[dict[str, Any], pa.Table | None]:
    """Return what a function says that a process of its own calls.

    Args:
        module: what the process runs; see `alone`.
        asked: what it is told: `name` and `folder` of the function, and what else it needs.
        seconds: how long it may take, imports and queries included.
        answer: answers what it asks meanwhile, the messages with `query`.
        interrupt: ends what `answer` does, from another thread.

    Raises:
        Overran: it did not answer in time; its process and those that it started are gone.
        InputError: it ended without an answer.
    """
    name = asked["name"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a group of its own: all that it starts ends with it
    )
    said = None
    with _Watch(process, interrupt, seconds) as watch:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            send(process.stdin, {**asked, "seconds": seconds})
            said = _converse(process.stdin, process.stdout, answer)
        except (EOFError, OSError) as error:
            if not watch.over:
                code = process.wait()
                raise InputError(f"{name} ended its process with code {code} before it answered") from error
        except KeyboardInterrupt:  # so is a query told that was interrupted
            if not watch.over:
                raise
    if said is None or watch.over:
        raise Overran(
            f"{name} did not answer within {seconds:g} s",
            hint="Let it look at fewer rows, or give it more time: time_limit of [checks] in bascule.toml.",
        )
    return said


def send(stream: IO[bytes], message: dict[str, Any], table: pa.Table | None = None) -> None:
    """Write a message, as a line of JSON, and a table with it."""
    sink = pa.BufferOutputStream()
    if table is not None:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    payload = sink.getvalue()
    stream.write(json.dumps({**message, "bytes": payload.size}).encode() + b"\n")
    stream.write(payload)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], pa.Table | None]:
    """Read a message and the table that came with it.

    Raises:
        EOFError: the other end is gone.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    message = json.loads(line)
    payload = stream.read(message["bytes"])
    if len(payload) < message["bytes"]:
        raise EOFError
    return message, pa.ipc.open_stream(payload).read_all() if payload else None


def _converse(into: IO[bytes], out: IO[bytes], answer: Answer) -> tuple[dict[str, Any], pa.Table | None]:
    """Answer a check's queries until it says what it found."""
    while True:
        message, table = receive(out)
        if "query" not in message:
            return message, table
        send(into, *answer(message))


class _Watch:
    """Ends a process, and the query that it waits for, when its time is over; in any case when it is left.

    Attributes:
        over: whether the time was over.
    """

    def __init__(self, process: subprocess.Popen[bytes], interrupt: Callable[[], None], seconds: float) -> None:
        self.over = False
        self._process, self._interrupt, self._seconds = process, interrupt, seconds
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(OSError):  # what was still to be written to a process that is gone
                stream.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if self.over else _LAST_WORDS)
        self._kill()
        self._process.wait()

    def _look(self) -> None:
        if self._left.wait(self._seconds):
            return
        self.over = True
        self._kill()
        # Again and again: a query that begins just now has not noticed the first.
        while True:
            self._interrupt()
            if self._left.wait(0.1):
                return

    def _kill(self) -> None:
        if sys.platform == "win32":  # pragma: no cover
            self._process.kill()
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
