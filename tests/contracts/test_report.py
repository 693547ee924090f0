from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from itertools import count

import duckdb
import pytest

from bascule.contracts import Report, render_json, render_junit, render_markdown, render_text, run_checks
from bascule.contracts.report import CheckResult
from tests.contracts.writing import column, contract_of, ours

EVIL = "\x1b[31m<b>|`*x*`\x00\u202e"


@pytest.fixture
def report(connection: duckdb.DuckDBPyConnection) -> Report:
    connection.execute(
        "CREATE TABLE t AS SELECT range AS id, CASE WHEN range = 3 THEN NULL ELSE range * 2 END AS x FROM range(12)"
    )
    contract = contract_of([
        column("id", ours("range", maximum=1), primaryKey=True),
        column("x", {**ours("max", maximum=10), "severity": "warning", "name": "x stays small"}, required=True),
        column("gone", ours("mean", minimum=0), ours("max", minimum=0)),
    ], quality=[{"type": "text", "description": "People read this."}])  # fmt: skip
    return run_checks(connection, "t", contract, now=1_000_000)


def with_text(text: str) -> Report:
    """A report of one failed check whose every text is what somebody put into the data."""
    result = CheckResult(text, text, "values", "critical", "failed", text, text, 1, 2, ({text: text},))
    return Report("t", "contracts/t.yaml", 2, 0, (result,))


def test_the_text_says_the_verdict_and_shows_failing_rows(report: Report) -> None:
    text = render_text(report)
    assert text.startswith("t: 5 of 11 checks failed, 1 warning (12 rows)\n")
    assert (
        "failed    critical  id: range\n    found  10 of 12 rows (83.3 %): 2 to 11\n"
        "    asked  at most 1\n    where  contracts/t.yaml:6\n" in text
    )
    assert "    id  x\n    2   4\n    3   NULL\n" in text
    assert "… 5 more in the report" in text
    assert "1 part of the contract is not run:\n  line 6: People read this. is a text for people" in text
    assert text.index("critical  x: not null") < text.index("warning   x stays small")


def test_checks_that_a_lost_column_stops_are_told_once(report: Report) -> None:
    text = render_text(report)
    assert text.count("not run: gone is missing") == 1
    assert "    alike  gone: max\n" in text


def test_verbose_text_lists_what_passed(report: Report) -> None:
    assert "passed    id: not null: no rows" in render_text(report, verbose=True)
    assert "passed    id: not null" not in render_text(report)


def test_a_passing_report_is_one_line(connection: duckdb.DuckDBPyConnection) -> None:
    assert (
        render_text(run_checks(connection, "(SELECT 1 AS id)", contract_of([column("id")])))
        == "t: all 2 checks passed (1 row)"
    )


def test_no_line_is_wider_than_asked(connection: duckdb.DuckDBPyConnection) -> None:
    columns = ", ".join(f"'{'v' * 90}' AS column_number_{i}" for i in range(50))
    contract = contract_of([column("column_number_0", ours("length", maximum=1), description="d" * 300)])
    report = run_checks(connection, f"(SELECT {columns})", contract)
    for width in (60, 100):
        lines = render_text(report, width=width, verbose=True).splitlines()
        assert max(len(line) for line in lines) <= width
    assert re.search(r"  \+4\d columns$", render_text(report), re.MULTILINE)


def test_data_cannot_steer_a_terminal() -> None:
    text = render_text(with_text(EVIL))
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "\u202e" not in text


def test_json_is_whole(report: Report) -> None:
    found = json.loads(render_json(report))
    assert (found["passed"], found["rows"], found["checks"], found["at"]) == (False, 12, 11, 1_000_000)
    result = next(item for item in found["results"] if item["name"] == "id: range")
    assert (result["failed_rows"], result["total_rows"], len(result["sample"])) == (10, 12, 10)
    assert found["not_run"] == [{"name": "People read this.", "reason": "is a text for people", "line": 6}]


def test_markdown_escapes_what_data_holds(report: Report) -> None:
    plain = render_markdown(report)
    assert plain.startswith("### ❌ t: 5 of 11 checks failed")
    assert "| critical failed | id: range | 10 of 12 rows (83.3 %): 2 to 11 | at most 1 |" in plain
    evil = render_markdown(with_text(EVIL))
    assert "<b>" not in evil
    assert "\\|\\`\\*x\\*\\`" in evil


def test_junit_is_xml_and_counts_what_blocks(report: Report) -> None:
    suite = ET.fromstring(render_junit(report))[0]
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "11", "failures": "3", "errors": "2", "skipped": "1",
    }  # fmt: skip
    cases = {case.get("name"): case for case in suite}
    failure = cases["id: range"][0]
    assert failure.tag == "failure"
    assert failure.get("message") == "critical: found 10 of 12 rows (83.3 %): 2 to 11; asked at most 1"
    assert "2   4" in str(failure.text)
    assert cases["x stays small"][0].tag == "skipped"
    assert cases["gone: mean"][0].tag == "error"
    assert len(cases["id: not null"]) == 0
    assert (cases["id: range"].get("file"), cases["id: range"].get("line")) == ("contracts/t.yaml", "6")


def test_junit_stays_xml_whatever_data_holds() -> None:
    case = ET.fromstring(render_junit(with_text(f'{EVIL}\ud800"')))[0][0]
    assert "\x1b" not in str(case.get("name"))


def test_rows_fit_the_catalog(report: Report) -> None:
    numbers = count(1)
    rows = report.as_rows(new_id=lambda prefix: f"{prefix}_{next(numbers)}", commit_id="c1", run_id="run_1")
    assert len(rows) == 11
    row = next(row for row in rows if row["check_name"] == "id: range")
    assert list(row) == [
        "id", "run_id", "commit_id", "subject", "check_name", "column_name", "severity", "status",
        "observed", "expected", "failed_rows", "total_rows", "sample_json", "at", "value", "looked_at",
    ]  # fmt: skip
    assert (row["subject"], row["commit_id"], row["status"], row["at"]) == ("tables/t", "c1", "failed", 1_000_000)
    assert json.loads(row["sample_json"])[0] == {"id": 2, "x": 4}
    assert len({row["id"] for row in rows}) == 11
    assert next(row for row in rows if row["status"] == "passed")["sample_json"] is None


def test_samples_in_the_catalog_are_bounded() -> None:
    wide = {f"column_{i}": "v" * 200 for i in range(200)}
    result = CheckResult("n", None, "values", "critical", "failed", "", "", 1, 2, (wide,) * 20)
    row = Report("t", "f", 2, 0, (result,)).as_rows(new_id=lambda prefix: prefix)[0]
    assert len(json.loads(row["sample_json"])) == 1
