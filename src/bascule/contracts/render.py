"""A report as text for a terminal, as JSON and as Markdown."""

from __future__ import annotations

import json
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from bascule.contracts.checks import shown_number
from bascule.contracts.report import CheckResult, Report

_WORDS = {"failed": "failed", "error": "not run", "passed": "passed"}
_CELL = 24


def render_text(report: Report, *, width: int = 100, rows: int = 5, verbose: bool = False) -> str:
    """The report for a terminal: a verdict, then each problem with its failing rows.

    Args:
        report: what was found.
        width: no line is longer.
        rows: at most so many failing rows are shown for each problem.
        verbose: also list the checks that passed.
    """
    lines = [_verdict(report)]
    for result, alike in _folded_by_reason(report.problems):
        lines += ["", *_problem(result, report.file, width, rows)]
        if alike:
            lines += _labelled("alike", ", ".join(clean(other.name) for other in alike), width)
    for result in report.unusual:
        lines += ["", clip(f"unusual   {result.name}: {surprise(result)}", width)]
    if verbose:
        passed = [result for result in report.results if result.status == "passed"]
        lines += ["", *(clip(f"passed    {result.name}: {result.observed}", width) for result in passed)]
    if report.not_run:
        several = len(report.not_run) > 1
        lines += [
            "",
            f"{len(report.not_run)} part{'s' if several else ''} of the contract {'are' if several else 'is'} not run:",
        ]
        lines += [clip(f"  line {item.line}: {item.name} {item.reason}", width) for item in report.not_run]
    return "\n".join(lines)


def surprise(result: CheckResult) -> str:
    """A value that is not as its past says, and what that says."""
    return surprise_text(result.value or 0.0, result.usual or (0.0, 0.0), is_share=result.failed_rows is not None)


def surprise_text(value: float, usual: tuple[float, float], *, is_share: bool) -> str:
    """A number, or a share of rows, that lies outside of what was usual, and what that was."""
    shown, low, high = (
        f"{shown_number(100 * max(0.0, one))} %" if is_share else shown_number(one) for one in (value, *usual)
    )
    return f"{shown}, usually {low} to {high}"


def _folded_by_reason(problems: Sequence[CheckResult]) -> list[tuple[CheckResult, list[CheckResult]]]:
    """Problems, where checks that could not be run for one reason are told once: a lost column stops all of its own."""
    folded: list[tuple[CheckResult, list[CheckResult]]] = []
    first: dict[tuple[str, str], list[CheckResult]] = {}
    for result in problems:
        reason = (result.observed, result.severity)
        if result.status == "error" and reason in first:
            first[reason].append(result)
            continue
        first[reason] = []
        folded.append((result, first[reason]))
    return folded


def _verdict(report: Report) -> str:
    total = len(report.results)
    blocking = sum(result.blocks for result in report.results)
    others = len(report.problems) - blocking
    rows = f"{report.rows:,} row{'' if report.rows == 1 else 's'}"
    if not report.problems:
        return f"{report.table}: all {total} checks passed ({rows})"
    parts = [f"{blocking} of {total} checks failed"] if blocking else [f"passed, {total} checks"]
    parts += [f"{others} warning{'' if others == 1 else 's'}"] if others else []
    return f"{report.table}: {', '.join(parts)} ({rows})"


def _problem(result: CheckResult, file: str, width: int, rows: int) -> list[str]:
    lines = [clip(f"{_WORDS[result.status]:<8}  {result.severity:<8}  {result.name}", width)]
    for label, text in (
        ("found", result.observed),
        ("asked", result.expected),
        ("about", result.description),
        ("owner", result.owner),
        ("where", f"{file}:{result.line}" if result.line else ""),
    ):
        lines += _labelled(label, clean(text), width) if text else []
    return lines + [f"    {line}" for line in table(result.sample, rows, width - 4)]


def _labelled(label: str, text: str, width: int) -> list[str]:
    lead = f"    {label}  "
    indent = " " * len(lead)
    return textwrap.wrap(text, width, initial_indent=lead, subsequent_indent=indent, break_on_hyphens=False)[:6]


def table(sample: Sequence[Mapping[str, Any]], rows: int, width: int) -> list[str]:
    """Rows as a table of bounded width: columns that do not fit are counted, not shown."""
    if not sample or rows < 1:
        return []
    names = list(sample[0])
    cells = [[clip(clean(_cell(row.get(name))), _CELL) for name in names] for row in sample[:rows]]
    heads = [clip(clean(name), _CELL) for name in names]
    widths = [max(len(head), *(len(row[i]) for row in cells)) for i, head in enumerate(heads)]
    fitting, used = 0, 0
    while fitting < len(names) and used + widths[fitting] + 2 <= width - 14:
        used += widths[fitting] + 2
        fitting += 1
    fitting = max(fitting, 1)
    more = f"+{len(names) - fitting} columns" if fitting < len(names) else ""
    lines = [_line(heads[:fitting], widths) + (f"  {more}" if more else "")]
    lines += [_line(row[:fitting], widths) for row in cells]
    if len(sample) > rows:
        lines.append(f"… {len(sample) - rows} more in the report")
    return [clip(line.rstrip(), width) for line in lines]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(size) for cell, size in zip(cells, widths, strict=False))


def _cell(value: Any) -> str:
    return "NULL" if value is None else str(value)


def clean(text: str) -> str:
    """Text from data without what could steer a terminal: control and invisible formatting characters become ·."""
    return "".join("·" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character for character in text)


def clip(text: str, width: int) -> str:
    """Text cut to a width, with … where something is gone."""
    line = clean(text)
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"


def as_dict(report: Report) -> dict[str, Any]:
    """The report as one JSON-able object."""
    return {
        "table": report.table,
        "contract": report.file,
        "passed": report.passed,
        "rows": report.rows,
        "at": report.at,
        "checks": len(report.results),
        "failed": len(report.problems),
        "results": [
            {
                "name": result.name,
                "column": result.column,
                "kind": result.kind,
                "severity": result.severity,
                "status": result.status,
                "observed": result.observed,
                "expected": result.expected,
                "failed_rows": result.failed_rows,
                "total_rows": result.total_rows,
                "description": result.description,
                "dimension": result.dimension,
                "line": result.line,
                "sample": [dict(row) for row in result.sample],
            }
            for result in report.results
        ],
        "not_run": [{"name": item.name, "reason": item.reason, "line": item.line} for item in report.not_run],
    }


def render_json(report: Report) -> str:
    """The report as one JSON document."""
    return json.dumps(as_dict(report), ensure_ascii=False, indent=2)


def render_markdown(report: Report, *, rows: int = 5) -> str:
    """The report for a merge request: a verdict, a table of problems, and their failing rows folded away."""
    lines = [f"### {'✅' if report.passed else '❌'} {_escaped(_verdict(report))}"]
    if report.problems:
        lines += ["", "| | check | found | asked |", "|---|---|---|---|"]
        for result in report.problems:
            cells = (f"{result.severity} {_WORDS[result.status]}", result.name, result.observed, result.expected)
            lines.append(f"| {' | '.join(_escaped(clip(cell, 200)) for cell in cells)} |")
    for result in report.problems:
        if result.sample:
            lines += ["", *_folded(result, rows)]
    for result in report.unusual:
        lines += ["", f"⚠️ unusual: {_escaped(clip(result.name, 200))}: {_escaped(surprise(result))}"]
    return "\n".join(lines) + "\n"


def _folded(result: CheckResult, rows: int) -> list[str]:
    names = list(result.sample[0])[:12]
    lines = [f"<details><summary>Rows that fail {_escaped(result.name)}</summary>", ""]
    lines += [f"| {' | '.join(_escaped(name) for name in names)} |", "|" + "---|" * len(names)]
    for row in result.sample[:rows]:
        lines.append(f"| {' | '.join(_escaped(clip(_cell(row[name]), 60)) for name in names)} |")
    return [*lines, "", "</details>"]


def _escaped(text: str) -> str:
    """Text from data that stays text in Markdown: no markup, no cell borders, no links."""
    plain = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{character}" if character in "\\|`*_[]#!~@" else character for character in plain)
