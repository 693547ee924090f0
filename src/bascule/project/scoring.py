"""A whole table scored by one version of a model, into a table that says by what and from what."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from bascule.delivery.adopting import readied
from bascule.errors import BasculeError, InputError
from bascule.history import Workspace
from bascule.lake.maintenance.telling import Tell, quiet
from bascule.lake.masking import refuse_raw
from bascule.project.place import Place
from bascule.project.tabling import BranchTable, TableChange
from bascule.registry import get_version
from bascule.registry.external import FORMAT
from bascule.registry.versions import split_name
from bascule.serving.columns import rows_of_arrow
from bascule.serving.loading import Loader
from bascule.serving.log.predictions import label
from bascule.serving.model import LoadedModel
from bascule.serving.online import open_reader
from bascule.training import encode

BATCH = 50_000
BY, FROM = "scored_by", "scored_from"
PART = " (a part)"  # of a state's rows, chosen by a condition; which itself may hold what is somebody's
DEPLOYMENTS = "deployments/"


@dataclass(frozen=True)
class ScoredTable:
    """What was scored.

    Attributes:
        table: the new table, or the one whose rows were replaced.
        source: what was scored, with its commit: `flights@3f9ab2c1d0e4`.
        model: what scored it: `delays@3`.
        change: what happened to the table.
    """

    table: str
    source: str
    model: str
    change: TableChange

    def as_dict(self) -> dict[str, Any]:
        """The outcome as one JSON object."""
        return {**self.change.as_dict(), "source": self.source, "model": self.model}


def score_table(
    place: Place, table: str, model: str, *, into: str | None = None, where: str = "", tell: Tell = quiet
) -> ScoredTable:
    """Score every row of a table and put them with their predictions into another one. Rows are streamed.

    The new table has all columns of the old one, what the model says of each row, and in two columns of every row what
    scored it and which state of the table. It lands as any change of a table does: after the checks, or not at all.

    Args:
        table: its name, also `NAME@REF`: a branch, tag, commit or time.
        model: `NAME`, `NAME@3`, `NAME@production`, or `deployments/NAME`: the version with most of its traffic.
        into: the table that is made, or whose rows are replaced; `TABLE_scored` when not given.
        where: a SQL condition; rows for which it is true are scored.
        tell: is told how many rows are scored, of how many.

    Raises:
        NotFound: there is no such table, state, model or version.
        InputError: the table lacks columns that the model reads, or has one that a prediction is called by.
        CheckFailed: a contract of the new table fails.
        Masked: the current role reads columns of the table masked, which the new one would have as they are.
    """
    return Scoring(place, table, model, into, part=bool(where)).fill(where, tell)


class Scoring:
    """One state of a table and the version that scores it.

    Attributes:
        name, target: the table, and the one that its scored rows go to.
        source: the table at its state.
        message: of the commit.
        count: how many rows the table has.

    Args:
        part: not all of its rows are scored, which the scored ones then say.

    Raises:
        NotFound, InputError: as `score_table`.
    """

    def __init__(self, place: Place, table: str, model: str, into: str | None, *, part: bool = False) -> None:
        self._place = place
        self.name, _, at = table.removeprefix("tables/").partition("@")
        commit = place.workspace.history.resolve(at or place.branch)
        self.source = BranchTable(place, self.name, commit.id)  # what lands from now on is another state
        self.target = (into or f"{self.name}_scored").removeprefix("tables/")
        if self.target == self.name:
            raise InputError(
                f"Table {self.name!r} would be replaced by its own predictions.", hint="Name another with --into."
            )
        described = self.source.describe()
        columns, self.count = described.columns, described.rows
        read = place.workspace.history.read(commit, f"tables/{self.name}")
        refuse_raw(place.workspace, commit, self.name, read, how="A scored copy")
        self._model = load_at(place.workspace, place.branch, model)
        _check(self.name, columns, self._model)
        self._state = f"{self.name}@{commit.id[:12]}{PART if part else ''}"
        self._by = f"{self._model.name}@{self._model.version}"
        self.message = f"Score {self._state} by {self._by}"

    def rows(self, reader: pa.RecordBatchReader, tell: Tell = quiet, total: int | None = None) -> pa.RecordBatchReader:
        """Return rows of the table with what is said of them, and tell how many of how many are done."""
        schema = pa.schema([*reader.schema.remove_metadata(), *_outputs(self._model), *_lineage()])
        scored = _scored(reader, schema, self._model, self._by, self._state)
        return pa.RecordBatchReader.from_batches(schema, _told(scored, tell, total))

    def fill(self, where: str, tell: Tell) -> ScoredTable:
        """Score the rows for which a condition is true, all for an empty one, in place of those that were scored.

        Raises:
            CheckFailed: a contract of the new table fails.
        """
        change = BranchTable(self._place, self.target).fill(
            lambda: self.rows(self.source.read(where=where), tell, None if where else self.count),
            message=self.message,
        )
        return self.done(change)

    def done(self, change: TableChange) -> ScoredTable:
        """Return what was scored."""
        return ScoredTable(self.target, self._state, self._by, change)


def load_at(workspace: Workspace, ref: str, model: str) -> LoadedModel:
    """Load a model as it is at a state, by its name as people write it.

    Args:
        model: `NAME`, `NAME@3`, `NAME@production`, or `deployments/NAME`: the version with most of its traffic.

    Raises:
        NotFound: there is no such model, version or deployment.
        InputError: the deployment is not in service, or the version cannot be used.
    """
    which: int | str
    if model.startswith(DEPLOYMENTS):
        deployment = workspace.history.get(ref, model)
        traffic = deployment["traffic"]
        if not traffic:
            raise InputError(f"{model!r} is not in service.", hint="Name a version: --model MODEL@VERSION")
        name, which = str(deployment["model"]), int(max(traffic, key=lambda one: one["weight"])["version"])
    else:
        name, which = split_name(model.removeprefix("models/"))
    version = get_version(workspace, ref, name, which)
    artifact = version.artifact
    if version.format == FORMAT:
        artifact = str(readied(workspace, ref, version)["artifact"])
    loader = Loader(workspace, partial(open_reader, workspace))
    return loader.load(name, version.version, artifact, version.runtime or None, version.graph, branch=ref)


def _check(name: str, columns: Any, model: LoadedModel) -> None:
    taken = [field.name for field in (*_outputs(model), *_lineage()) if field.name in columns]
    if taken:
        raise InputError(
            f"Table {name!r} has a column {taken[0]!r} already, which the predictions are called by.",
            hint="Rename it first: bascule table columns --rename",
        )
    if set(model.encoder.names) <= set(columns) and not model.graph.takes:
        return
    wanted = model.encoder.names
    if model.graph.takes:
        wanted = tuple(model.graph.takes)
    elif model.joiner is not None:
        wanted = tuple(one for one in model.joiner.types if one != model.joiner.prediction_time)
    absent = [one for one in wanted if one not in columns]
    if absent:
        shown = ", ".join(map(repr, absent[:5])) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        raise InputError(
            f"Table {name!r} does not have {shown}, which model {model.name!r} reads.",
            hint="Make a table that has them: bascule table create NAME --sql 'select …'",
        )


def _outputs(model: LoadedModel) -> Sequence[pa.Field]:
    if model.task == "regression":
        return [pa.field("predicted_value", pa.float64())]
    shares = pa.float64() if model.task == "binary" else pa.list_(pa.float64())
    return [pa.field("predicted_probability", shares), pa.field("predicted_label", pa.string())]


def _lineage() -> Sequence[pa.Field]:
    return [pa.field(BY, pa.string()), pa.field(FROM, pa.string())]


def _scored(
    reader: pa.RecordBatchReader, schema: pa.Schema, model: LoadedModel, by: str, state: str
) -> Iterator[pa.RecordBatch]:
    now = time.time_ns() // 1_000
    for whole in reader:
        for at in range(0, whole.num_rows, BATCH):
            batch = whole.slice(at, BATCH)
            said = _predictions(model, batch, now)
            constants = [pa.repeat(pa.scalar(text), batch.num_rows) for text in (by, state)]
            arrays = [column.cast(field.type) for column, field in zip(said, _outputs(model), strict=True)]
            yield pa.RecordBatch.from_arrays([*batch.columns, *arrays, *constants], schema=schema)


def _told(batches: Iterator[pa.RecordBatch], tell: Tell, total: int | None) -> Iterator[pa.RecordBatch]:
    done = 0
    tell("Scoring", done, total)
    for batch in batches:
        yield batch
        done += batch.num_rows
        tell("Scoring", done, total)


def _said(model: LoadedModel, matrix: np.ndarray) -> np.ndarray:
    """Return the outputs of rows.

    Raises:
        InputError: the model refuses a row; the text names its column when that can be known.
    """
    try:
        return model.predict(matrix)
    except BasculeError:
        raise
    except Exception as error:  # whatever a model raises on rows that fit its signature
        model.encoder.blame(matrix, error)
        raise InputError(
            f"Version {model.version} of model {model.name!r} failed on rows of the table: {str(error)[:300]}",
            hint="Leave such rows out: --where CONDITION",
        ) from error


def _predictions(model: LoadedModel, batch: pa.RecordBatch, now: int) -> list[pa.Array]:
    """Return what a model says of rows: by its inputs when the table has them, else with the features joined."""
    names = model.encoder.names
    if model.lane is not None:
        known = [name for name in batch.schema.names if name in model.taken()]
        rows = rows_of_arrow(pa.Table.from_batches([batch.select(known)]), known, model)
        outputs = np.array(model.score(rows, now)[0])
    elif set(names) <= set(batch.schema.names):
        outputs = _said(model, encode(model.signature, batch.select(list(names))))
    else:
        assert model.joiner is not None
        known = [name for name in batch.schema.names if name in model.joiner.types]
        rows = rows_of_arrow(pa.Table.from_batches([batch.select(known)]), known, model)
        outputs = np.array(model.score(rows, now)[0])
    if model.task == "regression":
        return [pa.array(outputs)]
    labels = pa.array([label(model.classes, output) for output in outputs.tolist()], pa.string())
    return [pa.array(outputs.tolist()) if outputs.ndim > 1 else pa.array(outputs), labels]
