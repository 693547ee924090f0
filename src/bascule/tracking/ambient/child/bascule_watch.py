"""The journal of a tracked process, and what it notes by itself: the command, files, and how it ended.

A line is one JSON object, appended in one write, so the lines of many processes and threads never mix and a process
that is killed leaves whole lines behind.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import sysconfig
import tempfile
import threading
from types import TracebackType
from typing import Any

JOURNAL = "BASCULE_JOURNAL"

_busy = threading.local()
_seen: set[tuple[str, str]] = set()
_file = -1
_skipped: tuple[str, ...] = ()


def begin() -> None:
    """Open the journal that the environment names and start to watch."""
    global _file, _skipped
    place = os.environ.get(JOURNAL)
    if not place:
        return
    _file = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    paths = sysconfig.get_paths()
    roots = {paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"], sys.prefix, sys.base_prefix}
    roots |= {os.path.dirname(__file__), "/proc", "/sys", "/dev", "/etc", "/usr"}
    own = os.getcwd()
    # A project below the temporary folder (as in a test) is still a project.
    temporary = os.path.realpath(tempfile.gettempdir())
    if not os.path.realpath(own).startswith(temporary):
        roots.add(temporary)
    _skipped = (os.path.realpath(place), *(os.path.realpath(root) + os.sep for root in roots))
    note({"kind": "start", "pid": os.getpid(), "argv": sys.orig_argv, "python": sys.version.split()[0]})
    sys.addaudithook(_on_audit)
    _watch_exceptions()
    atexit.register(lambda: note({"kind": "end", "pid": os.getpid()}))
    import bascule_frameworks

    bascule_frameworks.watch_imports()


def note(entry: dict[str, Any]) -> None:
    """Append one entry. Silent when it cannot be written: a full disk is not the script's business."""
    try:
        os.write(_file, (json.dumps(entry, default=str) + "\n").encode())
    except (OSError, TypeError, ValueError):
        return


def note_file(path: object, mode: str) -> None:
    """Note a file of the user's that is read (`r`) or written (`w`), once."""
    if not isinstance(path, str | bytes | os.PathLike):
        return
    text = os.path.realpath(os.fsdecode(path))
    if text.startswith(_skipped) or text.endswith((".pyc", ".so", ".pyd")) or (text, mode) in _seen:
        return
    _seen.add((text, mode))
    note({"kind": "file", "mode": mode, "path": text})


def _on_audit(event: str, arguments: tuple[Any, ...]) -> None:
    # A hook cannot be taken off, and it sees what it does itself: `_busy` keeps it from answering its own calls.
    if event != "open" or getattr(_busy, "now", False):
        return
    _busy.now = True
    try:
        path, mode, flags = arguments
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR)) if mode is None else any(c in mode for c in "wax+")
        note_file(path, "w" if writes else "r")
    except Exception:
        return
    finally:
        _busy.now = False


def _watch_exceptions() -> None:
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        note({"kind": "exception", "text": f"{kind.__name__}: {error}"})
        before(kind, error, trace)

    sys.excepthook = hook
