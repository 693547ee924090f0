"""Comparisons as Markdown for a pull request: a table of all paths, then each one's details, folded away.

GitHub takes at most 65,536 characters in a comment; what does not fit is cut at whole parts, and said.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from bascule.lake import RowChange, TableDiff
from bascule.project.comparing import Comparison
from bascule.project.reviewing import words

LIMIT = 60_000
MOST_PATHS = 100
MOST_COLUMNS = 20
MOST_CELLS = 8


def markdown(found: Sequence[Comparison], before: str, after: str, *, columns: bool = False, limit: int = LIMIT) -> str:
    """Return comparisons as GitHub-flavoured Markdown of at most `limit` characters.

    Args:
        before, after: what the two states are called.
        columns: show every column of a table, and not only those whose values tell something.
    """
    title = f"### {code(before)} → {code(after)}\n\n"
    if not found:
        return f"{title}Nothing differs.\n"
    text = title + _overview(found)
    note = _note(before, after)
    room = limit - len(note) - 200  # for what says what was cut
    left_out: list[str] = []
    for one in found:
        block = ""
        for part in _parts(one, columns):
            if len(text) + len(block) + len(part) + 40 > room:
                left_out.append(one.path)
                break
            block += part
        if block:
            text += f"\n<details><summary>{html.escape(_named(one))}</summary>\n\n{block}\n</details>\n"
    if any(one.table is not None and one.table.values for one in found):
        text += f"\n<sub>{html.escape(words.SHIFT_NOTE)} {html.escape(words.SAMPLE_NOTE)}</sub>\n"
    if left_out:
        named = ", ".join(code(path) for path in left_out[:3]) + (" and others" if len(left_out) > 3 else "")
        text += f"\n**Cut**: not all of {named} fits here. See it all with {code(f'bascule diff {before} {after}')}.\n"
    return text[:limit]


def code(value: str) -> str:
    """Return a text as a code span: nothing in it is markup, a mention or the end of a table's cell."""
    text = words.spelt(value).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if "`" in text or text != text.strip() or not text else ""
    return f"{fence}{space}{text}{space}{fence}"


def _note(before: str, after: str) -> str:
    return f"{words.SHIFT_NOTE} {words.SAMPLE_NOTE} {before} {after}" + " " * 200


def _overview(found: Sequence[Comparison]) -> str:
    lines = ["| | path | what |", "|---|---|---|"]
    lines += [f"| {_sign(one)} | {code(one.path)} | {_cell(one.summary)} |" for one in found[:MOST_PATHS]]
    if len(found) > MOST_PATHS:
        lines.append(f"| | … | and {len(found) - MOST_PATHS:,} more paths |")
    return "\n".join(lines) + "\n"


def _sign(one: Comparison) -> str:
    return {"added": "➕", "removed": "➖", "changed": "✏️"}[one.change]


def _named(one: Comparison) -> str:
    return f"{one.path}: {one.summary}"


def _parts(one: Comparison, columns: bool) -> Iterator[str]:
    if one.details:
        lines = [words.spelt(detail) for detail in one.details]
        if one.info.text:
            fence = "`" * (3 + max((len(run) for line in lines for run in re.findall("`+", line)), default=0))
            yield f"{fence}diff\n" + "\n".join(lines) + f"\n{fence}\n\n"
        else:
            yield "".join(f"- {_cell(line)}\n" for line in lines) + "\n"
    if one.table is not None:
        yield from _values(one.table, columns)
        for kind in ("changed", "added", "removed"):
            rows = [row for row in one.table.sample if row.kind == kind]
            if rows:
                yield _changed(rows, one.table) if kind == "changed" else _whole(rows, one.table, kind)


def _values(diff: TableDiff, columns: bool) -> Iterator[str]:
    shown = list(diff.values) if columns else words.telling(diff)[:MOST_COLUMNS]
    if not shown:
        return
    rest = words.more_columns(diff, len(shown))
    lines = [
        f"Values in {words.scope(diff)}{f' ({rest})' if rest else ''}:",
        "",
        "| column | type | changed | null | mean | median | shift | most moved |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for one in shown:
        figures = " | ".join(_cell(text) for text in words.figures(one, diff))
        told = words.moved(one, diff)
        lines.append(f"| {code(one.column)} | {_cell(one.type)} | {figures} | {code(told) if told else ''} |")
    yield "\n".join(lines) + "\n\n"


def _changed(rows: Sequence[RowChange], diff: TableDiff) -> str:
    key = diff.matched_by
    lines = [
        f"{words.counts(rows, diff.changed, 'changed')}, {_cell(words.matched(diff))}:",
        "",
        "| " + " | ".join([*map(code, key), "changes"]) + " |",
        "|---" * (len(key) + 1) + "|",
    ]
    for row in rows:
        cells = words.cells(row, key)
        told = [f"{code(name)}: {code(old)} → {code(new)}" for name, old, new in cells[:MOST_CELLS]]
        more = [f"and {len(cells) - MOST_CELLS} more"] if len(cells) > MOST_CELLS else []
        named = [code(words.cell((row.after or {}).get(name))) for name in key]
        lines.append("| " + " | ".join([*named, "<br>".join([*told, *more])]) + " |")
    return "\n".join(lines) + "\n\n"


def _whole(rows: Sequence[RowChange], diff: TableDiff, kind: str) -> str:
    names, rest = words.first_columns(rows, diff.matched_by, MOST_CELLS)
    more = [f"… {rest} more"] if rest else []
    lines = [
        f"{words.counts(rows, getattr(diff, kind), kind)}:",
        "",
        "| " + " | ".join([*map(code, names), *more]) + " |",
        "|---" * (len(names) + len(more)) + "|",
    ]
    for row in rows:
        values = row.after or row.before or {}
        cells = [code(words.cell(values.get(name), 30)) for name in names]
        lines.append("| " + " | ".join([*cells, *([""] * len(more))]) + " |")
    return "\n".join(lines) + "\n\n"


def _cell(value: str) -> str:
    """Return our own words for a cell or a line; names of columns may be in them."""
    return re.sub(r"([\\`*_\[\]<>|~#@])", lambda m: f"&#{ord(m[1])};", words.spelt(value))
