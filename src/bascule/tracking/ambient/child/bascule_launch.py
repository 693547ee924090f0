"""Starting a command that is watched: at once, before anything of Bascule that is slow to import."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO, Any

import bascule_session as session
import bascule_signals as signals

HERE = os.path.dirname(os.path.abspath(__file__))
LONGEST_TEXT = 60
WORDS = frozenset(" |&;<>()$`*?\n")


class Launched:
    """A command that is running below its supervisor. Signals go on to it until it was waited for, or the block ends.

    Attributes:
        folder: of its session, or empty when no folder could be made for one.
        pid: of the command.
        begun: when it was started, on the monotonic clock.
    """

    def __init__(self, folder: str, supervisor: subprocess.Popen[bytes], report: int) -> None:
        self.folder = folder
        self.supervisor = supervisor
        self.pid = 0
        self.begun = time.monotonic()
        self._report = report
        self._text = b""
        self._copies: list[threading.Thread] = []
        self._before: dict[int, Any] = {}

    def begin(self) -> None:
        """Wait until the command has started.

        Raises:
            OSError: when it cannot be started.
        """
        word, number = self._line()
        if word == "error":
            self.supervisor.wait()
            raise OSError(number, os.strerror(number))
        self.pid = number
        if threading.current_thread() is threading.main_thread():
            # Who sends us a signal means the command, and no exception may come between what is read here and where it
            # is kept. The supervisor knows whether the command has it already, as of the terminal's Ctrl-C.
            self._before = {number: signal.signal(number, self._tell) for number in signals.ours()}

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Take signals as before the command was started: what comes now means us."""
        while self._before:
            signal.signal(*self._before.popitem())

    def wait(self) -> int:
        """Return the command's exit code, or the negative number of the signal that killed it."""
        try:
            word, number = self._line()
        finally:
            self.release()
        os.close(self._report)
        try:
            self.supervisor.wait(1)
        except subprocess.TimeoutExpired:  # what the command left behind still prints: the supervisor stays for it
            self.supervisor.returncode = 0
        for copy in self._copies:
            copy.join(1)
        # Without a word the supervisor itself was killed, and nobody knows how the command ends.
        return number if word == "exit" else -signal.SIGKILL

    def _line(self) -> tuple[str, int]:
        while b"\n" not in self._text:
            try:
                some = os.read(self._report, 256)
            except ConnectionResetError:  # a supervisor that was killed before it had heard all
                some = b""
            if not some:
                return "", 0
            self._text += some
        line, _, self._text = self._text.partition(b"\n")
        word, _, number = line.decode().partition(" ")
        return word, int(number)

    def _tell(self, number: int, _: object) -> None:
        try:
            os.write(self._report, bytes([number]))
        except OSError:  # the supervisor is gone
            return


def words_of(command: Sequence[str]) -> list[str]:
    """Return the command that a person means: `-m module`, `train.py` or one text for a shell, too."""
    words = list(command)
    if words and words[0] == "-m":
        return [_python(), *words]
    if words and words[0].endswith(".py") and os.path.isfile(words[0]) and not os.access(words[0], os.X_OK):
        return [_python(), *words]
    if len(words) == 1 and WORDS & set(words[0]) and shutil.which(words[0]) is None:
        return [os.environ.get("SHELL") or "sh", "-c", words[0]]
    return words


def name_of(command: Sequence[str]) -> str:
    """Return what people would call the command: its script or module, else the program."""
    if len(command) > 2 and command[1] == "-c":  # a program in the command itself: a shell's is what people wrote
        program, text = os.path.basename(command[0]), " ".join(command[2].split())
        return f"{program} -c" if program.startswith("python") else shorter(text)
    for word in command[:0:-1] if command[-1].endswith(".ipynb") else command[1:]:
        if not word.startswith("-"):
            return os.path.basename(word)[:200]
    return os.path.basename(command[0])[:200]


def shorter(text: str) -> str:
    """Return a text of at most as many signs as a list of runs has room for."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def launch(
    command: Sequence[str],
    *,
    start: str,
    name: str | None = None,
    workspace: str | None = None,
    spool: str | None = None,
    output: IO[bytes] | None = None,
    **more: Any,
) -> Launched:
    """Start a command under a supervisor, in a session of its own.

    Args:
        start: the project's folder, or one below it.
        output: takes the command's standard output instead of ours.

    Raises:
        OSError: when the command cannot be started. A session that cannot be made is told on standard error, and the
            command runs without one.
    """
    words = words_of(command)
    environment = dict(os.environ)
    try:
        folder = session.create(
            name=name or name_of(words), command=words, start=start, workspace=workspace, spool=spool, **more
        )
        path = os.pathsep.join(place for place in (HERE, os.environ.get("PYTHONPATH", "")) if place)
        environment |= {
            "PYTHONPATH": path,
            session.FOLDER: folder,
            session.RUN: session.header_of(folder)["run"],
        }
    except OSError as error:
        print(f"bascule: the command runs, and nothing of it is recorded: {error}", file=sys.stderr, flush=True)
        folder = ""
    report, tell = (end.detach() for end in socket.socketpair())
    outputs, copies = _outputs([output or sys.stdout, sys.stderr])
    supervisor = subprocess.Popen(
        [sys.executable, "-I", "-S", os.path.join(HERE, "bascule_supervise.py"), folder, str(tell), *words],
        env=environment,
        stdout=outputs[0],
        stderr=outputs[1],
        pass_fds=[tell],
    )
    os.close(tell)
    launched = Launched(folder, supervisor, report)
    launched._copies = [_copy(*pair) for pair in copies]
    try:
        launched.begin()
    except OSError:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return launched


def _outputs(sinks: list[Any]) -> tuple[list[int], list[tuple[int, int, Any]]]:
    """Return file descriptors for the supervisor; a sink without one (a notebook's) gets a pipe that is copied."""
    numbers, copies = [], []
    for sink in sinks:
        try:
            sink.flush()
            numbers.append(sink.fileno())
        except (OSError, ValueError, AttributeError):
            read, write = os.pipe()
            numbers.append(write)
            copies.append((read, write, getattr(sink, "buffer", sink)))
    return numbers, copies


def _copy(read: int, write: int, sink: Any) -> threading.Thread:
    os.close(write)

    def copy() -> None:
        while data := os.read(read, 65_536):
            try:
                sink.write(data)
                sink.flush()
            except (OSError, ValueError):
                continue
        os.close(read)

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    return thread


def _python() -> str:
    """The `python` that a person would type, else ours."""
    return shutil.which("python") or sys.executable
