"""MLflow's SQLite database as a source: opened for reading alone, of whatever release wrote it."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bascule.errors import InputError
from bascule.protocols.mlflow.importing.local import files_below, folder_of
from bascule.protocols.mlflow.importing.records import (
    Experiment,
    File,
    Measured,
    Model,
    Registered,
    Run,
    Traced,
    Version,
)
from bascule.protocols.mlflow.importing.traces import PLACE, assessment_of, info_of, spans_at, spans_of
from bascule.tracking.inputs import CONTEXT, Dataset
from bascule.tracking.points import Context, Point

LARGEST = 1.7976931348623157e308
STATUSES = {1: "PENDING", 2: "READY", 3: "UPLOAD_FAILED"}
BESIDE = {
    "webhooks": "webhooks",
    "evaluation datasets": "evaluation_datasets",
    "scorers": "scorers",
}
Row = sqlite3.Row


class DatabaseSource:
    """A SQLite database of MLflow's.

    Args:
        path: the file.
        roots: folders that artifacts may be read from, besides the file's own.

    Raises:
        InputError: there is no such file, or it is no database of MLflow's.
    """

    def __init__(self, path: Path, roots: Sequence[Path] = ()) -> None:
        if not path.is_file():
            raise InputError(f"There is no file {str(path)!r}.", hint="Name the database, such as sqlite:///mlflow.db.")
        self.name = f"sqlite:///{path}"
        self._roots = [path.resolve().parent, *roots]
        try:
            self._db = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)
            self._db.row_factory = sqlite3.Row
            names = self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        except sqlite3.Error as error:
            raise InputError(f"{str(path)!r} cannot be read: {error}.", hint="Name MLflow's SQLite database.") from None
        self._columns = {
            one[0]: {row[1] for row in self._db.execute(f'PRAGMA table_info("{one[0]}")')} for one in names
        }
        if not {"experiments", "runs", "metrics"} <= self._columns.keys():
            self._db.close()
            raise InputError(f"{str(path)!r} is no database of MLflow's.", hint="Name the one that it tracks to.")

    def _rows(self, table: str, where: str = "1", *values: Any, order: str = "rowid") -> Iterator[Row]:
        if table not in self._columns:
            return iter(())
        if "workspace" in self._columns[table]:
            where = f"({where}) AND workspace = 'default'"
        try:
            return iter(self._db.execute(f'SELECT * FROM "{table}" WHERE {where} ORDER BY {order}', values).fetchall())
        except sqlite3.DatabaseError as error:
            raise InputError(f"The table {table!r} cannot be read: {error}.", hint="Check the database.") from None

    def experiments(self) -> list[Experiment]:
        """All experiments, deleted ones too."""
        return [
            Experiment(
                id=int(row["experiment_id"]),
                name=str(row["name"]),
                lifecycle=row["lifecycle_stage"] or "active",
                created_at=_us(_of(row, "creation_time")),
                updated_at=_us(_of(row, "last_update_time")),
                tags=self._pairs("experiment_tags", "experiment_id = ?", row["experiment_id"]),
            )
            for row in self._rows("experiments", order="experiment_id")
        ]

    def runs(self, experiment: Experiment) -> Iterator[Run]:
        """The runs of an experiment."""
        for row in self._rows("runs", "experiment_id = ?", experiment.id, order="start_time, run_uuid"):
            run = row["run_uuid"]
            tags = self._pairs("tags", "run_uuid = ?", run)
            yield Run(
                id=str(run),
                experiment=experiment.id,
                name=_of(row, "name") or tags.get("mlflow.runName", ""),
                user=row["user_id"] or "",
                status=row["status"] or "RUNNING",
                lifecycle=row["lifecycle_stage"] or "active",
                started_at=_us(row["start_time"]),
                finished_at=_us(row["end_time"]) if row["end_time"] is not None else None,
                artifacts=row["artifact_uri"] or "",
                params=self._pairs("params", "run_uuid = ?", run),
                tags=tags,
                datasets=tuple(self._datasets(run)),
                reads=tuple(self._linked(run, "RUN_INPUT")),
                makes=tuple((model, step) for model, step in self._made(run)),
            )

    def _datasets(self, run: str) -> Iterator[Dataset]:
        where = "source_type = 'DATASET' AND destination_type = 'RUN' AND destination_id = ?"
        for link in self._rows("inputs", where, run):
            tags = self._pairs("input_tags", "input_uuid = ?", link["input_uuid"], key="name")
            for row in self._rows("datasets", "dataset_uuid = ?", link["source_id"]):
                yield Dataset(
                    name=row["name"],
                    digest=row["digest"],
                    source_type=row["dataset_source_type"],
                    source=row["dataset_source"],
                    schema=row["dataset_schema"],
                    profile=row["dataset_profile"],
                    tags={key: value for key, value in tags.items() if key != CONTEXT or value},
                )

    def _linked(self, run: str, kind: str) -> Iterator[str]:
        for row in self._rows("inputs", "source_type = ? AND source_id = ?", kind, run):
            yield str(row["destination_id"])

    def _made(self, run: str) -> Iterator[tuple[str, int]]:
        for row in self._rows("inputs", "source_type = 'RUN_OUTPUT' AND source_id = ?", run):
            yield str(row["destination_id"]), int(_of(row, "step") or 0)

    def points(self, run: Run) -> Iterator[Measured]:
        """All points of a run's metrics."""
        for row in self._rows("metrics", "run_uuid = ?", run.id, order="key, step, timestamp"):
            value = math.nan if _of(row, "is_nan") else _value(row["value"])
            yield Point(row["key"], value, _us(row["timestamp"]), int(row["step"] or 0)), Context()

    def models(self, experiment: Experiment) -> Iterator[Model]:
        """The logged models of an experiment."""
        for row in self._rows("logged_models", "experiment_id = ?", experiment.id):
            model = row["model_id"]
            yield Model(
                id=str(model),
                experiment=experiment.id,
                name=row["name"],
                status=STATUSES.get(row["status"], "READY"),
                kind=row["model_type"] or "",
                run=row["source_run_id"] or "",
                lifecycle=row["lifecycle_stage"] or "active",
                created_at=_us(row["creation_timestamp_ms"]),
                updated_at=_us(row["last_updated_timestamp_ms"]),
                artifacts=row["artifact_location"] or "",
                params=self._pairs("logged_model_params", "model_id = ?", model, key="param_key", value="param_value"),
                tags=self._pairs("logged_model_tags", "model_id = ?", model, key="tag_key", value="tag_value"),
            )

    def model_points(self, model: Model) -> Iterator[Measured]:
        """All points of a logged model's metrics."""
        for row in self._rows("logged_model_metrics", "model_id = ?", model.id):
            context = Context(row["run_id"] or "", row["dataset_name"] or "", row["dataset_digest"] or "")
            # The store keeps NaN as 0 here and says so nowhere: the run's point of that name, time and step does.
            value = self._model_value(model, row)
            yield (
                Point(row["metric_name"], value, _us(row["metric_timestamp_ms"]), int(row["metric_step"] or 0)),
                context,
            )

    def _model_value(self, model: Model, row: Row) -> float:
        if row["metric_value"] == 0 and row["run_id"] and "is_nan" in self._columns["metrics"]:
            where = "run_uuid = ? AND key = ? AND timestamp = ? AND step = ? AND is_nan = 1"
            same = (row["run_id"], row["metric_name"], row["metric_timestamp_ms"], row["metric_step"])
            if any(True for _ in self._rows("metrics", where, *same)):
                return math.nan
        return _value(row["metric_value"])

    def registered(self) -> Iterator[Registered]:
        """The registered models."""
        for row in self._rows("registered_models", order="name"):
            name = row["name"]
            yield Registered(
                name=name,
                description=row["description"] or "",
                created_at=_us(row["creation_time"]),
                updated_at=_us(row["last_updated_time"]),
                tags=self._pairs("registered_model_tags", "name = ?", name),
                aliases={
                    r["alias"]: int(r["version"]) for r in self._rows("registered_model_aliases", "name = ?", name)
                },
                versions=tuple(self._versions(name)),
            )

    def _versions(self, name: str) -> Iterator[Version]:
        gone = "Deleted_Internal"
        for row in self._rows("model_versions", "name = ? AND current_stage != ?", name, gone, order="version"):
            source = row["source"] or ""
            yield Version(
                number=int(row["version"]),
                source=source,
                run=row["run_id"] or "",
                stage=row["current_stage"] or "None",
                user=_of(row, "user_id") or "",
                created_at=_us(row["creation_time"]),
                updated_at=_us(row["last_updated_time"]),
                description=row["description"] or "",
                run_link=_of(row, "run_link") or "",
                model=source.removeprefix("models:/") if source.startswith("models:/m-") else "",
                tags=self._pairs("model_version_tags", "name = ? AND version = ?", name, row["version"]),
            )

    def files(self, owner: Run | Model) -> Iterator[File]:
        """The files of a run or a logged model."""
        if not owner.artifacts:
            return
        try:
            folder = folder_of(owner.artifacts, self._roots, self._former())
        except FileNotFoundError:
            return  # a run without files has no folder
        yield from files_below(folder)

    def _former(self) -> list[str]:
        """What addresses of artifacts begin with, so that a database that was moved finds the folder beside it."""
        row = next(self._rows("experiments", "experiment_id = 0"), None)
        place = str(row["artifact_location"] or "") if row is not None else ""
        place = place.removeprefix("file://")
        return [place.rsplit("/", 2)[0]] if place.count("/") > 1 else []

    def traces(self, experiment: Experiment) -> Iterator[Traced]:
        """The traces of an experiment, with their spans: from the database, else from a file among the artifacts."""
        for row in self._rows("trace_info", "experiment_id = ?", experiment.id, order="timestamp_ms, request_id"):
            trace = str(row["request_id"])
            tags = self._pairs("trace_tags", "request_id = ?", trace)
            metadata = self._pairs("trace_request_metadata", "request_id = ?", trace)
            said = [assessment_of(dict(one)) for one in self._rows("assessments", "trace_id = ?", trace)]
            yield info_of(dict(row), tags, metadata, said), partial(self._spans, trace, tags.get(PLACE, ""))

    def _spans(self, trace: str, place: str) -> list[dict[str, Any]]:
        held = [span for row in self._rows("spans", "trace_id = ?", trace) for span in spans_of(row["content"], trace)]
        if held or not place:
            return held
        return spans_at(lambda: folder_of(place, self._roots, self._former()))

    def beside(self) -> dict[str, int]:
        """What an import does not take."""
        found = {}
        for what, table in BESIDE.items():
            if table in self._columns:
                found[what] = self._db.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
        if "workspace" in self._columns["experiments"]:
            query = "SELECT count(DISTINCT workspace) FROM experiments WHERE workspace != 'default'"
            found["workspaces other than default"] = self._db.execute(query).fetchone()[0]
        return {what: count for what, count in found.items() if count}

    def unread(self) -> list[tuple[str, str]]:
        """Nothing: a row or an answer is whole."""
        return []

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _pairs(self, table: str, where: str, *values: Any, key: str = "key", value: str = "value") -> dict[str, str]:
        return {row[key]: row[value] or "" for row in self._rows(table, where, *values, order=key)}


def _of(row: Row, name: str) -> Any:
    return row[name] if name in tuple(row.keys()) else None


def _us(at: Any) -> int:
    return int(at or 0) * 1000


def _value(value: Any) -> float:
    found = float(value if value is not None else math.nan)
    return math.copysign(math.inf, found) if abs(found) == LARGEST else found
