"""Hierarchies of values: what each is called at every coarser level, as `Bonn, North Rhine-Westphalia, Germany, *`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bascule.errors import InputError

TOP = "*"


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """What each value is called from level to level, the finest first; the last level is the same for all.

    Attributes:
        levels: value to its names, from itself to `*`; all equally long.
    """

    levels: Mapping[str, tuple[str, ...]]

    @property
    def depth(self) -> int:
        """How many levels there are, the values' own among them."""
        return len(next(iter(self.levels.values()), (TOP,)))

    def refuse_unknown(self, values: Iterable[str], column: str) -> None:
        """Refuse values that the hierarchy does not name.

        Raises:
            InputError: naming how many there are, and no value: they may be personal.
        """
        unknown = sum(1 for value in values if value not in self.levels)
        if unknown:
            raise InputError(
                f"The hierarchy of {column!r} does not name {unknown:,} of its values.",
                hint="Add a line for each: the value, then what it is called at coarser levels.",
            )


def read_hierarchy(file: Path | str) -> Hierarchy:
    """Read a CSV file whose lines are a value and its names at coarser levels, without a header.

    Raises:
        InputError: the file cannot be read, lines have different lengths, or a value has two parents.
    """
    try:
        with open(file, encoding="utf-8-sig", newline="") as source:
            lines = [(n, line) for n, line in enumerate(csv.reader(source), 1) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The hierarchy {file} cannot be read: {error}") from error
    if not lines:
        raise InputError(f"The hierarchy {file} is empty.", hint="Write a line for each value: value,coarser,coarsest")
    wide = len(lines[0][1])
    levels: dict[str, tuple[str, ...]] = {}
    parents: dict[tuple[int, str], tuple[str, ...]] = {}
    for number, line in lines:
        if len(line) != wide:
            raise InputError(f"{file}, line {number}: {len(line)} levels, where the first line has {wide}.")
        names = (*line, TOP) if line[-1] != TOP else tuple(line)
        for level, name in enumerate(names[:-1]):
            if parents.setdefault((level, name), names[level + 1 :]) != names[level + 1 :]:
                raise InputError(f"{file}, line {number}: {name!r} belongs to two different groups.")
        levels[line[0]] = names
    return Hierarchy(levels)
