"""Tables that fill themselves: rows that land in a table are scored into another one, each once.

What was scored is read from the scored rows themselves, which say from which state they came: they land with their
rows or not at all, so a filler that is killed at any moment goes on where the rows say. Appended data files are read
alone; when rows of the source were changed or taken out, all of it is scored anew.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from bascule.errors import BasculeError, Busy, InputError, NotFound
from bascule.history import Workspace
from bascule.lake.iceberg import scans
from bascule.lake.iceberg.datafiles import DataFile
from bascule.lake.iceberg.tables import Table
from bascule.lake.maintenance.telling import Tell, quiet
from bascule.lake.objects import PREFIX, Object
from bascule.lake.reading import read
from bascule.project.place import MAIN, Place
from bascule.project.scoring import FROM, PART, ScoredTable, Scoring
from bascule.project.tabling import BranchTable, TableChange
from bascule.store.locking import FileLock, Locked

AGAIN_S = 60.0  # after one failed
FILLS = "fills"


def score_new(
    place: Place, table: str, model: str, *, into: str | None = None, where: str = "", tell: Tell = quiet
) -> ScoredTable:
    """Score the rows of a table that have come since the last time, and append them to the scored table.

    Args:
        table: its name, on the current branch.
        model: as for `score_table`.
        into: the scored table; made when it is not there; `TABLE_scored` when not given.
        tell: is told how many rows are scored, of how many.

    Raises:
        Busy: another process is at it.
        NotFound, InputError, CheckFailed: as `score_table`.
    """
    if where or "@" in table:
        raise InputError(
            "New rows are all rows that have come to the branch since the last time.",
            hint="Leave --where and @REF out.",
        )
    scoring = Scoring(place, table, model, into)
    lock = FileLock(place.workspace.folder / "fills" / f"{scoring.target}.lock", note=f"process {os.getpid()}")
    try:
        lock.__enter__()
    except Locked as held:
        raise Busy(f"Table {scoring.target!r} is being filled by {held.note or 'another process'}.") from None
    try:
        return _filled(place, scoring, tell)
    finally:
        lock.__exit__(None, None, None)


def _filled(place: Place, scoring: Scoring, tell: Tell) -> ScoredTable:
    history = place.workspace.history
    target = history.read(place.branch, PREFIX + scoring.target)
    since = _last(place, scoring) if target is not None else None
    before = history.read(since, PREFIX + scoring.name) if since is not None else None
    now = history.get(scoring.source.at, PREFIX + scoring.name)
    if before is not None and before["digest"] == now["digest"]:
        rows = target["rows"] if target else 0
        return scoring.done(TableChange(scoring.target, None, rows, rows))
    new = _appended(scoring.source, before, now) if before is not None else None
    if new is None:
        return scoring.fill("", tell)
    whole, files = new

    def rows_of() -> pa.RecordBatchReader:
        found = read(whole, scans.scan(whole, only=files), (), "", place.workspace.temporary_folder)
        return scoring.rows(found, tell, sum(file.rows for file in files))

    change = BranchTable(place, scoring.target).append(rows_of(), evolve=True, message=scoring.message)
    return scoring.done(change)


def _last(place: Place, scoring: Scoring) -> str | None:
    """Return the newest state that rows of the scored table came from; None when one is unknown, or only in part."""
    history = place.workspace.history
    described = BranchTable(place, scoring.target)
    if FROM not in described.describe().columns:
        return None
    names = {one for batch in described.read([FROM]) for one in batch[FROM].unique().to_pylist()}
    found: list[tuple[int, str]] = []
    for name in names:
        table, _, commit = str(name).partition("@")
        if table != scoring.name or commit.endswith(PART):
            return None
        try:
            state = history.resolve(commit)
        except NotFound:  # let go of: it cannot be told any more what was new since
            continue
        found.append((state.created_at, state.id))
    return max(found)[1] if found else None


def _appended(source: BranchTable, before: Object, now: Object) -> tuple[Table, list[DataFile]] | None:
    """Return the table and its data files that came since; None when anything else happened to its rows."""
    old, new = source.lake.table(before, source.name), source.lake.table(now, source.name)
    known = {str(file.path) for file in old.data_files()}
    files = new.data_files()
    added = [file for file in files if str(file.path) not in known]
    same = {str(one["file_path"]) for one in old.deletes()} == {str(one["file_path"]) for one in new.deletes()}
    return (new, added) if same and len(files) - len(added) == len(known) else None


class Filler:
    """Fills what the deployments of `main` say, when their tables have changed. For the server's clock.

    Args:
        folder: the project's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[tuple[str, str], Any] = {}
        self._failed: dict[tuple[str, str], float] = {}

    def run(self, workspace: Workspace) -> None:
        """Look at every table that feeds another one, once."""
        history = workspace.history
        for path, deployment in history.entries(MAIN, "deployments/"):
            for table, target in (deployment.get(FILLS) or {}).items():
                state = history.digest(MAIN, PREFIX + table)
                key = (path, table)
                if state is None or not deployment["traffic"] or self._seen.get(key) == state:
                    continue
                if time.monotonic() < self._failed.get(key, 0.0):
                    continue
                self._fill(key, state, partial(self._scored, workspace, table, path, target))

    def _scored(self, workspace: Workspace, table: str, path: str, target: str) -> None:
        place = Place(self._folder, str(workspace.folder), MAIN)
        score_new(place, table, path, into=target)

    def _fill(self, key: tuple[str, str], state: str, work: Callable[[], None]) -> None:
        try:
            work()
            self._seen[key] = state
        except Busy:
            return
        except BasculeError as error:
            self._failed[key] = time.monotonic() + AGAIN_S
            print(f"bascule up: {key[0]} does not fill from {key[1]}: {error}", file=sys.stderr, flush=True)
