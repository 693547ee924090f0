"""What an import brought, what was here already, and what could not be taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

MOST_NAMED = 20
# Told what is going on, how many are done, and of how many, if that is known.
Progress = Callable[[str, int, int | None], None]


@dataclass
class Left:
    """Things that were not taken for one reason; the first twenty are named."""

    what: str
    why: str
    count: int = 0
    names: list[str] = field(default_factory=list)


@dataclass
class Imported:
    """What an import did, or would do.

    Attributes:
        experiments: how many were made; so for the other counts.
        here: how many runs, logged models and traces were here already, and stay as they are.
        conflicts: experiments, models and runs that cannot be what they were, each in a sentence.
        left: what was not taken.
    """

    source: str
    branch: str
    dry_run: bool = False
    experiments: int = 0
    runs: int = 0
    points: int = 0
    models: int = 0
    registered: int = 0
    versions: int = 0
    traces: int = 0
    files: int = 0
    bytes: int = 0
    here: int = 0
    conflicts: list[str] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    def leave(self, what: str, why: str, name: str, count: int = 1) -> None:
        """Note something that was not taken."""
        why = _line(why)
        found = next((one for one in self.left if (one.what, one.why) == (what, why)), None)
        if found is None:
            found = Left(what, why)
            self.left.append(found)
        found.count += count
        if name and len(found.names) < MOST_NAMED:
            found.names.append(_line(name))

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def _line(text: str) -> str:
    """Return a source's text as one line that does nothing to a terminal."""
    words = " ".join(text.split())
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in words)
