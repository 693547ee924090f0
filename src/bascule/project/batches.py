"""Write, audit, publish: a batch is written on a branch of its own, checked there, and merged only when it passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bascule.catalog import actor, new_id
from bascule.contracts import Contract, Report, implied, run_checks
from bascule.contracts.parts import Memory, OfParts
from bascule.contracts.sql import columns_of
from bascule.counting import counted
from bascule.errors import Conflict, InputError
from bascule.history import Commit, Workspace
from bascule.history.commits import Object
from bascule.lake import Lake, quarantined, seen
from bascule.lake.engine import opened
from bascule.lake.iceberg import scans
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.types import quoted
from bascule.lake.ingested import IngestedFile, IngestReport, noted
from bascule.lake.ingestion import Mode, stage_ingest
from bascule.lake.origins import Gathered, Options, gather, plain
from bascule.lake.parts import FileParts
from bascule.project.checking import functions_of, keep, problems, refuse, relations
from bascule.project.foldering import gathering, is_folder
from bascule.project.pasts import BATCH, past_values
from bascule.project.publishing import publish
from bascule.project.remembering import States
from bascule.project.required import Required

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
            "files": [file.as_dict() for file in self.report.files],
            "rejected": len(self.report.rejected),
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
    tolerate: float = 0.0,
    options: Options = Options(),  # noqa: B008
    folder: Path | None = None,
    confined: bool = False,
    message: str | None = None,
    run: str | None = None,
    author: str | None = None,
    required: Required | None = None,
    promised: Object | None = None,
    tell: Tell = lambda text: None,
) -> Batch:
    """Take rows into a table of a branch, after its contract has seen them.

    A table without a contract still promises two things: its key names one row, and its columns keep coming.

    Each content is taken in once: bringing the same file again changes nothing, also when two do it at once. A batch
    that the contract refuses stays on its own branch, `ingest/TABLE-…`, where it can be looked at and repaired; the
    target is unchanged.

    Args:
        source: a file, a folder or a glob; or the address of a database, a topic, …: `SCHEME://…`.
        key: the key of a table that is made now.
        tolerate: the share of a file's records, from 0 to 1, that may go to the table `quarantine` because they cannot
            be read.
        options: what an address is told besides: a query, a cursor.
        folder: where relative paths and modules are looked for; the current folder by default.
        confined: refuse whatever not anybody may reach; for servers.
        author: who brings it; whoever acts when None.
        mode: `append` adds new files; `replace` puts the files in the place of the table.
        dates: `day-first` or `month-first`; see `read_source`.
        required: the project's own checks, which are run when the branch is protected.
        promised: the table's contract, which comes with the rows where the branch has none.
        tell: told what is going on.

    Raises:
        NotFound, InputError: the files cannot be read; nothing was written.
        CheckFailed: the contract refuses the batch, with failing rows.
        Conflict: the table was changed by others again and again; nothing was changed.
    """
    ask: Callable[..., AbstractContextManager[Gathered]]
    if is_folder(str(source)) and not confined:
        mode = "replace"  # the table says what the folder holds now
        ask = gathering(workspace, table, str(source), into, options, folder, tell)
    else:
        ask = _asking(workspace, str(source), mode, options, folder, confined, tell)
    author = author or actor()
    how = _How(table, into, tuple(key), mode, dates or "", tolerate, message, run, required, tell, author, promised)
    return _repeated(partial(_bring, workspace, plain(str(source)), ask, how))


def _asking(
    workspace: Workspace, source: str, mode: Mode, options: Options, folder: Path | None, confined: bool, tell: Tell
) -> Callable[..., AbstractContextManager[Gathered]]:
    return partial(
        gather,
        source,
        workspace.temporary_folder / "spool",
        whole=mode == "replace",
        options=options,
        folder=folder,
        confined=confined,
        tell=tell,
    )


def bring_parts(
    workspace: Workspace,
    table: str,
    what: str,
    ask: Callable[..., AbstractContextManager[Gathered]],
    into: str,
    *,
    key: Sequence[str] = (),
    tolerate: float = 0.0,
    author: str | None = None,
    required: Required | None = None,
    tell: Tell = lambda text: None,
) -> Batch:
    """Do what `bring_in` does with parts that are there already.

    Args:
        what: what they are called, as the beginning of a sentence.
        ask: gives them, told as `known` what the table has; called again when others changed the table meanwhile.
    """
    how = _How(table, into, tuple(key), "append", "", tolerate, None, None, required, tell, author or actor())
    return _repeated(partial(_bring, workspace, what, ask, how))


def _repeated(attempt: Callable[[], Batch]) -> Batch:
    for _ in range(TRIES - 1):
        try:
            return attempt()
        except Conflict:  # another one changed the table meanwhile, so it is asked again which files are new
            continue
    return attempt()


@dataclass(frozen=True)
class _How:
    """What `bring_in` was told."""

    table: str
    into: str
    key: tuple[str, ...]
    mode: Mode
    dates: str
    tolerate: float
    message: str | None
    run: str | None
    required: Required | None
    tell: Tell
    author: str
    promised: Object | None = None


def _bring(workspace: Workspace, source: str, ask: Callable[..., AbstractContextManager[Gathered]], how: _How) -> Batch:
    lake = Lake(workspace)
    head = workspace.history.resolve(how.into)
    before = workspace.history.read(head, f"tables/{how.table}")
    known = list(seen.sources(lake.table(before)).values()) if before is not None else []
    how.tell(f"reading {source}")
    with ask(known=known) as found:
        if not found.parts:
            return _nothing_new(how.table, source, before, found)
        staged = stage_ingest(
            lake,
            before,
            how.table,
            found.parts,
            mode=how.mode,
            key=how.key,
            evolve=before is not None,
            dates=how.dates,
            tolerate=how.tolerate,
            tell=how.tell,
        )
        if not staged.changed:
            return Batch(how.table, staged, None, None, "")
        return _publish(workspace, how, head, before, staged, found.also)


def _nothing_new(table: str, source: str, before: Object | None, found: Gathered) -> Batch:
    if before is None:
        raise InputError(f"{source} has nothing yet.", hint="Repeat when it has rows.")
    held = tuple(IngestedFile(Path(one.file), one.digest, one.rows, "skipped", one.file) for one in found.held[-1:])
    return Batch(table, IngestReport(table, held, 0, before), None, None, "")


def _publish(
    workspace: Workspace,
    how: _How,
    head: Commit,
    before: Object | None,
    staged: IngestReport,
    also: Mapping[str, Object],
) -> Batch:
    history, table, into = workspace.history, how.table, how.into
    for assumed in staged.assumed:
        other = "options = {encoding = …}" if "UTF-8" in assumed else "dates = …"
        flag = "--option encoding=…" if "UTF-8" in assumed else "--dates"
        how.tell(f"{assumed}. If that is wrong: {other} in [source.{table}], or {flag}")
    branch = f"ingest/{table}-{new_id('b')[-8:]}"
    history.create_branch(branch, head)
    taken = [file for file in staged.files if file.status == "ingested"]
    names = [file.name for file in taken]
    told = how.message or f"Bring {', '.join(names[:3])}{' …' if len(names) > 3 else ''} into {table}"
    meta: dict[str, Any] = {"ingest": [noted(file) for file in taken], "author": how.author}
    changes = {**also, f"tables/{table}": staged.value}
    if how.promised is not None and history.read(head, f"contracts/{table}") is None:
        changes[f"contracts/{table}"] = how.promised
    written = history.commit(branch, changes, message=told, author=how.author, meta=meta)
    if staged.rejected:
        quarantined.keep(workspace, table, into, written.id, staged)
        how.tell(f"{counted(len(staged.rejected), 'record')} set aside in the table quarantine: {staged.rejected[0]}")
    how.tell(f"checking {counted(staged.rows, 'row')}")
    report = _audit(workspace, table, staged, before, written, into, branch, how.run, how.mode)
    try:
        done = publish(workspace, branch, into, message=told, ship=False, run=how.run, meta=meta, required=how.required)
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
    since = before if mode == "append" else None
    existing = lake.scan(since) if since is not None else None
    parts, memory = _known(workspace, lake, staged, since)
    with opened(workspace.temporary_folder) as connection:
        if obj is not None:
            contract = Contract.parse(obj["text"], file=obj.get("file", f"contracts/{table}.yaml"))
        else:
            held = columns_of(connection, lake.scan(before)) if before is not None else {}
            contract = implied(table, staged.value["key"], held)
        report = run_checks(
            connection,
            _rows(lake, staged, since),
            contract,
            related=relations(workspace, lake, lambda path: workspace.history.read(written, path)),
            existing=existing,
            parts=parts,
            memory=memory,
            past=past_values(workspace, f"tables/{table}", BATCH, at=into),
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


def _known(
    workspace: Workspace, lake: Lake, staged: IngestReport, since: Object | None
) -> tuple[FileParts | None, Memory | None]:
    """Return the batch's files, and what keeps what is measured of them: the merge need not measure it again.

    None for a batch that lacks columns of its table: what it would say of them is not what its files say.
    """
    if not _is_whole(lake.table(staged.value), staged):
        return None, None
    parts = lake.parts(staged.value, since)
    states = States(workspace.catalog)
    return parts, states if since is None else OfParts(states, parts.ids)


def _is_whole(table: Table, staged: IngestReport) -> bool:
    came = {name.casefold() for name in staged.columns}
    return all(field["name"].casefold() in came for field in table.schema["fields"])


def _rows(lake: Lake, staged: IngestReport, before: Object | None) -> str:
    """Return text usable after FROM with the batch's rows, from the data files that were written for it."""
    table = lake.table(staged.value)
    held = {file.path for file in lake.table(before).data_files()} if before is not None else set()
    fresh = scans.scan(table, only=[file for file in table.data_files() if file.path not in held])
    if _is_whole(table, staged):
        return fresh
    came = {name.casefold() for name in staged.columns}  # what the batch lacks is null in its files
    names = [quoted(f["name"]) for f in table.schema["fields"] if f["name"].casefold() in came]
    return f"(SELECT {', '.join(names)} FROM {fresh})"
