"""Garbage collection: what no kept state leads to and is older than the grace time is deleted.

First it is listed what there is. Then one transaction decides what stays, and notes what expires, so that no name
comes to lead there while files go. Last the rest is swept, each table under its lock, after another look at what was
committed since. A collection that is killed at any moment has lost nothing: the next one decides anew and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from bascule.catalog import actor, audit, now
from bascule.durations import DAY, format_duration
from bascule.errors import Busy
from bascule.history import Workspace, expiry, names
from bascule.lake.maintenance import listing, references, retention
from bascule.lake.maintenance.deciding import CameFrom, Decision, decide
from bascule.lake.maintenance.reaching import Library
from bascule.lake.maintenance.sweeping import Collected, Sweep
from bascule.lake.maintenance.telling import Tell, quiet

GRACE = DAY
LOCK = "gc"


@dataclass(frozen=True, slots=True)
class Collection:
    """What a collection did, or with `dry_run` would do.

    Attributes:
        dry_run: whether nothing was changed.
        grace: what is younger was left alone, in microseconds.
        collected: what went, by kind and table, the largest first.
        kept_files, kept_bytes: what states, records and blobs need.
        waiting_files, waiting_bytes: what nothing needs and is too young to go.
        expired_commits, expired_objects: states whose data were let go by the rules.
        branches: branches that lost their name, as nobody had touched them.
        skipped: tables that nothing was deleted of, each with why.
        tracking: how many deleted runs, logged models, experiments and points of metrics went for good, and how many
            stay since a version of a model came from them.
        versions: versions of models that were deleted and went for good.
        staying: deleted versions whose time is over and that stay, each with what holds them.
    """

    dry_run: bool
    grace: int
    collected: tuple[Collected, ...]
    kept_files: int
    kept_bytes: int
    waiting_files: int
    waiting_bytes: int
    expired_commits: int
    expired_objects: int
    branches: tuple[str, ...]
    skipped: dict[str, str] = field(default_factory=dict)
    tracking: dict[str, int] = field(default_factory=dict)
    versions: tuple[str, ...] = ()
    staying: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> int:
        """How many files went."""
        return sum(one.files for one in self.collected)

    @property
    def bytes(self) -> int:
        """How many bytes went."""
        return sum(one.bytes for one in self.collected)

    def as_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        rows = [{"kind": c.kind, "table": c.table, "files": c.files, "bytes": c.bytes} for c in self.collected]
        return {
            "dry_run": self.dry_run,
            "grace": format_duration(self.grace),
            "files": self.files,
            "bytes": self.bytes,
            "collected": rows,
            "kept": {"files": self.kept_files, "bytes": self.kept_bytes},
            "waiting": {"files": self.waiting_files, "bytes": self.waiting_bytes},
            "expired": {"commits": self.expired_commits, "objects": self.expired_objects},
            "branches": list(self.branches),
            "skipped": dict(self.skipped),
            "tracking": dict(self.tracking),
            "versions": list(self.versions),
            "staying": dict(self.staying),
        }


def collect(
    workspace: Workspace,
    *,
    dry_run: bool = False,
    grace: int | None = None,
    author: str | None = None,
    tell: Tell | None = None,
    purged: references.Purged = references.NOTHING,
) -> Collection:
    """Delete what no kept state, record or hold leads to.

    Writers may go on beside it. What somebody wrote and has not committed yet must be younger than the grace time.

    Args:
        dry_run: say what would go, and change nothing.
        grace: what is younger stays, whatever the rules say, in microseconds; a day when None.
        tell: is told what is going on, how far it is, and of how many.
        purged: versions of models that were deleted for good, as `purged.purged_of` says.

    Raises:
        Busy: when another collection is running.
        NotFound: when a part of the history is missing: then nobody can tell what is needed. Nothing was deleted.
    """
    with _alone(workspace):
        began, who, tell = now(), author or actor(), tell or quiet
        grace = GRACE if grace is None else grace
        tell("looking what there is", 0, None)
        there = {folder: list(listing.files(folder)) for folder in listing.folders(workspace.lake_folder)}
        blobs = list(workspace.store.stored())
        left = list(listing.left(workspace))
        recorded = references.blobs_of_records(workspace, purged)
        library = Library(workspace, purged)
        tell("deciding what stays", 0, None)
        decision = _decide(library, {blob.digest for blob in blobs}, recorded, began, grace, None if dry_run else who)
        sweep = Sweep(workspace, library, decision, began - grace, dry_run)
        sweep.mark(tell)
        for at, (folder, found) in enumerate(there.items()):
            tell(f"sweeping {listing.table_of(folder)}", at, len(there))
            sweep.table(folder, found)
        tell("sweeping blobs", 0, len(blobs))
        sweep.blobs(blobs)
        sweep.left(left)
        return _told(sweep, grace, who)


def let_go_of_models(
    workspace: Workspace,
    came_from: CameFrom,
    *,
    dry_run: bool = False,
    grace: int | None = None,
    purged: references.Purged = references.NOTHING,
) -> Decision:
    """Let states of models expire that no rule keeps, and that came from deleted runs which no kept state came from.

    Returns:
        What was decided; with `dry_run` nothing was noted.
    """
    with _alone(workspace):
        began, library = now(), Library(workspace, purged)
        grace = GRACE if grace is None else grace
        with workspace.catalog.read() if dry_run else workspace.catalog.write() as conn:
            if not dry_run:
                audit.take_turn(conn)
            rules = retention.load(conn)
            found = decide(conn, library, rules, now=began, grace=grace, stored=(), recorded=(), came_from=came_from)
            if not dry_run:
                _note(conn, found, actor())
    return found


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    try:
        with workspace.catalog.locked(LOCK, exclusive=True, wait=False):
            yield
    except BlockingIOError:
        raise Busy("Another collection is running in this workspace.", hint="Let it end; it does the same.") from None


def _decide(
    library: Library, stored: set[str], recorded: set[str], began: int, grace: int, author: str | None
) -> Decision:
    """Decide, and unless it is a dry run (no author) note what expires in the transaction that looked."""

    def look(conn: Connection) -> Decision:
        rules = retention.load(conn)
        return decide(conn, library, rules, now=began, grace=grace, stored=stored, recorded=recorded)

    catalog = library.workspace.catalog
    with catalog.read() as conn:
        found = look(conn)
    if author is None:
        return found
    # Again where nobody moves a name; what was read before need not be read a second time.
    with catalog.write() as conn:
        audit.take_turn(conn)
        found = look(conn)
        for name in found.idle:
            names.remove(conn, names.branch(conn, name), author)
        _note(conn, found, author)
    return found


def _note(conn: Connection, found: Decision, author: str) -> None:
    """Note what expires, and say so in the audit log."""
    expiry.note(conn, found.expired)
    if found.expired:
        detail = {"commits": found.expired_commits, "objects": found.expired_objects}
        audit.append(conn, actor=author, action="expire", subject="workspace", detail=detail)


def _told(sweep: Sweep, grace: int, author: str) -> Collection:
    decision, expired = sweep.decision, sweep.decision.expired_commits
    report = Collection(
        sweep.dry_run,
        grace,
        sweep.collected(),
        sweep.kept[0],
        sweep.kept[1],
        sweep.waiting[0],
        sweep.waiting[1],
        expired,
        decision.expired_objects,
        decision.idle,
        sweep.skipped,
    )
    if not sweep.dry_run and (report.files or expired or report.branches):
        with sweep.workspace.catalog.write() as conn:
            audit.append(conn, actor=author, action="collect", subject="workspace", detail=report.as_dict())
    return report
