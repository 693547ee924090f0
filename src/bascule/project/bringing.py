"""Bringing files into a table as the project says it, recorded as a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bascule.lake.ingestion import Mode
from bascule.project.batches import Batch, Tell, bring_in
from bascule.project.place import PROJECT_FILE, Place
from bascule.project.required import required_of
from bascule.tracking import recorded


def ingest(
    place: Place,
    table: str,
    source: str | Path,
    *,
    key: Sequence[str] = (),
    mode: Mode | None = None,
    dates: str | None = None,
    message: str | None = None,
    tell: Tell = lambda text: None,
) -> Batch:
    """Take files into a table of the current branch, after its contract has seen them.

    Args:
        source: a file, a folder or a pattern.
        key: the key of a table that is made now; the project's when empty.
        mode: the project's when None, `append` for a table that is not in it.
        dates: `day-first` or `month-first`; the project's when None, else as the values show.

    Raises:
        InputError: the files cannot be read.
        CheckFailed: the contract refuses them; the branch is unchanged.
    """
    settings = place.file.source.get(table) if (place.folder / PROJECT_FILE).is_file() else None
    commit = place.workspace.history.resolve(place.branch)
    with recorded(place.workspace, name=f"ingest {table}", kind="ingest", branch=place.branch, commit=commit.id) as run:
        return bring_in(
            place.workspace,
            table,
            source,
            place.branch,
            key=key or (settings.key if settings else ()),
            mode=mode or (settings.mode if settings else "append"),
            dates=dates or (settings.dates if settings else None),
            message=message,
            run=run.id,
            required=required_of(place),
            tell=tell,
        )
