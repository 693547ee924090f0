"""Requests for people with curl, and for those who come from MLflow: rows as JSON, CSV or Arrow; answers likewise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from bascule.errors import InputError
from bascule.protocols.openinference import arrow, separated
from bascule.protocols.openinference.messages import read_message
from bascule.serving.http import Request, Response, json_response
from bascule.serving.log.predictions import shown
from bascule.serving.model import LoadedModel
from bascule.serving.rows import Rows, rows_of_columns, rows_of_records, rows_of_split
from bascule.serving.scoring import Answer

HINT = 'Send {"instances": [{"COLUMN": VALUE, …}, …]} or {"columns": ["COLUMN", …], "data": [[VALUE, …], …]}.'
Row = dict[str, Any] | list[Any] | str | int | float | bool | None  # the last ones of a model of one column
_KINDS: dict[type, str] = {dict: "an object", list: "a list"}
_DEEPEST = 8
_SEPARATED, _ARROW = b"text/csv", b"application/vnd.apache.arrow"


class Asked(NamedTuple):
    """What a request says beside its rows.

    Attributes:
        unit: what stays with one version.
        accept: the media type that the answer should have; "" for JSON.
    """

    id: str | None = None
    unit: str | None = None
    accept: bytes = b""


class Split(msgspec.Struct):
    """Rows as column names and values."""

    columns: list[str]
    data: list[list[Any]]
    index: Any = None  # pandas writes it, here and there; it means nothing here


class PredictRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request to predict. One of the forms holds the rows."""

    instances: list[Row] | None = None
    records: list[dict[str, Any]] | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    split: Split | None = None
    dataframe_split: Split | None = None
    inputs: dict[str, Any] | list[Row] | None = None
    columns: list[str] | None = None
    data: list[list[Any]] | None = None
    index: Any = None
    params: dict[str, Any] | None = None
    id: str | None = None
    unit: str | None = None


def read_predict(request: Request, model: LoadedModel) -> tuple[Asked, Rows]:
    """Return what a request asks and its rows, by its content type: JSON unless it says CSV or Arrow.

    Args:
        model: tells the columns of rows that come without names.

    Raises:
        InputError: it holds no rows, or rows in more than one form, or a value that no column can hold.
    """
    kind = request.headers.get(b"content-type", b"").strip().lower()
    accept = request.headers.get(b"accept", b"").lower()
    if kind.startswith(_SEPARATED):
        asked, rows = Asked(accept=accept), separated.read_rows(request.body, model)
    elif kind.startswith(_ARROW):
        asked = Asked(accept=accept if b"json" in accept or b"csv" in accept else _ARROW)
        rows = arrow.read_rows(request.body, model)
    else:
        message, rows = _read_json(request.body, model)
        asked = Asked(message.id, message.unit, accept)
    if rows.columns is not None and not rows.columns:
        raise InputError("The request has no rows.", hint=HINT)
    return asked, rows


def predict_response(asked: Asked, answer: Answer, name: str) -> Response:
    """Return one object for each row: its prediction id, and what the model says."""
    model, outputs = answer.model, answer.outputs or []
    if _ARROW in asked.accept:
        return arrow.response(answer)
    if _SEPARATED in asked.accept:
        return separated.response(answer)
    predictions = [
        {"prediction_id": prediction_id, **shown(model.task, model.classes, output)}
        for prediction_id, output in zip(answer.ids, outputs, strict=True)
    ]
    if answer.explained:
        for one, told in zip(predictions, answer.explanations or (), strict=False):
            one["explanation"] = told
    message: dict[str, Any] = {"model_name": name, "model_version": str(model.version)}
    if asked.id is not None:
        message["id"] = asked.id
    return json_response({**message, "predictions": predictions})


def _read_json(body: bytes, model: LoadedModel) -> tuple[PredictRequest, Rows]:
    try:
        if body.lstrip()[:1] == b"[":  # records alone, as MLflow's first version took them
            request = PredictRequest(instances=read_message(body, list[Row]))
        else:
            request = read_message(body, PredictRequest)
    except InputError as error:
        raise InputError(error.message, hint=HINT) from None
    if request.params:
        name = next(iter(request.params))
        if name != "unit" or len(request.params) > 1:
            raise InputError(f"The model takes no parameter {name!r}.", hint="Leave params out.")
        request.unit = str(request.params["unit"])
    forms = _forms(request, model)
    if len(forms) != 1:
        raise InputError(f"The request holds rows in {len(forms)} forms; it must be one.", hint=HINT)
    return request, forms[0]()


def _forms(request: PredictRequest, model: LoadedModel) -> list[Callable[[], Rows]]:
    """Return what reads the rows, once for each form that holds some."""
    if (request.columns is None) != (request.data is None):
        raise InputError("Rows by columns need both: columns and data.", hint=HINT)
    split = Split(request.columns, request.data) if request.columns is not None and request.data is not None else None
    found: list[Callable[[], Rows]] = []
    for rows in (request.instances, request.records, request.dataframe_records):
        if rows is not None:
            found.append(partial(_rows, rows, model))
    for table in (request.split, request.dataframe_split, split):
        if table is not None:
            found.append(partial(rows_of_split, table.columns, table.data))
    inputs = request.inputs
    if isinstance(inputs, dict):
        found.append(lambda: rows_of_columns(inputs))
    elif inputs is not None:
        found.append(lambda: _rows(inputs, model))
    return found


def _rows(rows: Sequence[Any], model: LoadedModel) -> Rows:
    """Return rows that came as objects, or as values in the order of the model's columns.

    Values are a list a row, or nested lists that have as many values as the model has columns (an image, say); of a
    model of one column they may stand by themselves.
    """
    kinds = set(map(type, rows))
    if kinds <= {dict}:
        return rows_of_records(rows)
    if dict in kinds or (list in kinds and len(kinds) > 1):
        place = next(at for at, row in enumerate(rows) if type(row) is not type(rows[0]))
        raise InputError(
            f"Row {place} is {_KINDS.get(type(rows[place]), 'a value')}, and row 0 is "
            f"{_KINDS.get(type(rows[0]), 'a value')}; rows are all objects, or all lists of values.",
            hint=HINT,
        )
    if list not in kinds:
        rows = [[value] for value in rows]
    elif any(type(value) is list for value in rows[0]):
        rows = [_leaves(row) for row in rows]
    width = len(rows[0])
    for names in (list(model.encoder.names), [column.name for column in model.columns]):
        if len(names) == width:
            return rows_of_split(names, rows)
    raise InputError(
        f"Row 0 has {width} value{'s' * (width != 1)}; the model takes {len(model.columns)} columns.",
        hint="Send them by name, or in the order that GET /v2/models/NAME lists them in.",
    )


def _leaves(row: list[Any], depth: int = 0) -> list[Any]:
    """Return the values of nested lists, in their order; `_DEEPEST` levels of them."""
    if depth == _DEEPEST or not any(type(value) is list for value in row):
        return row
    return [leaf for value in row for leaf in (_leaves(value, depth + 1) if type(value) is list else (value,))]
