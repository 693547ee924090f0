"""What was found of frameworks and tables in a run, as plain data, and writing it into the catalog.

Everything has an id that follows from the run's and the entry's: writing it again changes nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec
from blake3 import blake3
from sqlalchemy import Connection, insert, select

from bascule.catalog import upsert
from bascule.catalog.schema import logged_models, model_uses, runs
from bascule.tracking.inputs import Dataset, add_datasets
from bascule.tracking.keeping import add_params, set_tags
from bascule.tracking.points import Point, add_points
from bascule.tracking.status import CANDIDATE
from bascule.tracking.subjects import new_subject, number_of, touch

PARENT_TAG = "mlflow.parentRunId"
# What a run below another one has of it.
SHARED = ("branch", "commit_id", "code_commit", "code_dirty", "code_snapshot", "user_name", "experiment_id")


class FoundModel(msgspec.Struct, frozen=True):
    """A model that was fitted.

    Attributes:
        id: `m-` and 32 hex characters.
        folder: its files, below the run's artifacts.
        values: numbers that it came to.
        is_kept: whether its file could be kept.
    """

    id: str
    name: str
    framework: str
    folder: str
    at: int
    is_kept: bool
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    values: dict[str, float] = {}


class FoundRun(msgspec.Struct, frozen=True):
    """A candidate of a search, which is a run below that of the search."""

    id: str
    name: str
    at: int
    params: dict[str, str] = {}
    values: dict[str, float] = {}


class FoundTable(msgspec.Struct, frozen=True):
    """A table that was read or written, as `inputs.Dataset` has it; `context` is `read` or `written`."""

    name: str
    digest: str
    source_type: str
    source: str
    context: str
    schema: str | None = None
    profile: str | None = None


class Findings(msgspec.Struct):
    """All that was found in a run."""

    tables: list[FoundTable] = []
    models: list[FoundModel] = []
    children: list[FoundRun] = []

    def names(self) -> set[str]:
        """Return the names of parameters, metrics and tags that need numbers before this is written."""
        found = {PARENT_TAG} if self.children else set()
        for model in self.models:
            found |= {*model.params, *model.tags, *model.values}
        for child in self.children:
            found |= {*child.params, *child.values}
        return found


def derived(prefix: str, length: int, *parts: object) -> str:
    """Return an id that follows from what it is of."""
    return prefix + blake3("\0".join(map(str, parts)).encode()).hexdigest()[:length]


def write_findings(conn: Connection, run: str, found: Findings, numbers: dict[str, int]) -> None:
    """Write what was found in a run, inside a transaction.

    Args:
        numbers: of `found.names()`.
    """
    row = conn.execute(select(runs).where(runs.c.id == run)).one()
    tables = [
        Dataset(one.name, one.digest, one.source_type, one.source, one.schema, one.profile, _told(one))
        for one in found.tables
    ]
    add_datasets(conn, row.number, row.experiment_id, tables)
    for model in found.models:
        _model(conn, row, model, numbers)
    for child in found.children:
        _child(conn, row, child, numbers)
    touch(conn, row.number)


def _told(one: FoundTable) -> dict[str, str]:
    return {"mlflow.data.context": one.context}


def _model(conn: Connection, run: Any, model: FoundModel, numbers: dict[str, int]) -> None:
    if number_of(conn, model.id) is not None:
        return
    number = new_subject(conn, model.id)
    root = (run.artifact_uri or f"mlflow-artifacts:/{run.experiment_id}/{run.id}/artifacts").rstrip("/")
    row = {
        "id": model.id,
        "number": number,
        "experiment_id": run.experiment_id,
        "name": model.name,
        "status": "READY" if model.is_kept else "UPLOAD_FAILED",
        "model_type": model.framework,
        "source_run_id": run.id,
        "artifact_uri": f"{root}/{model.folder}",
        "created_at": model.at,
        "updated_at": model.at,
        "lifecycle": "active",
    }
    conn.execute(insert(logged_models).values(**row))
    add_params(conn, number, model.params, numbers, strict=False)
    set_tags(conn, number, model.tags, numbers)
    add_points(conn, number, [Point(key, value, model.at) for key, value in model.values.items()], numbers)
    use = {"subject": run.number, "model_id": model.id, "direction": "out", "step": 0}
    conn.execute(upsert(conn, model_uses).values(**use).on_conflict_do_nothing())


def _child(conn: Connection, run: Any, child: FoundRun, numbers: dict[str, int]) -> None:
    if number_of(conn, child.id) is not None:
        return
    number = new_subject(conn, child.id)
    row = {
        "id": child.id,
        "number": number,
        "name": child.name,
        "kind": CANDIDATE,
        "status": "done",
        "parent_id": run.id,
        "started_at": child.at,
        "finished_at": child.at,
        "environment_json": "{}",
        **{key: getattr(run, key) for key in SHARED},
    }
    conn.execute(insert(runs).values(**row))
    add_params(conn, number, child.params, numbers, strict=False)
    set_tags(conn, number, {PARENT_TAG: run.id}, numbers)
    add_points(conn, number, [Point(key, value, child.at) for key, value in child.values.items()], numbers)
