"""How far an addition or a checkout is, told as it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Progress(NamedTuple):
    """A moment of the work.

    Attributes:
        doing: what is done, in a word or two.
        files, bytes: how many are done.
        of_files, of_bytes: of how many, as far as is known.
    """

    doing: str
    files: int = 0
    bytes: int = 0
    of_files: int | None = None
    of_bytes: int | None = None


Tell = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Tell nobody."""
