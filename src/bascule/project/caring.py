"""`bascule doctor`: everything that is promised about a workspace's state, looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import msgspec
from sqlalchemy import select, update

from bascule.catalog import audit, has_ended, now
from bascule.catalog.schema import model_versions, runs, training_sets
from bascule.counting import counted
from bascule.errors import BasculeError
from bascule.history import Workspace
from bascule.lake import doctor as lake_doctor
from bascule.lake import filesets
from bascule.lake.doctor import Problem
from bascule.project.holders import holders
from bascule.project.holders import told as told_of
from bascule.project.linking import Broken, broken_references, is_elsewhere
from bascule.project.place import MAIN
from bascule.project.reproducing.leavings import clear_away
from bascule.project.tandem import Settled, pending, settle
from bascule.project.withdrawing import settle as settle_bundles
from bascule.registry.bundles import lost
from bascule.registry.deletions import mend_renamed
from bascule.serving.log import check_segments

Level = Literal["ok", "note", "damage"]


@dataclass(frozen=True)
class Finding:
    """What one look found.

    Attributes:
        subject: what was looked at.
        level: `ok`, `note` (untidy, harmless) or `damage` (something promised does not hold).
        message: what was found, with what to do.
    """

    subject: str
    level: Level
    message: str


def examine(workspace: Workspace, deep: bool = False, *, settled: Settled | None = None) -> list[Finding]:
    """Look at the audit chain, the history and its references, tables, file sets, blobs, models, logs, runs.

    Five things are changed: runs whose process is gone are closed as failed, what killed reproductions left is removed,
    a forgetting that was killed while it put files in the place of others goes on to where every state is whole, a
    merge with git that was killed is settled, and deleted versions get the name that their model has since.

    Args:
        deep: also read every blob and every data file and compare it with its name.
        settled: what became of a merge with git that was killed, as the workspace was opened.
    """
    looks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("audit log", lambda: _audit(workspace)),
        ("history", lambda: _history(workspace)),
        ("references", lambda: _references(workspace)),
        ("tables", lambda: _tables(workspace, deep)),
        ("file sets", lambda: _files(workspace, deep)),
        ("blobs", lambda: _blobs(workspace, deep)),
        ("models", lambda: _withdrawals(workspace)),
        ("models", lambda: _renamed(workspace)),
        ("prediction log", lambda: _logs(workspace)),
        ("runs", lambda: _runs(workspace)),
        ("reproductions", lambda: _reproductions(workspace)),
        ("merge with git", lambda: _with_git(workspace, settled)),
    )
    found: list[Finding] = []
    for subject, look in looks:
        try:
            found += list(look())
        except BasculeError as error:
            found.append(Finding(subject, "damage", error.message))
    return found


def _audit(workspace: Workspace) -> Iterator[Finding]:
    report = audit.verify(workspace.catalog)
    if report.ok:
        yield Finding("audit log", "ok", f"{counted(report.entries, 'entry')}, the chain is whole")
    else:
        yield Finding("audit log", "damage", f"entry {report.first_bad} of {report.entries} was changed")


def _history(workspace: Workspace) -> Iterator[Finding]:
    history, paths = workspace.history, 0
    heads = [*history.branches(), *history.tags()]
    for ref in heads:
        for _ in history.entries(ref.head):
            paths += 1
    count = sum(1 for _ in history.log(MAIN))
    yield Finding(
        "history",
        "ok",
        f"{counted(len(heads), 'branch or tag', 'branches and tags')}, {counted(paths, 'path')}, "
        f"{counted(count, 'commit')} on {MAIN}",
    )


def _references(workspace: Workspace) -> Iterator[Finding]:
    """Each finding once, with the branches that have it."""
    found: dict[Broken, list[str]] = {}
    heads = workspace.history.branches()
    for branch in heads:
        for broken in broken_references(workspace, branch.head):
            found.setdefault(broken, []).append(branch.name)
    for broken, branches in found.items():
        more = f" and {len(branches) - 3} more" if len(branches) > 3 else ""
        yield Finding("references", broken.level, f"on {', '.join(branches[:3])}{more}: {broken.message}")
    if not any(broken.level == "damage" for broken in found):
        yield Finding(
            "references",
            "ok",
            f"what serves is there, with all that it needs, on {counted(len(heads), 'branch', 'branches')}",
        )


def _tables(workspace: Workspace, deep: bool) -> Iterator[Finding]:
    for folder in lake_doctor.settle(workspace):
        told = f"a forgetting in {folder} was killed after its rows had left the table; repeat it to finish it"
        yield Finding("tables", "note", told)
    report = lake_doctor.check(workspace, deep=deep)
    for problem in report.problems:
        yield Finding("tables", "damage", f"{problem.table}: {problem.path}: {problem.message}")
    yield from _ways_back(workspace, report.problems)
    if report.ok:
        gone = f"; {counted(report.expired, 'state')} expired, as `bascule retention` says" if report.expired else ""
        told = f"{counted(report.states, 'state')}, {counted(report.files, 'file')}, {report.bytes / 1e6:,.1f} MB{gone}"
        yield Finding("tables", "ok", told)
    if report.orphans:
        size = sum(orphan.bytes for orphan in report.orphans) / 1e6
        told = f"{counted(len(report.orphans), 'file')} of no state ({size:,.1f} MB); `bascule gc` deletes the old ones"
        yield Finding("tables", "note", told)


def _ways_back(workspace: Workspace, problems: Sequence[Problem]) -> Iterator[Finding]:
    """Say of each branch that has a damaged table which state of it is whole, and how to go back there."""
    history = workspace.history
    for name in sorted({problem.table for problem in problems}):
        bad, path = {problem.path for problem in problems if problem.table == name}, f"tables/{name}"
        for branch in history.branches():
            digest = history.digest(branch.head, path)
            if digest is None:
                continue
            found = lake_doctor.last_whole(workspace, name, branch.name, bad)
            if found is None:
                told = f"no state of {path} on {branch.name} is whole: bring it in again from where it came"
                yield Finding("tables", "note", told)
            elif history.digest(found, path) != digest:
                way = f"go back with: bascule restore {path} --from {found.short} --branch {branch.name}"
                yield Finding("tables", "note", f"{path} on {branch.name} was whole at {found.short}; {way}")


def _files(workspace: Workspace, deep: bool) -> Iterator[Finding]:
    report = filesets.check(workspace, deep=deep)
    for problem in report.problems:
        yield Finding("file sets", "damage", problem)
    if not report.problems:
        yield Finding("file sets", "ok", f"{counted(report.versions, 'version')}, {counted(report.blobs, 'blob')}")


def _blobs(workspace: Workspace, deep: bool) -> Iterator[Finding]:
    needed, gone = _needed_blobs(workspace), lost(workspace)
    missing = sorted(name for name in needed if name not in gone and not workspace.store.has(name))
    for name in missing:
        yield Finding("blobs", "damage", f"{name[:16]} is missing: {needed[name]} needs it")
    checked, bad = 0, {}
    for name in workspace.store.digests() if deep else ():
        try:
            workspace.store.get(name)
        except BasculeError as error:
            bad[name] = error.message
        checked += 1
    who = holders(workspace, bad) if bad else {}
    for name, why in sorted(bad.items()):
        yield Finding("blobs", "damage", f"{name[:16]}: {why.rstrip('.')}; {told_of(who[name])}")
    if not missing and not bad:
        told = f"{counted(len(needed), 'blob')} needed and there"
        yield Finding("blobs", "ok", f"{told}, {checked} read" if deep else told)


def _withdrawals(workspace: Workspace) -> Iterator[Finding]:
    """Tell of bundles that hold a forgotten subject: damage when they should be gone."""
    settled = settle_bundles(workspace, dry_run=True)
    for one in settled.waiting:
        told = f"the bundle of {one.note.names} holds a subject that was forgotten: {one.why}"
        day = f"{datetime.fromtimestamp(one.note.due / 1e6, UTC):%Y-%m-%d}" if one.note.due else ""
        late = f"; it was to be gone by {day}" if one.overdue else ""
        yield Finding("models", "damage" if one.overdue else "note", f"{told}{late}")
    for note, _ in settled.gone:
        told = f"the bundle of {note.names} holds a subject that was forgotten, and nothing needs it"
        yield Finding("models", "note", f"{told}; `bascule gc` deletes it")


def _renamed(workspace: Workspace) -> Iterator[Finding]:
    mended = mend_renamed(workspace)
    if mended:
        shown = ", ".join(mended[:3]) + (f" and {len(mended) - 3} more" if len(mended) > 3 else "")
        told = f"deleted versions have the name again that their model was given: {shown}"
        yield Finding("models", "note", f"{told}; `bascule model restore` brings one back")


def _needed_blobs(workspace: Workspace) -> dict[str, str]:
    with workspace.catalog.read() as conn:
        versions = [row for row in conn.execute(select(model_versions)) if not is_elsewhere(row.artifact)]
        needed = {row.artifact: f"models/{row.model}@{row.version}" for row in versions}
        needed |= {row.blob: f"training_sets/{row.name}" for row in conn.execute(select(training_sets))}
        codes = conn.execute(select(runs.c.id, runs.c.code_snapshot).where(runs.c.code_snapshot.is_not(None)))
        needed |= {row.code_snapshot: f"run {row.id}" for row in codes}
    return needed


def _logs(workspace: Workspace) -> Iterator[Finding]:
    report = check_segments(workspace)
    if report.damaged:
        for name in report.damaged:
            yield Finding("prediction log", "damage", f"{name} is broken in the middle; what follows is lost")
    else:
        yield Finding(
            "prediction log",
            "ok",
            f"{counted(report.segments, 'segment')}, {counted(report.records, 'record')} not moved yet",
        )


def _with_git(workspace: Workspace, settled: Settled | None) -> Iterator[Finding]:
    settled = settled or settle(workspace)
    if settled is not None:
        yield Finding("merge with git", "damage" if settled.outcome == "stuck" else "note", settled.message)
    elif (half := pending(workspace)) is not None:
        yield Finding("merge with git", "note", f"{half.source[:10]} is being merged into {half.into}")


def _reproductions(workspace: Workspace) -> Iterator[Finding]:
    gone = clear_away(workspace)
    if gone:
        told = f"branches, worktrees and temporary folders of {gone} that were killed are removed"
        yield Finding("reproductions", "note", told)


def _runs(workspace: Workspace) -> Iterator[Finding]:
    closed = 0
    with workspace.catalog.write() as conn:
        for row in conn.execute(select(runs).where(runs.c.status == "running")).all():
            place = msgspec.json.decode(row.environment_json)
            if has_ended(place.get("process") or f"{place.get('host')}:{place.get('pid')}"):
                values = {"status": "failed", "error": "Its process ended without a word.", "finished_at": now()}
                conn.execute(update(runs).where(runs.c.id == row.id).values(**values))
                closed += 1
    if closed:
        yield Finding(
            "runs", "note", f"{counted(closed, 'run')} had died and {'was' if closed == 1 else 'were'} closed as failed"
        )
    else:
        yield Finding("runs", "ok", "none is left open by a dead process")
