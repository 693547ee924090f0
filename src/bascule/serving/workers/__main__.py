"""A worker: it reads a program, then answers one message after another until its socket is closed."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

import msgspec
import numpy as np

from bascule.errors import BasculeError, InputError
from bascule.serving.graph import GraphRunner
from bascule.serving.workers import wire
from bascule.serving.workers.child import StepFailed
from bascule.serving.workers.job import BEFORE, CONTRIBUTIONS, background_of, told_part
from bascule.serving.workers.program import Program
from bascule.serving.workers.spare import LIBRARIES, PRELOAD

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve the socket whose number is the first argument, for the process whose number is the second."""
    link = socket.socket(fileno=int(sys.argv[1]))
    _die_with(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    runner: list[GraphRunner] = []

    def load(message: Any) -> tuple[bool, list[str]]:
        made = GraphRunner(msgspec.convert(message, Program))
        made.warm()
        runner.append(made)
        return made.explainer.possible, sorted(LIBRARIES & sys.modules.keys())

    program = _program(link)
    if program is None:
        return
    _answer(link, program, load)
    while runner:
        try:
            message = wire.receive(link)
        except (EOFError, OSError):
            return
        _answer(link, message, lambda asked: _done(runner[0], asked))


def _program(link: socket.socket) -> Any:
    """Return the program, having imported meanwhile what it will likely need; None when none comes any more."""
    try:
        while True:
            message = wire.receive(link)
            if not isinstance(message, list) or message[0] != PRELOAD:
                return message
            for name in message[1]:
                with suppress(Exception):  # the program that needs it says what is wrong
                    import_module(name)
    except (EOFError, OSError):
        return None


def _answer(link: socket.socket, message: Any, work: Callable[[Any], Any]) -> None:
    try:
        answer: list[Any] = ["ok", work(message), ""]
    except StepFailed as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__, file=sys.stderr)
        answer = ["failed", str(error), ""]
    except InputError as error:
        answer = ["refused", error.message, error.hint]
    except BasculeError as error:
        answer = ["failed", f"{error.message} {error.hint}".strip(), ""]
    except Exception as error:  # whatever a model raises: its caller is told, and the worker goes on
        traceback.print_exception(error, file=sys.stderr)
        answer = ["failed", f"{type(error).__name__}: {error}", ""]
    sys.stdout.flush()
    wire.send(link, answer)


def _done(runner: GraphRunner, message: list[Any]) -> Any:
    kind = message[0]
    if kind == BEFORE:
        made = runner.before(message[1])
        try:
            return wire.written(made)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise StepFailed(f"{runner.named(BEFORE)} made what no column holds: {error}") from None
    matrix: np.ndarray = wire.unpacked(message[1])
    if kind == CONTRIBUTIONS:
        return told_part(runner.explainer.tell(matrix, background_of(message)))
    return wire.packed(runner.predict(matrix, message[2]))


def _die_with(parent: int) -> None:
    """End when the serving process ends, however it ends; the socket's end alone would not stop a long computation."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(1)


if __name__ == "__main__":
    main()
