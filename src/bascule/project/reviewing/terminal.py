"""Comparisons on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bascule.lake import ColumnDiff, RowChange, TableDiff
from bascule.project.comparing import Comparison
from bascule.project.lines import WIDTH, drawn
from bascule.project.reviewing import words

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"added": "green", "removed": "red", "changed": "yellow"}
MOST_COLUMNS = 12
MOST_CELLS = 8


def text(found: Sequence[Comparison], *, columns: bool = False, width: int = WIDTH, color: bool = False) -> str:
    """Return comparisons as lines of text.

    Args:
        columns: show every column of a table, and not only those whose values tell something.
        width: how many characters fit in a line.
        color: mark what was added and removed by colours.
    """
    if not found:
        return "Nothing differs."

    def draw(console: Console) -> None:
        for one in found:
            _path(console, one, columns)

    return drawn(draw, width=width, color=color)


def _path(console: Console, one: Comparison, columns: bool) -> None:
    from rich.text import Text

    what = one.info.kind.replace("_", " ") if one.summary == one.change else one.summary
    line = Text(f"{words.SIGNS[one.change]} {one.path}  {what}", style=STYLES[one.change] if one.summary else "")
    console.print(line, soft_wrap=True)
    for detail in one.details:
        console.print(Text(f"    {words.spelt(detail)}"), soft_wrap=True)
    if one.table is not None and (one.change == "changed" or columns):
        _values(console, one.table, columns)
        _rows(console, one.table)


def _values(console: Console, diff: TableDiff, columns: bool) -> None:
    shown = list(diff.values) if columns else words.telling(diff)[:MOST_COLUMNS]
    if not shown:
        return
    rest = words.more_columns(diff, len(shown))
    more = f"; {rest}" if rest else ""
    whole = "" if diff.whole else "; --whole reads the whole table"
    _line(console, f"values in {words.scope(diff)}{more}{whole}:")
    head = ("column", "type", "changed", "null", "mean", "median", "shift")
    body = [(words.spelt(c.column), c.type, *words.figures(c, diff)) for c in shown]
    keep = [i for i in range(len(head)) if i < 2 or any(row[i] != "–" for row in body)]
    _table(console, [head[i] for i in keep], [[row[i] for i in keep] for row in body], right=True)
    for column in shown:
        _moved(console, column, diff)


def _moved(console: Console, column: ColumnDiff, diff: TableDiff) -> None:
    told = words.moved(column, diff)
    if told:
        _line(console, f"  {words.spelt(column.column)}: {told}")


def _rows(console: Console, diff: TableDiff) -> None:
    for kind in ("changed", "added", "removed"):
        rows = [row for row in diff.sample if row.kind == kind]
        if not rows:
            continue
        how = f", {words.matched(diff)}" if kind == "changed" else ""
        _line(console, f"{words.counts(rows, getattr(diff, kind), kind)}{how}:")
        if kind == "changed":
            _changed(console, rows, diff.matched_by)
        else:
            _whole(console, rows, diff.matched_by)


def _changed(console: Console, rows: Sequence[RowChange], key: Sequence[str]) -> None:
    body = []
    for row in rows:
        named = [words.cell((row.after or {}).get(name)) for name in key]
        cells = words.cells(row, key)
        told = [f"{words.spelt(name)}: {old} → {new}" for name, old, new in cells[:MOST_CELLS]]
        more = [f"and {len(cells) - MOST_CELLS} more"] if len(cells) > MOST_CELLS else []
        body.append([*named, ", ".join([*told, *more])])
    _table(console, [*map(words.spelt, key), "changes"], body)


def _whole(console: Console, rows: Sequence[RowChange], key: Sequence[str]) -> None:
    names, more = words.first_columns(rows, key, MOST_CELLS)
    body = [[words.cell((row.after or row.before or {}).get(name), 30) for name in names] for row in rows]
    _table(console, [*map(words.spelt, names), *([f"… {more} more"] if more else [])], body)


def _line(console: Console, told: str) -> None:
    from rich.text import Text

    console.print(Text(f"    {told}", style="dim"), soft_wrap=True)


def _table(console: Console, head: Sequence[str], body: Sequence[Sequence[str]], *, right: bool = False) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for at, name in enumerate(head):
        table.add_column(Text(name), justify="right" if right and at > 1 else "left", overflow="fold")
    for row in body:
        table.add_row(*(Text(one) for one in row))
    console.print(Padding(table, (0, 0, 0, 6), expand=False))
