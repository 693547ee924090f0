"""A relation in parts that never change, and the states of checks that were measured over them before.

A data file is immutable, so what an aggregate said of it can be kept and merged with what it says of the files that
came since: to check a table after an append costs the append.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from blake3 import blake3

from bascule.contracts.facts import Facts

LABEL = "__file"  # names the part that a row belongs to


class Parts(Protocol):
    """The rows of a relation, part by part.

    Attributes:
        scope: stands for the table that the parts belong to.
        ids: the parts that never change, each by what stands for its content and the way it is read.
        rest: text usable after FROM with the rows that are in no part; None when there are none.
    """

    @property
    def scope(self) -> str: ...  # noqa: D102

    @property
    def ids(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def rest(self) -> str | None: ...  # noqa: D102

    def rows(self, ids: Collection[str]) -> int:
        """How many rows some parts have."""
        ...

    def facts(self, part: str) -> Facts | None:
        """What is known of a part without reading it; None when nothing is."""
        ...

    def relation(self, ids: Collection[str]) -> str:
        """Text usable after FROM with the rows of some parts."""
        ...

    def labelled(self, ids: Collection[str]) -> tuple[str, Mapping[str, str]]:
        """The same with a column `__file` more, and which part each of its values means."""
        ...


class Memory(Protocol):
    """Keeps states. It may lose any of them at any time: they are measured again then."""

    def load(self, parts: Collection[str], measures: Collection[str]) -> dict[tuple[str, str], Any]:
        """The states that are known of some parts, by part and measure."""
        ...

    def keep(self, scope: str, states: Mapping[tuple[str, str], Any]) -> None:
        """Keep states, by part and measure, for a table. A state is made of lists, texts, numbers and None."""
        ...


class NoMemory:
    """Knows nothing and keeps nothing."""

    def load(self, parts: Collection[str], measures: Collection[str]) -> dict[tuple[str, str], Any]:
        """Nothing is known."""
        return {}

    def keep(self, scope: str, states: Mapping[tuple[str, str], Any]) -> None:
        """Nothing is kept."""


class Noting:
    """A memory that notes what it is to keep, and hands it on all at once."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._noted: dict[str, dict[tuple[str, str], Any]] = {}
        self._asked: tuple[frozenset[str], frozenset[str]] = frozenset(), frozenset()
        self._told: dict[tuple[str, str], Any] = {}

    def ask(self, parts: Collection[str], measures: Collection[str]) -> None:
        """Ask the memory once for what `load` will be asked for bit by bit."""
        self._asked = frozenset(parts), frozenset(measures)
        self._told = self._memory.load(*self._asked)

    def load(self, parts: Collection[str], measures: Collection[str]) -> dict[tuple[str, str], Any]:
        """What was noted, and what the memory knows."""
        if self._asked[0].issuperset(parts) and self._asked[1].issuperset(measures):
            wanted = ((part, measure) for part in parts for measure in measures)
            found = {place: self._told[place] for place in wanted if place in self._told}
        else:
            found = self._memory.load(parts, measures)
        for states in self._noted.values():
            found |= {(p, m): state for (p, m), state in states.items() if p in parts and m in measures}
        return found

    def keep(self, scope: str, states: Mapping[tuple[str, str], Any]) -> None:
        """Note states."""
        self._noted.setdefault(scope, {}).update(states)

    def hand_on(self) -> None:
        """Give the memory what was noted."""
        for scope, states in self._noted.items():
            self._memory.keep(scope, states)
        self._noted = {}


class OfParts:
    """A memory that keeps only what is said of a part alone: for looking at some parts of a table.

    What is said of a table as a whole, such as between which values a median lies, stays as the table has it.
    """

    def __init__(self, memory: Memory, ids: Collection[str]) -> None:
        self._memory, self._ids = memory, frozenset(ids)

    def load(self, parts: Collection[str], measures: Collection[str]) -> dict[tuple[str, str], Any]:
        """What is known of the parts."""
        return self._memory.load([part for part in parts if part in self._ids], measures)

    def keep(self, scope: str, states: Mapping[tuple[str, str], Any]) -> None:
        """Keep what is said of the parts."""
        told = {place: state for place, state in states.items() if place[0] in self._ids}
        if told:
            self._memory.keep(scope, told)


class Whole:
    """A relation of which no part is known to stay.

    Attributes:
        files: the same rows as they lie in files, whose footers may be asked.
    """

    scope = ""
    ids: tuple[str, ...] = ()

    def __init__(self, relation: str, files: str | None = None) -> None:
        self.rest: str | None = relation
        self.files = files or relation

    def rows(self, ids: Collection[str]) -> int:
        """There are no parts."""
        return 0

    def facts(self, part: str) -> Facts | None:
        """There are no parts."""
        return None

    def relation(self, ids: Collection[str]) -> str:
        """There are no parts."""
        raise LookupError("a whole relation has no parts")

    def labelled(self, ids: Collection[str]) -> tuple[str, Mapping[str, str]]:
        """There are no parts."""
        raise LookupError("a whole relation has no parts")


def measure_of(*words: str) -> str:
    """What stands for a measure: its SQL, and what else makes its states what they are."""
    return blake3("\0".join(words).encode()).hexdigest(length=16)
