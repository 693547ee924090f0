"""A report as JUnit XML, the form that every CI server shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from bascule.contracts.render import surprise, table
from bascule.contracts.report import CheckResult, Report

# What XML 1.0 cannot hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(report: Report | Sequence[Report]) -> str:
    """Reports as JUnit XML: one suite a table, one test case a check.

    A critical check that fails is a failure, one that cannot be run an error. JUnit knows no warnings, so a failed
    check of lower severity is a skipped case whose message says what was found: seen by people, not failing the build.
    """
    reports = [report] if isinstance(report, Report) else list(report)
    counts = [_counted(one) for one in reports]
    totals = [sum(column) for column in zip(*counts, strict=True)] or [0, 0, 0, 0]
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites {_counts(totals)}>"]
    for one, numbers in zip(reports, counts, strict=True):
        lines.append(f"  <testsuite name={_attribute(f'contract {one.table}')} {_counts(numbers)}>")
        for result in one.results:
            lines += _case(result, one)
        lines.append("  </testsuite>")
    return "\n".join([*lines, "</testsuites>", ""])


def _counted(report: Report) -> list[int]:
    """The numbers of cases, failures, errors and skipped cases."""
    failures = sum(result.blocks and result.status == "failed" for result in report.results)
    errors = sum(result.blocks and result.status == "error" for result in report.results)
    return [len(report.results), failures, errors, len(report.problems) - failures - errors]


def _counts(numbers: Sequence[int]) -> str:
    names = ("tests", "failures", "errors", "skipped")
    return " ".join(f'{name}="{number}"' for name, number in zip(names, numbers, strict=True))


def _case(result: CheckResult, report: Report) -> list[str]:
    place = f"file={_attribute(report.file)}" + (f' line="{result.line}"' if result.line else "")
    opening = (
        f"    <testcase classname={_attribute(f'{report.table}.{result.kind}')} name={_attribute(result.name)} {place}"
    )
    if result.status == "passed" and result.unusual:
        told = f"<system-out>{escape(_allowed(f'unusual: {surprise(result)}'))}</system-out>"
        return [f"{opening}>", f"      {told}", "    </testcase>"]
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
