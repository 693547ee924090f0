"""Ids that sort by time, the clock, and who is acting."""

from __future__ import annotations

import getpass
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

from bascule.errors import InputError

# Crockford's base 32: sorts as the numbers do, and has no letters that read alike.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

_acting: ContextVar[str] = ContextVar("acting", default="")
_last = 0
_lock = threading.Lock()


def now() -> int:
    """Return the time in microseconds since 1970-01-01T00:00:00Z."""
    return time.time_ns() // 1000


def new_id(prefix: str) -> str:
    """Return a new id such as `run_06fk3v…`: the prefix and 26 characters, increasing within a process.

    The first 11 characters hold the time in microseconds, the other 15 hold 75 random bits.
    """
    global _last
    with _lock:
        moment = max(now(), _last + 1)
        _last = moment
    return f"{prefix}_{_base32(moment, 11)}{_base32(secrets.randbits(75), 15)}"


def _base32(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        digits.append(ALPHABET[number & 31])
        number >>= 5
    return "".join(reversed(digits))


def actor() -> str:
    """Return who is acting: whom `acting_as` names, else `BASCULE_USER`, else git's user.email, else the login name.

    Raises:
        InputError: as `checked_actor`.
    """
    return _acting.get() or checked_actor(os.environ.get("BASCULE_USER") or _git_email() or _login())


@contextmanager
def acting_as(name: str) -> Iterator[None]:
    """Let everything that this thread does in a block be done by somebody: a server works for whoever asks."""
    before = _acting.set(checked_actor(name))
    try:
        yield
    finally:
        _acting.reset(before)


def checked_actor(name: str) -> str:
    """Return a person's name if the log can hold it in one line.

    Raises:
        InputError: it has a control character, such as the end of a line.
    """
    if not name.isprintable():
        raise InputError(
            f"{name[:60]!r} cannot name who is acting: it has a character that is no sign.",
            hint="Set BASCULE_USER, or git's user.email, to a name in one line.",
        )
    return name


@cache
def _git_email() -> str:
    try:
        found = subprocess.run(["git", "config", "user.email"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()


@cache
def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run a user id that has no name
        return f"uid-{os.getuid()}" if hasattr(os, "getuid") else "unknown"
