"""Write, audit, publish: a batch is written on a branch of its own, checked there, and merged only when it passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bascule.catalog import actor, new_id
from bascule.contracts import Contract, Report, implied, run_checks
from bascule.contracts.sql import columns_of
from bascule.errors import Conflict
from bascule.history import Commit, Workspace
from bascule.history.commits import Object
from bascule.lake import Lake, objects
from bascule.lake.engine import opened
from bascule.lake.ingestion import IngestReport, Mode, stage_ingest
from bascule.lake.sources import read_source
from bascule.project.checking import functions_of, keep, problems, refuse, relations
from bascule.project.pasts import BATCH, past_values
from bascule.project.publishing import publish
from bascule.project.required import Required
from bascule.project.words import counted

if TYPE_CHECKING:
    import duckdb

Tell = Callable[[str], None]
TRIES = 5


@dataclass(frozen=True)
class Batch:
    """What became of a batch.

    Attributes:
        table: its name.
        report: what was taken in.
        checks: what the contract said of the batch; None without a contract.
        commit: the merge, or None when every file had been taken in before.
        branch: the branch that the batch was written on; it is gone again when it was merged.
    """

    table: str
    report: IngestReport
    checks: Report | None
    commit: Commit | None
    branch: str

    def as_dict(self) -> dict[str, Any]:
        """The batch as one JSON object."""
        return {
            "table": self.table,
            "rows": self.report.rows,
            "files": [{"file": f.path.name, "rows": f.rows, "status": f.status} for f in self.report.files],
            "commit": self.commit.id if self.commit else None,
            "checks": len(self.checks.results) if self.checks else 0,
            "problems": problems(self.checks) if self.checks else [],
            "assumed": list(self.report.assumed),
        }


def bring_in(
    workspace: Workspace,
    table: str,
    source: str | Path,
    into: str,
    *,
    key: Sequence[str] = (),
    mode: Mode = "append",
    dates: str | None = None,
    message: str | None = None,
    run: str | None = None,
    required: Required | None = None,
    tell: Tell = lambda text: None,
) -> Batch:
    """Take files into a table of a branch, after its contract has seen them.

    A table without a contract still promises two things: its key names one row, and its columns keep coming.

    Each content is taken in once: bringing the same file again changes nothing, also when two do it at once. A batch
    that the contract refuses stays on its own branch, `ingest/TABLE-…`, where it can be looked at and repaired; the
    target is unchanged.

    Args:
        source: a file, a folder or a glob.
        key: the key of a table that is made now.
        mode: `append` adds new files; `replace` puts the files in the place of the table.
        dates: `day-first` or `month-first`; see `read_source`.
        required: the project's own checks, which are run when the branch is protected.
        tell: told what is going on.

    Raises:
        NotFound, InputError: the files cannot be read; nothing was written.
        CheckFailed: the contract refuses the batch, with failing rows.
        Conflict: the table was changed by others again and again; nothing was changed.
    """
    attempt = partial(_bring, workspace, table, source, into, key, mode, dates or "", message, run, required, tell)
    for _ in range(TRIES - 1):
        try:
            return attempt()
        except Conflict:  # another one changed the table meanwhile, so it is asked again which files are new
            continue
    return attempt()


def _bring(
    workspace: Workspace,
    table: str,
    source: str | Path,
    into: str,
    key: Sequence[str],
    mode: Mode,
    dates: str,
    message: str | None,
    run: str | None,
    required: Required | None,
    tell: Tell,
) -> Batch:
    lake, history = Lake(workspace), workspace.history
    head = history.resolve(into)
    before = history.read(head, f"tables/{table}")
    tell(f"reading {source}")
    staged = stage_ingest(lake, before, table, source, mode=mode, key=key, evolve=before is not None, dates=dates)
    if not staged.changed:
        return Batch(table, staged, None, None, "")
    for assumed in staged.assumed:
        tell(f"{assumed}. If that is wrong: dates = … in [source.{table}], or --dates")
    branch = f"ingest/{table}-{new_id('b')[-8:]}"
    history.create_branch(branch, head)
    files = [f.path.name for f in staged.files if f.status == "ingested"]
    told = message or f"Bring {', '.join(files[:3])}{' …' if len(files) > 3 else ''} into {table}"
    meta: dict[str, Any] = {"ingest": [{"file": f.path.name, "digest": f.digest, "rows": f.rows} for f in staged.files]}
    written = history.commit(branch, {f"tables/{table}": staged.value}, message=told, meta=meta)
    tell(f"checking {counted(staged.rows, 'row')}")
    report = _audit(workspace, table, staged, before, written, into, branch, run, mode)
    try:
        meta = {**meta, "author": actor()}
        done = publish(workspace, branch, into, message=told, ship=False, run=run, meta=meta, required=required)
    except Conflict:
        history.delete_branch(branch, force=True)
        raise
    history.delete_branch(branch, force=True)
    return Batch(table, staged, report, done.commit, branch)


def _audit(
    workspace: Workspace,
    table: str,
    staged: IngestReport,
    before: Object | None,
    written: Commit,
    into: str,
    branch: str,
    run: str | None,
    mode: Mode,
) -> Report | None:
    """Check the rows of the batch alone: a mean that a thousand good rows would hide shows here."""
    obj = workspace.history.read(written, f"contracts/{table}")
    lake = Lake(workspace)
    existing = lake.scan(before) if before is not None and mode == "append" else None
    with opened(workspace.temporary_folder) as connection:
        if obj is not None:
            contract = Contract.parse(obj["text"], file=obj.get("file", f"contracts/{table}.yaml"))
        else:
            held = columns_of(connection, lake.scan(before)) if before is not None else {}
            contract = implied(table, staged.value["key"], held)
        report = run_checks(
            connection,
            _rows(lake, staged, connection),
            contract,
            related=relations(workspace, lake, lambda path: workspace.history.read(written, path)),
            existing=existing,
            past=past_values(workspace.catalog, f"tables/{table}", BATCH),
            functions=functions_of(workspace),
        )
    keep(workspace, report, written.id, run, BATCH)
    refuse(
        [report],
        f"The batch is not merged into {into!r}",
        f"{into!r} is unchanged. The batch is on branch {branch!r}: look at it with "
        f"`bascule sql --at {branch} …`, repair the file and bring it again, then drop the branch."
        + ("" if obj else f" What may differ, a contract says: bascule contract suggest {table}"),
    )
    return report if obj is not None else None


def _rows(lake: Lake, staged: IngestReport, connection: duckdb.DuckDBPyConnection) -> str:
    """Return text usable after FROM with the batch's rows, in the types that the table has for them."""
    fresh = [file.path for file in staged.files if file.status == "ingested"]
    types = lake.schema(staged.value)
    known = objects.dates_of(lake.table(staged.value))
    told: dict[str, Any] = {"expected": types, "evolve": True, "checked": False, "known": known}
    parts = [read_source(path, connection, **told) for path in fresh]
    return f"({' union all by name '.join(f'select * from {part.relation}' for part in parts)})"
