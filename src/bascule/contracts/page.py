"""Reports as one HTML page: it needs nothing else, opens without a network, and prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from bascule.contracts.render import clean, clip, surprise
from bascule.contracts.report import CheckResult, Report

MOST_ROWS = 20
MOST_COLUMNS = 30
_CELL = 200
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1c2330;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;margin:.5rem 0;font-size:.9rem}
th,td{border:1px solid #d5dae2;padding:.25rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{background:#f3f5f8}.failed{color:#b3261e}.passed{color:#1b6e3c}.warned{color:#8a5a00}small{color:#5b6577}
.rows{overflow-x:auto}@media print{details>*{display:block}body{margin:0}}
"""


def render_html(reports: Sequence[Report], *, title: str = "Data contracts") -> str:
    """Return reports as a page: each table's verdict, its problems with failing rows, then what passed.

    Nothing of the data can become markup; values of private columns are hidden as in every report.
    """
    failed = sum(not report.passed for report in reports)
    verdict = f"{failed} of {len(reports)} tables refused" if failed else f"all {len(reports)} tables passed"
    ordered = sorted(reports, key=lambda report: (report.passed, not report.problems, report.table))
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>',
        '<meta name="viewport" content="width=device-width">',
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{_text(title)}: {verdict}</h1>",
    ]
    for report in ordered:
        parts += _table(report)
    return "\n".join([*parts, "</body></html>", ""])


def _table(report: Report) -> list[str]:
    kind = "failed" if not report.passed else "warned" if report.problems else "passed"
    word = {"failed": "refused", "warned": "passed with warnings", "passed": "passed"}[kind]
    at = datetime.fromtimestamp(report.at // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    about = f"{report.rows:,} rows, {len(report.results)} checks, {_text(report.file)}, {at}"
    parts = [f'<h2>{_text(report.table)} <span class="{kind}">{word}</span></h2>', f"<p><small>{about}</small></p>"]
    if report.problems:
        parts.append("<table><tr><th>severity</th><th>check</th><th>found</th><th>asked</th><th>line</th></tr>")
        parts += [_line(result) for result in report.problems]
        parts.append("</table>")
        parts += [line for result in report.problems if result.sample for line in _rows(result)]
    parts += [f'<p class="warned">unusual: {_text(one.name)}: {_text(surprise(one))}</p>' for one in report.unusual]
    passed = [result for result in report.results if result.status == "passed"]
    if passed:
        parts.append(f"<details><summary>{len(passed)} checks passed</summary><table>")
        parts += [f"<tr><td>{_text(one.name)}</td><td>{_text(one.observed)}</td></tr>" for one in passed]
        parts.append("</table></details>")
    if report.not_run:
        parts.append(f"<details><summary>{len(report.not_run)} parts of the contract are not run</summary><ul>")
        parts += [f"<li>line {one.line}: {_text(one.name)} {_text(one.reason)}</li>" for one in report.not_run]
        parts.append("</ul></details>")
    return parts


def _line(result: CheckResult) -> str:
    kind = "failed" if result.blocks else "warned"
    status = "" if result.status == "failed" else ", not run"
    cells = [result.name, result.observed, result.expected, str(result.line or "")]
    told = "".join(f"<td>{_text(cell)}</td>" for cell in cells)
    return f'<tr><td class="{kind}">{result.severity}{status}</td>{told}</tr>'


def _rows(result: CheckResult) -> list[str]:
    names = list(result.sample[0])[:MOST_COLUMNS]
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    parts = [
        f"<details open><summary>Rows that fail {_text(result.name)}</summary>",
        f'<div class="rows"><table><tr>{head}</tr>',
    ]
    for row in result.sample[:MOST_ROWS]:
        cells = ("NULL" if row.get(name) is None else str(row[name]) for name in names)
        parts.append("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>")
    return [*parts, "</table></div></details>"]


def _text(text: str) -> str:
    return escape(clip(clean(text), _CELL))
