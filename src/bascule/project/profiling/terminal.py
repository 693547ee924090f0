"""A profile on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bascule.profiles import TableProfile
from bascule.profiles.results import ColumnProfile
from bascule.project.lines import WIDTH, drawn
from bascule.project.profiling import wording
from bascule.project.reviewing.words import figure, share, spelt

if TYPE_CHECKING:
    from rich.console import Console

BLOCKS = " ▁▂▃▄▅▆▇█"
MOST_NOTES = 12
MOST_PAIRS = 8


def text(found: Any, *, width: int = WIDTH, color: bool = False) -> str:
    """Return a profile as lines of text.

    Args:
        width: how many characters fit in a line.
        color: mark warnings by colours.
    """
    return drawn(lambda console: _profile(console, found), width=width, color=color)


def _profile(console: Console, found: Any) -> None:
    if isinstance(found, TableProfile):
        _table(console, found)
    else:
        from bascule.project.profiling.filesets import lines

        for line in lines(found):
            console.print(spelt(line), soft_wrap=True)


def _table(console: Console, found: TableProfile) -> None:
    from rich import box
    from rich.table import Table

    console.print(
        f"{found.name}: " + ", ".join(f"{name.lower()} {spelt(value)}" for name, value in wording.facts(found))
    )
    console.print()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=False)
    for name in ("column", "meaning", "missing", "distinct", "what it holds", "shape"):
        table.add_column(name, justify="right" if name in ("missing", "distinct") else "left", no_wrap=name == "shape")
    for one in found.columns:
        missing = share(one.missing / found.rows_read) if found.rows_read and one.missing else ""
        table.add_row(spelt(one.name), one.meaning, missing, wording.distinct(one), held(one), spark(one))
    console.print(table)
    for title, lines in _parts(found):
        console.print()
        console.print(title, style="bold" if console.is_terminal else "")
        for line, grave in lines:
            console.print(f"  {spelt(line)}", style="yellow" if grave else "", soft_wrap=True)
    if found.rows_read > found.rows_sampled or found.rows_read < found.rows:
        console.print()
        console.print(f"≈ is a sketch; quantiles and what goes together are told of {found.rows_sampled:,} rows.")


def held(one: ColumnProfile) -> str:
    """Return what a column holds, in a few words."""
    if one.private:
        return "personal: not shown"
    if one.times is not None:
        return f"{one.times.minimum} … {one.times.maximum}"
    numbers = one.numbers
    valued = one.meaning in ("category", "yes or no", "constant", "year")
    if numbers is not None and numbers.minimum is not None and not (valued and one.top):
        middle = f", median {figure(dict(numbers.quantiles)[0.5])}" if numbers.quantiles else ""
        middle = "" if one.meaning == "identifier" else middle
        return f"{wording.number(one, numbers.minimum)} … {wording.number(one, numbers.maximum)}{middle}"
    if one.top:
        shown = ", ".join(f"{spelt(top.value[:16])} {top.rows:,}" for top in one.top[:3])
        return shown + (", …" if (one.distinct or 0) > 3 else "")
    return ""


def spark(one: ColumnProfile) -> str:
    """Return a histogram in one line of blocks; empty where there is none."""
    if one.histogram is None:
        return ""
    counts = [found.rows for found in one.histogram.bins]
    if len(counts) > 20:
        counts = [counts[round(k * len(counts) / 20)] for k in range(20)]
    most = max(counts) or 1
    return "".join(BLOCKS[max(1, round(count / most * 8))] if count else BLOCKS[0] for count in counts)


def _parts(found: TableProfile) -> list[tuple[str, list[tuple[str, bool]]]]:
    notes = [
        (f"{note.column}: {note.text}" if note.column else note.text, note.level == "warning") for note in found.notes
    ]
    more = [(f"… and {len(notes) - MOST_NOTES} more", False)] if len(notes) > MOST_NOTES else []
    keys = [(f"{', '.join(one.columns)}: {wording.key(one)}", False) for one in found.keys]
    joins = [
        (f"{', '.join(f'{left} = {one.table}.{right}' for left, right in one.pairs)}: {wording.join(one)}", False)
        for one in found.joins
    ]
    pairs = [(f"{one.left}, {one.right}: {wording.pair(one)}", False) for one in found.pairs[:MOST_PAIRS]]
    labels = [(f"{one.column}: {one.why}", False) for one in found.labels]
    parts = [
        ("Worth knowing", [*notes[:MOST_NOTES], *more]),
        ("Keys and joins", [*keys, *joins]),
        ("What goes together", pairs),
        ("What could be learned", labels),
    ]
    if found.change is not None:
        change = found.change
        lines = [
            f"{change.rows_before:,} → {change.rows:,} rows: {change.added:,} added, {change.removed:,} removed, "
            f"{change.changed:,} changed"
        ]
        lines += change.schema
        lines += [
            f"{one.column}: shift {one.shift:.3f}" if one.shift is not None else one.column
            for one in change.columns[:MOST_PAIRS]
        ]
        parts.append((f"Since {change.ref}", [(line, False) for line in lines]))
    return [(title, lines) for title, lines in parts if lines]
