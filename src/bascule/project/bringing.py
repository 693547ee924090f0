"""Bringing files into a table as the project says it, recorded as a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bascule.lake.ingestion import Mode
from bascule.lake.origins import Options, is_address
from bascule.project.batches import Batch, Tell, bring_in
from bascule.project.place import PROJECT_FILE, Place
from bascule.project.promises import contract_of
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
    query: str = "",
    cursor: str = "",
    tolerate: float | None = None,
    options: Mapping[str, str] | None = None,
    message: str | None = None,
    tell: Tell = lambda text: None,
) -> Batch:
    """Take rows into a table of the current branch, after its contract has seen them.

    A contract of the project that the branch does not have yet comes with them.

    Args:
        source: a file, a folder or a pattern; or an address such as `postgresql://…` or `https://…`.
        key: the key of a table that is made now; the project's when empty.
        mode: the project's when None, `append` for a table that is not in it.
        query, cursor, options: what an address is told; the project's when empty.
        tolerate: the share of a file's records that may go to the table `quarantine`; the project's when None.
        dates: `day-first` or `month-first`; the project's when None, else as the values show.

    Raises:
        InputError: the files cannot be read.
        CheckFailed: the contract refuses them; the branch is unchanged.
    """
    settings = place.file.source.get(table) if (place.folder / PROJECT_FILE).is_file() else None
    promised = contract_of(place.file, table) if (place.folder / PROJECT_FILE).is_file() else None
    asked = Options(query, cursor, options or {})
    if settings:
        asked = Options(query or settings.query, cursor or settings.cursor, {**settings.options, **asked.more})
    commit = place.workspace.history.resolve(place.branch)
    with recorded(place.workspace, name=f"ingest {table}", kind="ingest", branch=place.branch, commit=commit.id) as run:
        batch = bring_in(
            place.workspace,
            table,
            source,
            place.branch,
            key=key or (settings.key if settings else ()),
            mode=mode or (settings.mode if settings else "append"),
            dates=dates or (settings.dates if settings else None),
            tolerate=tolerate if tolerate is not None else (settings.tolerate if settings else 0.0),
            options=asked,
            folder=place.folder if is_address(str(source)) else None,
            message=message,
            run=run.id,
            required=required_of(place),
            promised=promised,
            tell=tell,
        )
        for file in batch.report.files:
            if file.status == "ingested":
                run.reads(file.origin or file.path.name, file.digest, rows=file.rows)
        return batch
