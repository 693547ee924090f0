"""A difference of two runs as text on a terminal, and as Markdown."""

from __future__ import annotations

import html as entities
import re
from collections.abc import Iterator, Sequence
from typing import Any

from bascule.project.differing.difference import FileDifference, Pair, RunsDiff, change_of
from bascule.project.reviewing.request import code
from bascule.project.reviewing.words import cell, spelt

SECTIONS = (
    ("about", "Run"),
    ("params", "Parameters"),
    ("data", "Data"),
    ("packages", "Packages"),
    ("environment", "Environment"),
    ("metrics", "Metrics"),
    ("outputs", "Outputs"),
)
SIGNS = {"added": "+", "removed": "-", "changed": "~"}
MOST = 40
LONGEST = 80
MOST_LINES = 400
GREEN, RED, BOLD, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[1m", "\x1b[0m"
_DIGEST = re.compile(r"[0-9a-f]{40,}")


def text(found: RunsDiff, *, color: bool = False) -> str:
    """Return a difference as lines of text."""
    lines = [f"{_named(found.before)}  →  {_named(found.after)}", because(found)]
    for name, title in SECTIONS:
        pairs: Sequence[Pair] = getattr(found, name)
        if pairs:
            lines += ["", _bold(title, color), *_aligned(pairs, name)]
    if found.code:
        lines += ["", _bold("Code", color)]
        for one in found.code:
            lines.append(f"  {SIGNS[one.change]} {spelt(one.path)}  +{one.added} -{one.removed}")
            lines += [_colored(f"      {spelt(line)}", line, color) for line in cut(one)]
    lines += ["", *(f"See also: {one}" for one in found.hints)] if found.hints else []
    return "\n".join([*lines, *found.notes])


def markdown(found: RunsDiff) -> str:
    """Return a difference as GitHub-flavoured Markdown."""
    head = f"### {code(_named(found.before))} → {code(_named(found.after))}\n\n{because(found)}\n"
    return head + "".join(_blocks(found))


def shown(name: str, value: Any) -> str:
    """Return a value as all forms show it; a digest by its start."""
    if value is None:
        return "–"
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return value[:16]
    if isinstance(value, str):
        return spelt(value) if len(value) <= LONGEST else f"{spelt(value[:LONGEST])}…"
    return cell(value, LONGEST)


def moved(section: str, pair: Pair) -> str:
    """Return how far a metric moved; empty in the other sections."""
    return change_of(pair[1], pair[2]) if section == "metrics" else ""


def _blocks(found: RunsDiff) -> Iterator[str]:
    for name, title in SECTIONS:
        pairs: Sequence[Pair] = getattr(found, name)
        if not pairs:
            continue
        more = " change |" if name == "metrics" else ""
        yield f"\n#### {title}\n\n| | before | after |{more}\n|---|---|---|{'--:|' if more else ''}\n"
        for pair in pairs[:MOST]:
            cells = " | ".join(code(one) for one in (pair[0], shown(pair[0], pair[1]), shown(pair[0], pair[2])))
            yield f"| {cells} |{f' {moved(name, pair)} |' if more else ''}\n"
        if len(pairs) > MOST:
            yield f"\nand {len(pairs) - MOST} more\n"
    for one in found.code:
        lines = [spelt(line) for line in cut(one)]
        fence = "`" * (3 + max((len(run) for line in lines for run in re.findall("`+", line)), default=0))
        title = entities.escape(f"{SIGNS[one.change]} {spelt(one.path)}  +{one.added} -{one.removed}")
        body = "\n".join(lines)
        yield f"\n<details><summary>{title}</summary>\n\n{fence}diff\n{body}\n{fence}\n\n</details>\n"
    yield from (f"\nSee also: {code(one)}\n" for one in found.hints)
    yield from (f"\n{one}\n" for one in found.notes)


def because(found: RunsDiff) -> str:
    """Return why two runs differ, in a sentence."""
    if found.causes:
        return f"They differ in {', '.join(found.causes)}."
    unfinished = [run for run in (found.before, found.after) if run["status"] not in ("done", "cached")]
    if unfinished:
        told = " and ".join(f"{run['run']} is {run['status']}" for run in unfinished)
        return f"Code, data, parameters and environment are the same; {told}: what came out need not be all of it."
    results = "what came out differs, so it is not deterministic" if found.metrics or found.outputs else "so do results"
    return f"Code, data, parameters and environment are the same; {results}."


def _named(run: dict[str, Any]) -> str:
    return f"{run['run']} ({spelt(run['name'])}, {run['status']})"


def _aligned(pairs: Sequence[Pair], section: str) -> Iterator[str]:
    rows = [(spelt(p[0]), shown(p[0], p[1]), shown(p[0], p[2]), moved(section, p)) for p in pairs[:MOST]]
    widths = [max(len(row[at]) for row in rows) for at in range(3)]
    for name, was, now, change in rows:
        yield f"  {name:<{widths[0]}}  {was:>{widths[1]}}  →  {now:<{widths[2]}}  {change}".rstrip()
    if len(pairs) > MOST:
        yield f"  and {len(pairs) - MOST} more (--json has all)"


def cut(one: FileDifference) -> list[str]:
    """Return the first lines of a file's difference, and how many more there are."""
    if len(one.lines) <= MOST_LINES:
        return list(one.lines)
    return [*one.lines[:MOST_LINES], f"… {len(one.lines) - MOST_LINES} more lines"]


def _colored(text: str, line: str, color: bool) -> str:
    tone = {"+": GREEN, "-": RED}.get(line[:1], "") if color else ""
    return f"{tone}{text}{PLAIN}" if tone else text


def _bold(text: str, color: bool) -> str:
    return f"{BOLD}{text}{PLAIN}" if color else text
