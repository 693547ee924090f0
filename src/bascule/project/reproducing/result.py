"""What came out when something was done again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["identical", "equal", "different"]
#: The paths of how a run ended: by its exit code, or in a word.
EXIT, END = "exit code", "end"
#: What a thing was or held then, and now: (term, then, now).
Term = tuple[str, str, str]


@dataclass(frozen=True)
class Compared:
    """One thing that was made then and now.

    Attributes:
        path: a file's path, `metric NAME`, or how it ended: `exit code`, `end`.
        verdict: `identical` in every byte; `equal` in all numbers, within the tolerance; or `different`.
        values: how many numbers were compared; 0 where nothing but bytes can be.
        absolute, relative: the greatest differences among them.
        note: what else differs, or why numbers cannot be compared.
    """

    path: str
    verdict: Verdict
    values: int = 0
    absolute: float = 0.0
    relative: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Reproduction:
    """What came out.

    Attributes:
        of: the run that was done again.
        run_id: the run that did it.
        verdict: the worst of what was compared: `identical`, `equal` (within the tolerance) or `different`.
        compared: the artifacts, outputs and metrics.
        terms: every input, with what it was then and now; those that differ explain a different result.
        notes: what else is to be known, in sentences.
        seeds: what was recorded of seeds.
        model, version: of the registered version, if one was asked for.
        expected, found: digests of that version's artifact then and now.
        tolerance: the relative difference up to which numbers count as equal.
    """

    of: str
    run_id: str
    verdict: Verdict
    compared: tuple[Compared, ...] = ()
    terms: tuple[Term, ...] = ()
    notes: tuple[str, ...] = ()
    seeds: tuple[str, ...] = ()
    model: str | None = None
    version: int | None = None
    expected: str | None = None
    found: str | None = None
    tolerance: float = 0.0

    @property
    def differing(self) -> list[Term]:
        """The inputs that are not what they were: (term, then, now)."""
        return [term for term in self.terms if term[1] != term[2]]

    @property
    def relative(self) -> float:
        """The greatest relative difference of any number."""
        return max((one.relative for one in self.compared), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """The reproduction as one JSON object."""
        return {**asdict(self), "differing": self.differing}


def worst(compared: tuple[Compared, ...]) -> Verdict:
    """Return the verdict over several things."""
    found = {one.verdict for one in compared}
    return "different" if "different" in found else "equal" if "equal" in found else "identical"
