"""Ground truth over HTTP: what became true about predictions, as it arrives. All rows of a request, or none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from bascule.catalog import now
from bascule.errors import InputError, suggestion
from bascule.protocols.openinference.messages import read_message
from bascule.serving.deployment import ServedDeployment
from bascule.serving.ids import is_prediction_id
from bascule.serving.joining import time_of
from bascule.serving.log.truths import Truth

MOST_ROWS = 100_000
SHOWN = 5
HINT = 'Send {"prediction_id": "pred_…", "label": 1, "label_time": "2026-03-01T12:00:00Z"}, or {"rows": [those, …]}; '
HINT += 'or "entity": {"COLUMN": VALUE} in place of the prediction_id.'
Find = Callable[[str], ServedDeployment]


class TruthRow(msgspec.Struct, forbid_unknown_fields=True):
    """The truth about one prediction, or about all that were made of an entity since its truth before.

    Attributes:
        prediction_id: of the prediction; or
        entity: the columns of the requests that name it, such as its key, with their values.
        label: 0, 1, true or false for a binary model; a class' name, or its place; or the value. Where the names are
            numbers (3, 4, 5) a number is a name.
        label_time: when it became true, ISO 8601 or microseconds since 1970; now when it is not said.
    """

    label: bool | int | float | str | None
    prediction_id: str | None = None
    entity: dict[str, str | int | float | bool] | None = None
    label_time: str | int | None = None
    deployment: str | None = None


class TruthRows(msgspec.Struct, forbid_unknown_fields=True):
    """Many at once."""

    rows: list[TruthRow]


def read_truths(
    body: bytes, find: Find, deployment: str | None, only: str | None, numbered: str | None = None
) -> list[Truth]:
    """Return what a request says became true.

    Args:
        find: gives a deployment by name, or raises `NotFound`.
        deployment: the one in the URL, for rows that name none.
        only: the branch's only deployment; taken when nothing names one.
        numbered: one of several whose classes are numbers of their own: what a label says hangs on which is meant.

    Raises:
        InputError: a row is not right; the text names the first of them, and nothing is kept.
    """
    received = now()
    rows = _rows(body)
    if len(rows) > MOST_ROWS:
        raise InputError(
            f"The request has {len(rows):,} rows; at most {MOST_ROWS:,} are taken at once.", hint="Send them in parts."
        )
    for place, row in enumerate(rows):
        if (row.prediction_id is None) == (row.entity is None):
            raise InputError(
                f"Row {place} names {'both' if row.entity else 'neither'}: a prediction_id or an entity.", hint=HINT
            )
    named = [row.prediction_id for row in rows if row.prediction_id is not None]
    wrong = [one[:60] for one in named if not is_prediction_id(one)]
    if wrong:
        shown = ", ".join(repr(one) for one in wrong[:SHOWN])
        raise InputError(f"{len(wrong)} rows name no prediction of this system: {shown}.", hint=HINT)
    named_by = [row.deployment or deployment or only for row in rows]
    if numbered is not None and None in named_by:
        raise InputError(
            f"Row {named_by.index(None)} names no deployment, and a number may be a class of {numbered!r} or a place.",
            hint='Name the deployment: /v2/models/NAME/ground-truth, or "deployment" in each row.',
        )
    return [_truth(place, row, find, of, received) for place, (row, of) in enumerate(zip(rows, named_by, strict=True))]


def numbered(deployments: Iterable[ServedDeployment]) -> str | None:
    """Return the name of a deployment whose classes are numbers other than their places; None when there is none."""
    return next((one.name for one in deployments if any(_numbers(m.classes) for m in one.models.values())), None)


def _rows(body: bytes) -> list[TruthRow]:
    try:
        found = read_message(body, Any)
        if isinstance(found, list):
            return msgspec.convert(found, list[TruthRow])
        if isinstance(found, dict) and "rows" in found:
            return msgspec.convert(found, TruthRows).rows
        return [msgspec.convert(found, TruthRow)]
    except msgspec.ValidationError as error:
        raise InputError(f"The body does not fit: {error}.", hint=HINT) from None


def _truth(place: int, row: TruthRow, find: Find, name: str | None, received: int) -> Truth:
    deployment = find(name) if name is not None else None
    moment = received if row.label_time is None else time_of("label_time", row.label_time)
    label = _label(place, row.label, deployment)
    if row.prediction_id is not None:
        return Truth(row.prediction_id, name, label, moment, received)
    if deployment is None:
        raise InputError(f"Row {place} names an entity, and no deployment that was asked about it.", hint=HINT)
    return Truth("", name, label, moment, received, _entity(place, row.entity or {}, deployment))


def _entity(place: int, entity: dict[str, Any], deployment: ServedDeployment) -> dict[str, str]:
    """Return an entity's columns as the log has them."""
    if not entity:
        raise InputError(f"Row {place} has an empty entity.", hint=HINT)
    first = deployment.first
    known = first.kinds.keys()
    found = {}
    for name, value in entity.items():
        if name not in known:
            hint = suggestion(name, sorted(known), "column")
            raise InputError(
                f"Row {place} names {name[:60]!r}, which requests of {deployment.name!r} do not bring.", hint=hint
            )
        kept = (
            value if deployment.redaction is None else deployment.redaction.kept(name, value, first.kinds.get(name, ""))
        )
        if kept is None:
            raise InputError(
                f"Row {place} names {name!r}, which the log of {deployment.name!r} drops.",
                hint="Name the prediction_id.",
            )
        found[name] = msgspec.json.encode(kept).decode() if not isinstance(kept, str) else kept
    return found


def _label(place: int, value: Any, deployment: ServedDeployment | None) -> float:
    classes = _classes(deployment)
    if isinstance(value, str):
        if value not in classes:
            hint = suggestion(value, classes, "class") if classes else "Name the deployment, or send a number."
            raise InputError(f"Row {place} has the label {value[:60]!r}, which is no class.", hint=hint)
        return float(classes.index(value))
    number = _number(value)
    if not math.isfinite(number):
        raise InputError(f"Row {place} has the label {value!r}; it must be a number or a class.", hint=HINT)
    places = {} if isinstance(value, bool) else _numbers(classes)
    if places:
        if number not in places:
            shown = ", ".join(classes[:10])
            raise InputError(f"Row {place} has the label {value!r}, which is no class.", hint=f"Known: {shown}.")
        return float(places[number])
    if classes and number not in range(len(classes)):
        raise InputError(
            f"Row {place} has the label {value!r}; the classes are 0 to {len(classes) - 1}: {', '.join(classes[:10])}."
        )
    return number


def _classes(deployment: ServedDeployment | None) -> Sequence[str]:
    output = deployment.first.signature.output if deployment is not None and deployment.models else None
    return output.classes if output is not None and output.task != "regression" else ()


def _numbers(classes: Sequence[str]) -> dict[float, int]:
    """Return the place of each class by its number; nothing where a name is no number, or all are their own places."""
    try:
        places = {float(name): place for place, name in enumerate(classes)}
    except ValueError:
        return {}
    return {} if all(number == place for number, place in places.items()) else places


def _number(value: bool | int | float | None) -> float:
    try:
        return math.nan if value is None else float(value)
    except OverflowError:
        return math.inf
