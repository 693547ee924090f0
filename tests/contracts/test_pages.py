"""Reports as HTML and SARIF: hostile values stay text, lines are those of the contract, private values are hidden."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import duckdb

from bascule.contracts import Report, render_html, render_junit, render_sarif, run_checks
from bascule.contracts.report import CheckResult
from tests.contracts.writing import column, contract_of, ours

EVIL = "<script>alert(1)</script>\x1b[31m\u202e|`*"


def with_text(text: str) -> Report:
    result = CheckResult(text, text, "values", "critical", "failed", text, text, 1, 2, ({text: text},), line=7)
    return Report("t", "contracts/ü t.yaml", 2, 0, (result,))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.add(tag)


def test_hostile_values_stay_text_on_a_page() -> None:
    page = render_html([with_text(EVIL)])
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.found
    assert "alert(1)" in page
    assert "\x1b" not in page
    assert "default-src 'none'" in page


def test_refused_tables_come_first() -> None:
    good = Report("a", "a.yaml", 2, 0, ())
    page = render_html([good, with_text("x")])
    assert page.index("<h2>t ") < page.index("<h2>a ")
    assert "1 of 2 tables refused" in page


def test_sarif_points_at_the_line() -> None:
    warning = CheckResult("w", None, "mean", "warning", "failed", "1", "2", line=9)
    report = Report("t", "contracts/ü t.yaml", 2, 0, (*with_text(EVIL).results, warning))
    document = json.loads(render_sarif([report], folder="ml", version="1.0.0"))
    (run,) = document["runs"]
    assert document["version"] == "2.1.0"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["contract/mean", "contract/values"]
    levels = [(one["ruleId"], one["level"]) for one in run["results"]]
    assert levels == [("contract/values", "error"), ("contract/mean", "warning")]
    for one in run["results"]:
        assert run["tool"]["driver"]["rules"][one["ruleIndex"]]["id"] == one["ruleId"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "ml/contracts/%C3%BC%20t.yaml"}, "region": {"startLine": 7}}
    again = json.loads(render_sarif([report]))["runs"][0]["results"]
    assert [one["partialFingerprints"] for one in again] == [one["partialFingerprints"] for one in run["results"]]


def test_a_promise_without_a_file_points_at_the_project() -> None:
    report = Report("t", "", 1, 0, (CheckResult("id: not null", "id", "not_null", "critical", "failed", "1", "none"),))
    (one,) = json.loads(render_sarif([report], elsewhere="bascule.toml"))["runs"][0]["results"]
    assert one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "bascule.toml"


def test_private_values_are_in_no_form(connection: duckdb.DuckDBPyConnection) -> None:
    contract = contract_of(
        [
            column("id", primaryKey=True),
            column("name", ours("values", values=["x"]), tags=["PII"]),
            column("mail", ours("pattern", pattern="^x"), classification="restricted"),
        ]
    )
    connection.execute("CREATE TABLE t AS SELECT 1 AS id, 'Mrs Secret' AS name, 'secret@x' AS mail")
    report = run_checks(connection, "t", contract)
    assert len(report.problems) == 2
    for text in (render_html([report]), render_sarif([report]), render_junit([report])):
        assert "ecret" not in text
    assert "•••" in render_html([report])


def test_several_reports_are_one_junit_document() -> None:
    text = render_junit([with_text("x"), Report("a", "a.yaml", 2, 0, ())])
    assert text.count("<testsuite ") == 2
    assert '<testsuites tests="1" failures="1"' in text
    assert '<testsuites tests="0"' in render_junit([])
