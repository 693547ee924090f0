"""What became of one version while it was served: how often its workers were lost, and why it answered nothing."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["crashed", "hung", "grew", "failed", "unloadable"]
CRASHED: Kind = "crashed"
HUNG: Kind = "hung"
GREW: Kind = "grew"
FAILED: Kind = "failed"
UNLOADABLE: Kind = "unloadable"
MOST_TEXT = 300
# Of a failure: our own words about an answer of the wrong form; else its kind alone, for other words may quote rows.
ANSWERED = re.compile(r"(RuntimeError: )?(the step '[^']*'|the model|it|models/\S+) answered ")
OURS = re.compile(r"the shape |(-?\d[\d.e+-]*|nan|-?inf) for row |\d+ (rows|numbers) ")
# Of any failure, what is not the words of who failed: the step, and the kind of exception.
KIND = re.compile(r"(the step '[^']*' failed: )?[A-Za-z_]\w*(?=: |$)")


@dataclass(slots=True)
class Happening:
    """What happened so many times. Times are microseconds since the epoch.

    Attributes:
        text: of the last time.
        over: it has been mended since.
        unwritten: of these, how many the catalog does not have yet.
        changed: it is otherwise than the catalog has it.
    """

    count: int = 0
    first: int = 0
    last: int = 0
    text: str = ""
    over: bool = False
    unwritten: int = 0
    changed: bool = False


class Case:
    """What happened to one version in this process, by kind. It is used from any thread.

    Args:
        model, version, artifact: which version it is, and the digest of its bundle.
        changed: called when something has happened.
        broken: it could not be loaded before this process began.
    """

    def __init__(
        self,
        model: str = "",
        version: int = 0,
        artifact: str = "",
        changed: Callable[[], None] = lambda: None,
        broken: bool = False,
    ) -> None:
        self.model, self.version, self.artifact = model, version, artifact
        self._changed = changed
        self._found: dict[Kind, Happening] = {UNLOADABLE: Happening()} if broken else {}
        self._lock = threading.Lock()

    def note(self, kind: Kind, text: str) -> None:
        """Note that something happened, which costs some microseconds and no wait."""
        at = time.time_ns() // 1000
        with self._lock:
            found = self._found.setdefault(kind, Happening(first=at))
            found.count, found.unwritten = found.count + 1, found.unwritten + 1
            found.last, found.text, found.over, found.changed = at, text[:MOST_TEXT], False, True
        self._changed()

    def failed(self, error: Exception) -> None:
        """Note that a request was answered by an error of the model; what cost a worker is noted already."""
        if getattr(error, "noted", False):
            return
        text = str(error) if getattr(error, "whole", False) else f"{type(error).__name__}: {error}"
        self.note(FAILED, _without_values(text))

    def over(self, kind: Kind) -> None:
        """Note that what happened is mended, be it seen by this process or by one before it."""
        with self._lock:
            found = self._found.get(kind)
            if found is None or found.over:
                return
            found.over = found.changed = True
        self._changed()

    def happenings(self) -> dict[Kind, Happening]:
        """Return what happened, by kind."""
        with self._lock:
            return {kind: one for kind, one in self._found.items() if one.count}

    def take(self) -> list[tuple[Kind, int, int, int, str, bool]]:
        """Return what is to be written: kind, how often more, first, last, text and whether it is over."""
        with self._lock:
            found = [(k, h.unwritten, h.first, h.last, h.text, h.over) for k, h in self._found.items() if h.changed]
            for one in self._found.values():
                one.unwritten, one.changed = 0, False
        return found

    def give_back(self, taken: list[tuple[Kind, int, int, int, str, bool]]) -> None:
        """Take back what could not be written."""
        with self._lock:
            for kind, more, *_ in taken:
                self._found[kind].unwritten += more
                self._found[kind].changed = True


def _without_values(text: str) -> str:
    """Return what is told of a failure without a row's values or a model's answer."""
    answered, kind = ANSWERED.match(text), KIND.match(text)
    if answered:
        return text if OURS.match(text, answered.end()) else f"{answered[0]}what are no numbers"
    return kind[0] if kind else "it failed"
