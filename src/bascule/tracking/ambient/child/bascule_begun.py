"""A session that a process has begun for itself: it belongs to it, is brought in by a sender, and ends with it."""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
from typing import Any

import bascule_exit
import bascule_session as session
import bascule_watch as watch

# How long the end of a run waits for its records, at most; the sender goes on without us.
PATIENCE = 10.0
HERE = os.path.dirname(os.path.abspath(__file__))

_going_on: list[Begun] = []


class Begun:
    """What was begun in this process: the folder of its journal, and who brings it in."""

    def __init__(self, folder: str, sender: subprocess.Popen[bytes] | None) -> None:
        self.folder = folder
        self.sender = sender
        self.pid = os.getpid()
        self.run = ""
        self.environment: dict[str, str | None] = {}


def begin_here(name: str, command: list[str], *, follow: bool = True, **more: Any) -> Begun | None:
    """Begin a session in this process, which ends with it; None, and a word on standard error, when that fails."""
    try:
        found = session.find(os.getcwd())
        folder = session.create(name=name, command=command, start=os.getcwd(), **more)
        watch.begin(folder)
        begun = Begun(folder, _sender(folder, found[0]) if follow and found else None)
        begun.run = session.header_of(folder)["run"]
        if found is None:
            told = f"bascule: there is no project here; this run is kept in {folder}"
            print(f"{told}; bring it in from a project with: bascule sync {folder}", file=sys.stderr)
    except Exception as error:
        print(f"bascule: this run is not recorded: {error}", file=sys.stderr)
        return None
    # Processes that are started from here belong to it, and are watched from their beginning.
    begun.environment = {name: os.environ.get(name) for name in (session.FOLDER, "PYTHONPATH")}
    path = [HERE, os.environ.get("PYTHONPATH", "")]
    os.environ |= {session.FOLDER: folder, "PYTHONPATH": os.pathsep.join(place for place in path if place)}
    _going_on.append(begun)
    bascule_exit.watch_exit()
    atexit.register(lambda: end(begun, bascule_exit.exit_code()))
    return begun


def script_name() -> str:
    """Return what people would call this process: its script."""
    return os.path.basename(sys.argv[0])[:200] if sys.argv and sys.argv[0] else "python"


def _sender(folder: str, project: str) -> subprocess.Popen[bytes] | None:
    """Start the process that brings the journal in. It belongs to nobody: it goes on when this process is killed."""
    own = {name: value for name, value in os.environ.items() if name not in (session.FOLDER, session.RUN)}
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "bascule", "sync", folder, "--follow", "--json", "--project", project],
            env={**own, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place and place != HERE)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return None  # `bascule sync` brings it in later


def end(begun: Begun, code: int | None = None) -> None:
    """End a session of this process, once, and wait a while for its records.

    Args:
        code: the exit code, when the process ends and it is known.
    """
    if begun not in _going_on or begun.pid != os.getpid():
        return
    _going_on.remove(begun)
    last = {"kind": "exit", "code": code}
    if not watch.note(last):
        session.note_last(begun.folder, last)
    watch.end()
    if os.environ.get(session.FOLDER) == begun.folder:
        for name, value in begun.environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    if begun.sender is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            begun.sender.wait(PATIENCE)
        # A sender that goes on is nobody's zombie: it is a session of its own, and init takes it over.
        begun.sender.returncode = begun.sender.returncode or 0
