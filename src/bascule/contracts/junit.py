"""A report as JUnit XML, the form that every CI server shows."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

from bascule.contracts.render import table
from bascule.contracts.report import CheckResult, Report

# What XML 1.0 cannot hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(report: Report) -> str:
    """The report as JUnit XML: one test case a check.

    A critical check that fails is a failure, one that cannot be run an error. JUnit knows no warnings, so a failed
    check of lower severity is a skipped case whose message says what was found: seen by people, not failing the build.
    """
    failures = sum(result.blocks and result.status == "failed" for result in report.results)
    errors = sum(result.blocks and result.status == "error" for result in report.results)
    skipped = len(report.problems) - failures - errors
    counts = f'tests="{len(report.results)}" failures="{failures}" errors="{errors}" skipped="{skipped}"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<testsuites {counts}>",
        f"  <testsuite name={_attribute(f'contract {report.table}')} {counts}>",
    ]
    for result in report.results:
        lines += _case(result, report)
    return "\n".join([*lines, "  </testsuite>", "</testsuites>", ""])


def _case(result: CheckResult, report: Report) -> list[str]:
    place = f"file={_attribute(report.file)}" + (f' line="{result.line}"' if result.line else "")
    opening = (
        f"    <testcase classname={_attribute(f'{report.table}.{result.kind}')} name={_attribute(result.name)} {place}"
    )
    if result.status == "passed":
        return [f"{opening}/>"]
    tag = "skipped" if not result.blocks else "failure" if result.status == "failed" else "error"
    message = _attribute(f"{result.severity}: found {result.observed}; asked {result.expected}")
    rows = "\n".join(table(result.sample, 20, 200))
    return [f"{opening}>", f"      <{tag} message={message}>{escape(_allowed(rows))}</{tag}>", "    </testcase>"]


def _attribute(text: str) -> str:
    return quoteattr(_allowed(text))


def _allowed(text: str) -> str:
    return _FORBIDDEN.sub("·", text)
