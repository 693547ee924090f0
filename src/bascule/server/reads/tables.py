"""Tables: columns, rows, files, checks, and how they came to be."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Row, case, func, select

from bascule.catalog import schema
from bascule.contracts import surprise_text
from bascule.errors import NotFound
from bascule.history import Workspace
from bascule.lake import Lake, TableDiff
from bascule.lake.masking import HIDDEN, hidden_columns, hidden_names
from bascule.project.pasts import usual_at
from bascule.server.reads.asking import Answer, ask
from bascule.server.reads.history import CommitInfo, commit_info

SAMPLE_ROWS = 25
VERSIONS = 30
DIFF_ROWS = 20


class Column(msgspec.Struct, frozen=True):
    """One column."""

    name: str
    type: str
    nullable: bool
    key: bool


class TableInfo(msgspec.Struct, frozen=True):
    """A table at one state of the history."""

    name: str
    rows: int
    bytes: int
    files: int
    digest: str
    key: tuple[str, ...]
    has_contract: bool
    changed_at: int | None
    changed_by: str | None
    checks: ChecksSummary | None


class ChecksSummary(msgspec.Struct, frozen=True):
    """How the last checks of a table went."""

    at: int
    commit_id: str | None
    run_id: str | None
    passed: int
    failed: int
    warnings: int


class CheckInfo(msgspec.Struct, frozen=True):
    """One check's verdict, with some failing rows.

    Attributes:
        value: what was measured: a number, or the share of failing rows.
        usual: the bounds that the check's past gave its value then; None when the past was too short.
        unusual: of a check that passed with a value outside of them, what is to be said of that.
    """

    name: str
    column: str | None
    severity: str
    status: str
    observed: str | None
    expected: str | None
    failed_rows: int | None
    total_rows: int | None
    sample: list[dict[str, Any]]
    at: int
    commit_id: str | None
    run_id: str | None
    value: float | None
    usual: tuple[float, float] | None
    unusual: str | None


class TableDetail(msgspec.Struct, frozen=True):
    """A table with its columns, contract, last checks and versions."""

    table: TableInfo
    columns: list[Column]
    contract: str | None
    checks: list[CheckInfo]
    refusals: list[ChecksSummary]
    versions: list[TableVersion]


class TableVersion(msgspec.Struct, frozen=True):
    """A commit that changed a table: the rows it had then, and before it on the same branch."""

    commit: CommitInfo
    rows: int | None
    rows_before: int | None


def list_tables(ws: Workspace, ref: str) -> list[TableInfo]:
    """Return the tables of a state."""
    found = ws.history.entries(ref, "tables/")
    contracts = set(ws.history.digests(ref, "contracts/"))
    checks = _last_checks(ws, [path for path, _ in found])
    return [_table(ws, ref, path, value, contracts, checks.get(path)) for path, value in found]


def get_table(ws: Workspace, ref: str, name: str) -> TableDetail:
    """Return one table.

    Raises:
        NotFound: with the nearest name.
    """
    path = f"tables/{name}"
    value = ws.history.get(ref, path)
    contract = ws.history.read(ref, f"contracts/{name}")
    summary = _last_checks(ws, [path]).get(path)
    contracts = {f"contracts/{name}"} if contract else set()
    return TableDetail(
        table=_table(ws, ref, path, value, contracts, summary),
        columns=_columns(ws, value),
        contract=str(contract["text"]) if contract else None,
        checks=checks_at(ws, path, summary.at, ref) if summary else [],
        refusals=_refusals(ws, path),
        versions=_versions(ws, ref, path),
    )


def sample(ws: Workspace, ref: str, name: str, rows: int = SAMPLE_ROWS) -> Answer:
    """Return some rows of a table: the first ones as they lie in its files."""
    ws.history.get(ref, f"tables/{name}")
    return ask(ws, f"SELECT * FROM {_quoted(name)}", ref=ref, rows=rows)


def checks_at(ws: Workspace, path: str, at: int, ref: str) -> list[CheckInfo]:
    """Return the checks of a table that were made at one time: those that failed first.

    Args:
        ref: the state whose past says what was usual then.
    """
    c = schema.check_results.c
    wanted = select(schema.check_results).where(c.subject == path, c.at == at)
    with ws.catalog.read() as conn:
        rows = conn.execute(wanted).all()
    names = hidden_names(ws)
    bounds = {kind: usual_at(ws, path, at, kind, of=ref) for kind in {row.looked_at for row in rows if row.looked_at}}
    found = [_check(row, names, bounds.get(row.looked_at, {}).get(row.check_name)) for row in rows]
    grave = {"critical": 0, "warning": 1, "info": 2}
    return sorted(found, key=lambda check: (check.status == "passed", grave.get(check.severity, 3), check.name))


def rows_between(
    ws: Workspace, before: str, after: str, name: str, limit: int = DIFF_ROWS, *, whole: bool | None = None
) -> TableDiff:
    """Return what columns, rows and values differ in a table between two states; see `Lake.diff`.

    Columns that the current role reads masked are told of without their values and figures.
    """
    from bascule.project.comparing import without_values

    path = f"tables/{name}"
    old, new = ws.history.read(before, path), ws.history.read(after, path)
    if old is None and new is None:
        raise NotFound("table", name, [p.partition("/")[2] for p in ws.history.digests(after, "tables/")])
    hidden = hidden_columns(ws, ws.history.resolve(after), name, old, new)
    return without_values(Lake(ws).diff(old, new, limit=limit, whole=whole), hidden)


def _table(
    ws: Workspace, ref: str, path: str, value: dict[str, Any], contracts: set[str], checks: ChecksSummary | None
) -> TableInfo:
    name = path.partition("/")[2]
    last = ws.history.log(ref, limit=1, path=path)
    return TableInfo(
        name=name,
        rows=int(value.get("rows") or 0),
        bytes=int(value.get("bytes") or 0),
        files=int(value.get("files") or 0),
        digest=value["digest"],
        key=tuple(value.get("key") or ()),
        has_contract=f"contracts/{name}" in contracts,
        changed_at=last[0].created_at if last else None,
        changed_by=last[0].author if last else None,
        checks=checks,
    )


def _columns(ws: Workspace, value: dict[str, Any]) -> list[Column]:
    key = set(value.get("key") or ())
    return [Column(f.name, str(f.type), bool(f.nullable), f.name in key) for f in Lake(ws).schema(value)]


def _versions(ws: Workspace, ref: str, path: str) -> list[TableVersion]:
    found = []
    for commit in ws.history.log(ref, limit=VERSIONS, path=path):
        parent = ws.history.commit_by_id(commit.parents[0]) if commit.parents else None
        before = ws.history.read(parent, path) if parent else None
        found.append(TableVersion(commit_info(commit), _rows(ws.history.read(commit, path)), _rows(before)))
    return found


def _rows(value: dict[str, Any] | None) -> int | None:
    return int(value["rows"]) if value else None


def _last_checks(ws: Workspace, paths: list[str]) -> dict[str, ChecksSummary]:
    """For each path the verdicts of its last check."""
    c = schema.check_results.c
    last = select(c.subject, func.max(c.at).label("at")).where(c.subject.in_(paths)).group_by(c.subject).subquery()
    wanted = _summary().join(last, (c.subject == last.c.subject) & (c.at == last.c.at)).group_by(c.subject, c.at)
    with ws.catalog.read() as conn:
        return {row.subject: _summarised(row) for row in conn.execute(wanted)}


def _refusals(ws: Workspace, path: str, limit: int = 10) -> list[ChecksSummary]:
    """The checks of a table that failed, youngest first."""
    c = schema.check_results.c
    wanted = _summary().where(c.subject == path).group_by(c.subject, c.at).order_by(c.at.desc())
    failed = wanted.having(func.sum(_one(c.status != "passed") * _one(c.severity == "critical")) > 0).limit(limit)
    with ws.catalog.read() as conn:
        return [_summarised(row) for row in conn.execute(failed)]


def _summary() -> Any:
    c = schema.check_results.c
    failed = _one(c.status != "passed")
    critical = _one(c.severity == "critical")
    return select(
        c.subject,
        c.at,
        func.max(c.commit_id).label("commit_id"),
        func.max(c.run_id).label("run_id"),
        func.sum(_one(c.status == "passed")).label("passed"),
        func.sum(failed * critical).label("failed"),
        func.sum(failed * (1 - critical)).label("warnings"),
    ).select_from(schema.check_results)


def _one(condition: Any) -> Any:
    return case((condition, 1), else_=0)


def _summarised(row: Row[Any]) -> ChecksSummary:
    return ChecksSummary(row.at, row.commit_id, row.run_id, int(row.passed), int(row.failed), int(row.warnings))


def _check(row: Row[Any], names: frozenset[str], usual: tuple[float, float] | None) -> CheckInfo:
    """Return a result as it may be shown: a sample may be older than the rule that hides one of its columns."""
    rows = msgspec.json.decode(row.sample_json) if row.sample_json else []
    is_hidden = (row.column_name or "").casefold() in names
    if names and isinstance(rows, list):
        rows = [{c: HIDDEN if c.casefold() in names else v for c, v in one.items()} for one in rows]
    value = None if is_hidden else row.value
    told = None
    if row.status == "passed" and value is not None and usual is not None and not usual[0] <= value <= usual[1]:
        told = surprise_text(value, usual, is_share=row.failed_rows is not None)
    return CheckInfo(
        name=row.check_name,
        column=row.column_name,
        severity=row.severity,
        status=row.status,
        observed=HIDDEN if is_hidden and row.observed is not None else row.observed,
        expected=row.expected,
        failed_rows=row.failed_rows,
        total_rows=row.total_rows,
        sample=rows if isinstance(rows, list) else [],
        at=row.at,
        commit_id=row.commit_id,
        run_id=row.run_id,
        value=value,
        usual=None if value is None else usual,
        unusual=told,
    )


def _quoted(name: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))
