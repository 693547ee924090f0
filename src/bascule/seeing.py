"""As whom somebody reads: the role whose sight masks follow, and the refusal of what only whole values can answer.

It is by itself, so that a server knows who asks before anything that reads tables is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from bascule.errors import InputError

_role: ContextVar[str | None] = ContextVar("role", default=None)


class Masked(InputError):
    """Something would show values that the role of who asks may not see."""


@contextmanager
def seeing_as(role: str | None) -> Iterator[None]:
    """Let everything that this thread reads in a block be read as a role does. None, who has the files, sees all."""
    before = _role.set(role)
    try:
        yield
    finally:
        _role.reset(before)


def current_role() -> str | None:
    """Return the role that this thread reads as."""
    return _role.get()
