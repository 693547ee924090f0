"""What a terminal shows, as text: written to a console that is none, and taken from it line by line."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 100


def drawn(draw: Callable[[Console], None], *, width: int = WIDTH, color: bool = False) -> str:
    """Return what is drawn on a console as lines of text, without what is blank at their ends.

    Args:
        draw: prints to the console that it is given.
        width: how many characters fit in a line.
        color: with a terminal's marks for colours.
    """
    from rich.console import Console

    out = io.StringIO()
    draw(
        Console(
            file=out,
            width=width,
            force_terminal=color,
            color_system="standard" if color else None,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )
    )
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
