"""One run in CI: what changed is run, what came out is checked, and it is told whether it may be merged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bascule.catalog import now
from bascule.contracts import CheckResult, Contract, Report
from bascule.errors import BasculeError, CheckFailed, NotFound
from bascule.history import Workspace
from bascule.project.checking import VIEWS, check_table, check_view
from bascule.project.ci.readiness import Readiness, readiness
from bascule.project.comparing import Comparison, compare
from bascule.project.deploying import Preview, preview
from bascule.project.judging import Judgement, judge
from bascule.project.place import GIT_DEFAULTS, MAIN, PROJECT_FILE, Place
from bascule.project.receipt import Receipt
from bascule.project.runner import Unwatched, Watcher, run_project
from bascule.project.step import Progress, Step

PIPELINE = "pipeline"


@dataclass(frozen=True)
class Verdict:
    """What a run in CI found.

    Attributes:
        branch: the branch that was run.
        target: the branch that it is to be merged into; None for none.
        receipts: the steps, as far as they came.
        reports: the contracts of what differs from the target, and what the run refused.
        error: what ended the run.
        readiness: whether it may be merged; None without a target.
        changes: what differs from the target.
        judged: what the branch's changes of tables and contracts do to their readers.
        duration_s: seconds.
        preview: where the branch answers; None when `[deployment] url` does not say it, or nothing serves.
    """

    branch: str
    target: str | None
    receipts: tuple[Receipt, ...]
    reports: tuple[Report, ...]
    error: BasculeError | None = None
    readiness: Readiness | None = None
    changes: tuple[Comparison, ...] = ()
    judged: tuple[Judgement, ...] = ()
    duration_s: float = 0.0
    files: dict[str, str] = field(default_factory=dict)
    preview: Preview | None = None

    @property
    def passed(self) -> bool:
        """Whether the job is green."""
        ready = self.readiness is None or self.readiness.ready
        return self.error is None and ready and all(report.passed for report in self.reports)

    @property
    def exit_code(self) -> int:
        """How the command ends."""
        return 0 if self.passed else self.error.exit_code if self.error is not None else 1

    def as_dict(self) -> dict[str, Any]:
        """The run as one JSON object."""
        import msgspec

        from bascule.contracts.render import as_dict

        return {
            "branch": self.branch,
            "target": self.target,
            "passed": self.passed,
            "error": self.error.as_dict() if self.error is not None else None,
            "steps": [msgspec.to_builtins(receipt) for receipt in self.receipts],
            "reports": [as_dict(report) for report in self.reports],
            "merge": self.readiness.as_dict() if self.readiness is not None else None,
            "changes": [{"path": one.path, "change": one.change, "summary": one.summary} for one in self.changes],
            "schema": [one.as_dict() for one in self.judged],
            "duration_s": round(self.duration_s, 3),
            "files": self.files,
            "preview": self.preview.as_dict() if self.preview is not None else None,
        }


def run_ci(
    place: Place, target: str | None, watcher: Watcher | None = None, *, allow_breaking: str | None = None
) -> Verdict:
    """Bring the place's branch up to date with the project, check what differs from the target, and judge the merge.

    Errors of the run are part of the verdict; what came before one is told all the same.

    Args:
        target: the branch that it is to be merged into, by git's name.
        allow_breaking: why readers of a table may break, as the merge will be told.

    Raises:
        NotFound: there is no project, or no such target.
    """
    begun = time.monotonic()
    seen = _Seen(watcher or Unwatched())
    workspace, branch = place.workspace, place.branch
    into = GIT_DEFAULTS.get(target, target) if target is not None else None
    if into is not None and workspace.history.named(into) is None:
        raise NotFound("branch", into, [ref.name for ref in workspace.history.branches()])
    error: BasculeError | None = None
    if (place.folder / PROJECT_FILE).is_file():
        try:
            run_project(place.file, workspace, branch, seen)
        except BasculeError as found:
            error = found
    reports = [*_refused(place, error), *_contracts(workspace, branch, into)]
    steps = _steps(seen.receipts, error)
    ready, changes, judged = None, list[Comparison](), list[Judgement]()
    if into is not None and into != branch:
        ready = readiness(place, branch, into, allow_breaking=allow_breaking)
        changes = hidden(workspace, compare(workspace, into, branch, rows=0))
        judged = _judged(workspace, branch, into)
    return Verdict(
        branch=branch,
        target=into if into != branch else None,
        receipts=tuple(seen.receipts),
        reports=(*([steps] if steps.results else []), *reports),
        error=error,
        readiness=ready,
        changes=tuple(changes),
        judged=tuple(judged),
        duration_s=time.monotonic() - begun,
        preview=_preview(place, branch) if error is None else None,
    )


def _preview(place: Place, branch: str) -> Preview | None:
    """Where the branch answers, when the project says where inference is and something is served."""
    settings = place.file.deployment if (place.folder / PROJECT_FILE).is_file() else None
    if settings is None or not settings.url:
        return None
    found = preview(place, branch)
    return found if found.deployments else None


def prepare(place: Place, branch: str | None, target: str | None, catalog: str, storage: str) -> Place:
    """Make what a fresh checkout lacks: the workspace, and the branch at its target's head. Return the place on it."""
    try:
        workspace = place.workspace
    except NotFound:
        where = place.folder / place.file.workspace.url if (place.folder / PROJECT_FILE).is_file() else place.folder
        workspace = Workspace.create(where, catalog=catalog, storage=storage)
    if branch is None:
        return place
    known = {ref.name for ref in workspace.history.branches()}
    name = GIT_DEFAULTS.get(branch, branch)
    if name not in known:
        base = GIT_DEFAULTS.get(target, target) if target else MAIN
        workspace.history.create_branch(name, base if base in known else MAIN)
    return Place(place.start, str(workspace.folder), name)


def _judged(workspace: Workspace, branch: str, into: str) -> list[Judgement]:
    history = workspace.history
    base = history.common(branch, into)
    changes = history.diff(base, branch) if base is not None else []
    return judge(workspace, changes, lambda prefix: history.entries(branch, prefix))


def hidden(workspace: Workspace, changes: Sequence[Comparison]) -> list[Comparison]:
    """Return comparisons without rows of tables, and without figures of columns that a contract calls private."""
    found = []
    for one in changes:
        if one.table is None:
            found.append(one)
            continue
        masked = _masked(workspace, one)
        values = tuple(column for column in one.table.values if column.column not in masked)
        found.append(replace(one, sample=(), table=replace(one.table, sample=(), values=values)))
    return found


def _masked(workspace: Workspace, one: Comparison) -> frozenset[str]:
    """The private columns of a table on any branch that has a contract of it: one that hides is believed."""
    name = one.path.partition("/")[2]
    masked: set[str] = set()
    for ref in workspace.history.branches():
        obj = workspace.history.read(ref.head, f"contracts/{name}")
        if obj is not None:
            masked |= Contract.parse(obj["text"]).masked
    return frozenset(masked)


def _contracts(workspace: Workspace, branch: str, into: str | None) -> list[Report]:
    """Check the tables and views whose rows or contract differ from the target; without one, all with a contract."""
    history = workspace.history
    head = history.resolve(branch)
    if into is None or into == branch:
        names = [path.partition("/")[2] for path in history.digests(head, "contracts/")]
    else:
        changes = [change.path for change in history.diff(into, head) if change.after is not None]
        found = {path.partition("/")[2] for path in changes if path.startswith(("tables/", "contracts/"))}
        promised = history.digests(head, f"contracts/{VIEWS}")
        found |= {path.partition("/")[2] for path in promised if path.removeprefix("contracts/") in changes}
        names = sorted(found)
    read = lambda path: history.read(head, path)  # noqa: E731
    reports = [
        check_view(workspace, name.removeprefix(VIEWS), read, commit=head.id)
        if name.startswith(VIEWS)
        else check_table(workspace, name, read, commit=head.id)
        for name in names
    ]
    return [report for report in reports if report is not None]


def _refused(place: Place, error: BasculeError | None) -> list[Report]:
    """Return what a run was refused for as reports, with the lines of the contracts."""
    if not isinstance(error, CheckFailed):
        return []
    tables: dict[str, list[CheckResult]] = {}
    for row in error.details:
        if "table" in row and "check" in row:
            tables.setdefault(row["table"], []).append(_result(row, _contract(place, row["table"])))
    return [
        Report(f"{name} (refused batch)", _file(place, name), 0, now(), tuple(results))
        for name, results in tables.items()
    ]


def _result(row: dict[str, Any], contract: Contract | None) -> CheckResult:
    asked = next((check for check in contract.checks if check.name == row["check"]), None) if contract else None
    return CheckResult(
        name=row["check"],
        column=row.get("column"),
        kind=asked.kind if asked else "check",
        severity=row.get("severity", "critical"),
        status=row.get("status", "failed"),
        observed=row.get("observed") or "",
        expected=row.get("expected") or "",
        failed_rows=row.get("failed_rows"),
        sample=tuple(row.get("sample") or ()),
        line=asked.line if asked else 0,
    )


def _contract(place: Place, table: str) -> Contract | None:
    try:
        return Contract.parse((place.folder / _file(place, table)).read_text("utf-8"), _file(place, table))
    except (OSError, BasculeError):
        return None


def _file(place: Place, table: str) -> str:
    settings = place.file.contract.get(table)
    return settings.file if settings is not None else PROJECT_FILE


def _steps(receipts: Sequence[Receipt], error: BasculeError | None) -> Report:
    """Return the steps as a report, so that every form shows them as it shows checks."""
    results = [
        CheckResult(
            name=receipt.step,
            column=None,
            kind="step",
            severity="critical",
            status="passed" if receipt.status != "failed" else "error",
            observed=f"{receipt.status}: {receipt.summary}",
            expected="the step runs",
        )
        for receipt in receipts
    ]
    if error is not None and not any(result.status == "error" for result in results):
        told = error.message.partition("\n")[0]
        results.append(CheckResult("run", None, "step", "critical", "error", told, "the project runs"))
    return Report(PIPELINE, PROJECT_FILE, 0, now(), tuple(results))


class _Seen:
    """Keeps the receipts of a run, and passes all on."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher, self.receipts = watcher, list[Receipt]()

    def begin(self, steps: Sequence[Step]) -> None:
        """See `Watcher`."""
        self.watcher.begin(steps)

    def start(self, step: Step, reason: str) -> Progress:
        """See `Watcher`."""
        return self.watcher.start(step, reason)

    def end(self, step: Step, receipt: Receipt, reason: str) -> None:
        """See `Watcher`."""
        self.receipts.append(receipt)
        self.watcher.end(step, receipt, reason)
