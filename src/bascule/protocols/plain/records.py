"""Records, training sets and what runs left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from bascule.history import Commit, Workspace
from bascule.lake.iceberg.types import quoted
from bascule.project.gathering import GivenSet
from bascule.project.querying import session
from bascule.protocols.plain.copying import copy_artifact
from bascule.protocols.plain.item import Item, item_of
from bascule.protocols.plain.tables import write_query
from bascule.tracking.artifacts import Artifacts
from bascule.training.joined import joined_sets

Tell = Callable[[str, int, int | None], None]


def write_records(workspace: Workspace, commit: Commit, made: Path, tell: Tell) -> list[Item]:
    """Write each record that has rows as one Parquet file: runs, metrics, predictions, the audit log and all others."""
    items = []
    with session(workspace, commit.id) as opened:
        names = opened.records()
        for number, name in enumerate(names):
            tell(f"Writing records/{name}", number, len(names))
            file = made / "records" / f"{name}.parquet"
            rows = write_query(opened, f"SELECT * FROM records.{quoted(name)}", file)
            if rows:
                items.append(item_of(f"records/{name}", made, file, rows))
            else:
                file.unlink()
    return items


def write_training_sets(workspace: Workspace, made: Path, tell: Tell) -> list[Item]:
    """Write each training set that was asked for by name as one Parquet file."""
    items: list[Item] = []
    for joined in joined_sets(workspace):
        given = GivenSet(workspace, joined)
        tell(f"Writing training-sets/{given.name}", len(items), None)
        file = made / "training-sets" / f"{given.name}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        batches = given.batches()
        first = next(batches, None)
        if first is None:
            continue
        with pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
            writer.write_batch(first)
            for batch in batches:
                writer.write_batch(batch)
        items.append(item_of(f"training-sets/{given.name}", made, file, len(given)))
    return items


def write_artifacts(workspace: Workspace, made: Path, tell: Tell) -> list[Item]:
    """Copy the artifacts of runs and logged models as they are; pickles stay what they were, unread."""
    tell("Copying artifacts", 0, None)
    folder = made / "artifacts"
    if not copy_artifact(Artifacts(workspace), "", folder):
        return []
    return [item_of("artifacts", made, folder)]
