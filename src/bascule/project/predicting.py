"""One answer without a server: by the same model, the same features and into the same log as over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from bascule.catalog import actor
from bascule.errors import InputError, NotFound
from bascule.lake.iceberg.types import quoted
from bascule.lake.masking import HIDDEN, hidden_names
from bascule.project.definitions import plain, tables_read
from bascule.project.place import Place
from bascule.project.shipping import serving_branch
from bascule.project.tables import opened_for
from bascule.serving import DataPlane
from bascule.serving.deployment import ServedDeployment
from bascule.serving.ids import IdSource
from bascule.serving.log import PredictionLog
from bascule.serving.log.predictions import shown
from bascule.serving.rows import rows_of_records
from bascule.serving.scoring import Query, record, score

TEXTS = ("varchar", "timestamp", "date", "time", "uuid", "enum")


@dataclass(frozen=True)
class Predicted:
    """An answer, as it was logged.

    Attributes:
        branch: where the deployment that answered is.
        arm: `stable`, or `canary` while a version is rolled out.
        inputs: what was asked about; without values of an example that the current role reads masked.
        output: `label` and `probability` of a classification (by class when there are more than two), or `value`.
    """

    prediction_id: str
    deployment: str
    branch: str
    version: int
    arm: str
    inputs: dict[str, Any]
    output: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The answer as one JSON object."""
        return asdict(self)


def predict(place: Place, name: str, values: Mapping[str, Any], *, example: bool = False) -> Predicted:
    """Ask a deployment about one row. The answer is in the prediction log when this returns.

    Args:
        name: the deployment; on `main`, unless the current branch deployed it itself or a branch was named.
        values: column to value; texts are read as the column's type.
        example: take what is not given from the newest example of the project's population.

    Raises:
        NotFound: no such deployment is in service, or it has no such column.
        InputError: a column is missing, or a value has the wrong type.
    """
    branch = serving_branch(place, name)
    plane = DataPlane(place.workspace, branch)
    state = plane.open(branch)
    if name not in state.deployments:
        planned = [path.partition("/")[2] for path in place.workspace.history.digests(branch, "deployments/")]
        hint = f"Bring it there: bascule deploy {name}" if name in planned else ""
        raise NotFound("deployment in service", name, planned, where=branch, hint=hint)
    deployment = state.deployments[name]
    given = _typed(deployment, values)
    row = {**(_example(place, branch, deployment) if example else {}), **given}
    answer = score(deployment, Query(rows_of_records([row]), caller=actor()))
    log = PredictionLog(place.workspace.log_folder)
    try:
        record(answer, IdSource(), log)
    finally:
        log.journal.close()
    assert answer.outputs is not None  # `record` raises when the model failed
    model = answer.model
    output = shown(model.task, model.classes, answer.outputs[0])
    if model.task == "multiclass":
        output["probability"] = dict(zip(model.classes, output["probability"], strict=True))
    hidden = hidden_names(place.workspace)  # a role may ask about its own values, and is not told others'
    inputs = {k: HIDDEN if k.casefold() in hidden and k not in given else value for k, value in row.items()}
    return Predicted(answer.ids[0], name, branch, model.version, answer.arm.kind, inputs, output)


def _typed(deployment: ServedDeployment, values: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {column.name: column.type.lower() for column in deployment.first.columns}
    fields = {field.name: field.type for field in deployment.first.signature.inputs}
    for name in values:
        # The keys of features that are not here yet are not known either: the model tells what is missing.
        if name not in kinds and name not in fields and not deployment.first.unjoined:
            raise NotFound(f"input of {deployment.name}", name, kinds)
    return {name: _read(name, value, kinds.get(name) or fields.get(name) or TEXTS[0]) for name, value in values.items()}


def _read(name: str, value: Any, kind: str) -> Any:
    """Return a text as a value of a column's type; anything else as it is. Bytes stay base64 here."""
    if not isinstance(value, str) or kind.startswith((*TEXTS, "blob")):
        return value
    if value.strip().lower() in ("", "null"):
        return None
    if kind == "boolean" and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    for number in (int, float):
        try:
            return number(value)
        except ValueError:
            continue
    raise InputError(f"{name} is {value!r}; it must be a {'boolean' if kind == 'boolean' else 'number'}.")


def _example(place: Place, branch: str, deployment: ServedDeployment) -> dict[str, Any]:
    """Return what the model asks for, from the newest row of the population."""
    training = place.file.training
    if training is None:
        raise InputError("The project has no [training], and so no examples.", hint="Name the inputs instead.")
    with opened_for(place.file, place.workspace, branch, tables_read(place.file)) as connection:
        population = f"({plain(place.file.sql('training', 'population'))})"
        known = connection.sql(f"select * from {population} limit 0").columns
        wanted = [column for column in deployment.first.columns if column.name in known]
        if not wanted:
            asked = ", ".join(column.name for column in deployment.first.columns)
            raise InputError(
                f"The examples of the project have none of the columns that {deployment.name} is asked by: {asked}.",
                hint="Its first step makes the model's inputs of others. Give them as COLUMN=VALUE.",
            )
        newest = f"order by {quoted(training.prediction_time)} desc nulls last" if training.prediction_time else ""
        listed = ", ".join(quoted(column.name) for column in wanted)
        # By Arrow: DuckDB itself wants pytz for a time with a zone.
        rows = connection.sql(f"select {listed} from {population} {newest} limit 1").to_arrow_table().to_pylist()
    if not rows:
        raise InputError("The project's population has no rows.", hint="Bring data in first: bascule run")
    return {name: _plain(value) for name, value in rows[0].items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value
