"""How long work tells what it is at."""

from __future__ import annotations

from typing import Protocol


class Tell(Protocol):
    """Is told what is going on, how much is done, and of how much, if that is known."""

    def __call__(self, message: str, done: int = 0, total: int | None = None) -> None:
        """Take note."""


def quiet(message: str, done: int = 0, total: int | None = None) -> None:
    """Tell nobody."""
