"""Processes as records name them: host, number and beginning, so that a later one of the same number is told apart."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_ENDED = "ZX"


def this_process() -> str:
    """Return the name of this process: `HOST:PID:BEGAN`, or `HOST:PID` where the system does not say when it began."""
    pid = os.getpid()
    began = _began(pid)
    return f"{socket.gethostname()}:{pid}" + (f":{began}" if began else "")


def has_ended(name: str) -> bool:
    """Tell whether a process of this machine is gone. Of another machine's nobody knows: False."""
    host, _, rest = name.partition(":")
    number, _, began = rest.partition(":")
    if host != socket.gethostname():
        return False
    pid = int(number) if number.isdigit() else 0
    if began:
        return _began(pid) != began
    return not _is_there(pid)


def _began(pid: int) -> str:
    """Return when a process began, in ticks since this boot; empty when it is gone, or the system does not say."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return "" if state in _ENDED else f"{fields[18]}-{_BOOT.read_text('utf-8')[:8]}"
    except (OSError, IndexError):
        return ""


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid > 0
