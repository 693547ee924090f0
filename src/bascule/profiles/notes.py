"""What a reader should know first: sentences about a profile, warnings before all else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from bascule.profiles.results import ColumnProfile, Duplicates, Note, TableProfile

MOSTLY = 0.5
SKEWED = 10.0
MANY_OUTLIERS = 0.01
ALIKE = 0.95
DOMINANT = 0.99
MOST_ALIKE = 8


def notes_of(found: TableProfile, duplicates: Duplicates | None) -> TableProfile:
    """Return the profile with its notes."""
    notes = [*_table(found, duplicates)]
    for column in found.columns:
        for grave, text in _column(column, found.rows):
            notes.append(Note(level="warning" if grave else "info", text=text, column=column.name))
    alike = [pair for pair in found.pairs if abs(pair.value) >= ALIKE][:MOST_ALIKE]
    for pair in alike:
        word = {"spearman": "rank correlation", "cramers_v": "Cramér's V", "correlation_ratio": "correlation ratio"}
        text = f"{pair.left} and {pair.right} say nearly the same ({word[pair.measure]} {pair.value:.3f})"
        notes.append(Note(level="info", text=text))
    notes.sort(key=lambda note: note.level != "warning")
    replace: Any = msgspec.structs.replace
    done: TableProfile = replace(found, notes=tuple(notes))
    return done


def _table(found: TableProfile, duplicates: Duplicates | None) -> Iterator[Note]:
    if not found.rows:
        yield Note(level="warning", text="the table has no rows")
    if duplicates and duplicates.copies:
        share = duplicates.copies / found.rows
        yield Note(level="warning", text=f"{duplicates.copies:,} rows ({share:.2%}) are exact copies of another")


def _column(one: ColumnProfile, rows: int) -> Iterator[tuple[bool, str]]:
    """Yield what is remarkable of a column, and whether it is grave."""
    if not rows:
        return
    if one.private and one.missing < rows:
        yield True, f"looks like personal data: {one.private} ({one.private_why}); its values are not shown"
    if one.missing == rows:
        yield True, "has no value in any row"
        return
    if one.missing / rows >= MOSTLY:
        yield True, f"is missing in {one.missing / rows:.0%} of the rows"
    if one.meaning == "constant":
        yield True, "has one value in all rows that have one"
        return
    if one.top and one.top_of == "rows" and one.top[0].rows / rows >= DOMINANT:
        yield False, f"has one value in {one.top[0].rows / rows:.1%} of the rows"
    if one.distinct_exact and one.distinct == rows > 1:
        yield False, "has another value in each row"
    yield from _numbers(one, rows)
    yield from _texts(one, rows)
    if one.times is not None:
        if one.times.future:
            yield True, f"lies in the future in {one.times.future:,} rows"
        if one.times.gaps:
            gap = one.times.gaps[0]
            word = {"century": "centurie"}.get(one.times.unit, one.times.unit) + "s"
            word = one.times.unit if gap.periods == 1 else word
            yield False, f"has no row from {gap.start} to {gap.end}: {gap.periods:,} {word}"


def _numbers(one: ColumnProfile, rows: int) -> Iterator[tuple[bool, str]]:
    found = one.numbers
    if found is None:
        return
    if found.infinite:
        yield True, f"is infinite in {found.infinite:,} rows"
    if one.private or one.meaning in ("identifier", "yes or no", "category", "year"):
        return
    if found.outliers is not None:
        beyond = found.outliers.below + found.outliers.above
        if beyond / rows >= MANY_OUTLIERS:
            yield False, f"has {beyond:,} rows ({beyond / rows:.1%}) far outside its middle half"
    if found.skewness is not None and abs(found.skewness) >= SKEWED:
        yield False, f"is very skewed ({found.skewness:.0f}): its mean says little"
    if found.zeros / rows >= MOSTLY:
        yield False, f"is zero in {found.zeros / rows:.0%} of the rows"


def _texts(one: ColumnProfile, rows: int) -> Iterator[tuple[bool, str]]:
    found = one.texts
    if found is None:
        return
    if found.empty:
        yield True, f"is an empty text, not missing, in {found.empty:,} rows"
    if found.padded:
        yield True, f"has blanks before or behind in {found.padded:,} rows"
    coded = one.meaning in ("category", "country code", "currency code", "yes or no")
    if found.same_but_case and not one.private and coded:
        yield True, f"has {found.same_but_case:,} values that differ from another in capitals or blanks alone"
    if found.numeric >= 0.98 and one.meaning not in ("postal code", "identifier", "yes or no"):
        yield False, "holds numbers as text"
