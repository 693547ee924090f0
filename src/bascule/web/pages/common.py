"""What pages have in common: the state that they show."""

from __future__ import annotations

import msgspec


class View(msgspec.Struct, frozen=True):
    """Which state of the history a page shows: a branch, a tag or a commit."""

    ref: str = "main"
