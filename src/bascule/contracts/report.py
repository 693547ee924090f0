"""What checking a table found: one result a check, and the report that holds them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bascule.contracts.checks import Severity
from bascule.contracts.rules import NotRun

Status = Literal["passed", "failed", "error"]
MAX_SAMPLE_JSON = 64_000


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check's verdict.

    Attributes:
        name: the check's name, unique in its contract.
        column: the column or columns it is about, or None for the table.
        kind: not_null, unique, range, … (`checks.KINDS`).
        status: `passed`, `failed`, or `error` when it could not be run (its column is missing, its SQL is wrong).
        observed: what was found, in words.
        expected: what was asked, in words.
        failed_rows: for rules that count rows, how many fail; else None.
        total_rows: how many rows were looked at; None when none were.
        sample: some failing rows, values of private columns hidden.
        line: where the contract asks it.
        value: what was measured: the number, or the share of failing rows, 0 to 1; None when nothing was.
        usual: the bounds that the check's past gives its value; None when the past is too short.
        owner: who is asked when it fails.
    """

    name: str
    column: str | None
    kind: str
    severity: Severity
    status: Status
    observed: str
    expected: str
    failed_rows: int | None = None
    total_rows: int | None = None
    sample: tuple[Mapping[str, Any], ...] = field(default=())
    description: str = ""
    dimension: str = ""
    line: int = 0
    value: float | None = None
    usual: tuple[float, float] | None = None
    owner: str = ""

    @property
    def unusual(self) -> bool:
        """Whether the value lies outside of what its past says, whatever the contract asks."""
        low, high = self.usual or (float("-inf"), float("inf"))
        return self.value is not None and not low <= self.value <= high

    @property
    def blocks(self) -> bool:
        """Whether this result fails the report: a critical check that did not pass."""
        return self.severity == "critical" and self.status != "passed"


@dataclass(frozen=True, slots=True)
class Report:
    """All verdicts on one relation.

    Attributes:
        table: the table's name.
        file: the contract's file.
        rows: how many rows were looked at.
        at: when, in microseconds since the epoch, UTC.
        results: one for each check, in the order of the contract.
        not_run: rules that the contract states for people or for other engines.
    """

    table: str
    file: str
    rows: int
    at: int
    results: tuple[CheckResult, ...]
    not_run: tuple[NotRun, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether no critical check failed or could not be run."""
        return not any(result.blocks for result in self.results)

    @property
    def unusual(self) -> tuple[CheckResult, ...]:
        """Results that passed, and whose value is not what it usually is."""
        return tuple(result for result in self.results if result.status == "passed" and result.unusual)

    @property
    def problems(self) -> tuple[CheckResult, ...]:
        """Results that did not pass: those that block first, then warnings, then notes."""
        order = {"critical": 0, "warning": 1, "info": 2}
        found = [result for result in self.results if result.status != "passed"]
        return tuple(sorted(found, key=lambda result: order[result.severity]))

    def as_rows(
        self,
        *,
        new_id: Callable[[str], str],
        subject: str | None = None,
        commit_id: str | None = None,
        run_id: str | None = None,
        looked_at: str = "table",
    ) -> list[dict[str, Any]]:
        """Rows for the catalog's `check_results` table, one a check.

        Args:
            new_id: makes an id from a prefix (`bascule.catalog.new_id`).
            subject: the path that was checked; by default `tables/NAME`.
            commit_id: the state that was checked.
            run_id: the run that checked it.
            looked_at: `table` for all of its rows, `refused` for those that it would have had, `batch` for those that
                were to come in.
        """
        return [
            {
                "id": new_id("check"),
                "run_id": run_id,
                "commit_id": commit_id,
                "subject": subject or f"tables/{self.table}",
                "check_name": result.name,
                "column_name": result.column[:250] if result.column else None,
                "severity": result.severity,
                "status": result.status,
                "observed": result.observed,
                "expected": result.expected,
                "failed_rows": result.failed_rows,
                "total_rows": result.total_rows,
                "sample_json": _sample_json(result.sample),
                "at": self.at,
                "value": result.value if result.value is None or abs(result.value) < float("inf") else None,
                "looked_at": looked_at,
            }
            for result in self.results
        ]


def _sample_json(sample: tuple[Mapping[str, Any], ...]) -> str | None:
    """The sample as JSON text, cut by whole rows so that wide tables cannot flood the catalog."""
    kept: list[str] = []
    size = 0
    for row in sample:
        text = json.dumps(row, ensure_ascii=False)
        size += len(text)
        if size > MAX_SAMPLE_JSON:
            break
        kept.append(text)
    return f"[{','.join(kept)}]" if kept else None
