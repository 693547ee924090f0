"""Requests for people with curl: rows as JSON objects, or columns and rows; and the answers in the same spirit."""

from __future__ import annotations

from typing import Any

import msgspec

from bascule.errors import InputError
from bascule.protocols.openinference.messages import read_message
from bascule.serving.http import Response, json_response
from bascule.serving.log.predictions import shown
from bascule.serving.rows import Rows, rows_of_records, rows_of_split
from bascule.serving.scoring import Answer

HINT = 'Send {"instances": [{"COLUMN": VALUE, …}, …]} or {"columns": ["COLUMN", …], "data": [[VALUE, …], …]}.'


class Split(msgspec.Struct):
    """Rows as column names and values."""

    columns: list[str]
    data: list[list[Any]]
    index: Any = None  # pandas writes it; it means nothing here


class PredictRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request to predict. One of the forms holds the rows."""

    instances: list[dict[str, Any]] | None = None
    records: list[dict[str, Any]] | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    split: Split | None = None
    dataframe_split: Split | None = None
    columns: list[str] | None = None
    data: list[list[Any]] | None = None
    id: str | None = None
    unit: str | None = None


def read_predict(body: bytes) -> tuple[PredictRequest, Rows]:
    """Return a request and its rows.

    Raises:
        InputError: it holds no rows, or rows in more than one form, or a value that no column can hold.
    """
    try:
        request = read_message(body, PredictRequest)
    except InputError as error:
        raise InputError(error.message, hint=HINT) from None
    if (request.columns is None) != (request.data is None):
        raise InputError("Rows by columns need both: columns and data.", hint=HINT)
    split = Split(request.columns, request.data) if request.columns is not None and request.data is not None else None
    forms: list[Rows] = []
    for records in (request.instances, request.records, request.dataframe_records):
        if records is not None:
            forms.append(rows_of_records(records))
    for table in (request.split, request.dataframe_split, split):
        if table is not None:
            forms.append(rows_of_split(table.columns, table.data))
    if len(forms) != 1:
        raise InputError(f"The request holds rows in {len(forms)} forms; it must be one.", hint=HINT)
    if not forms[0].columns:
        raise InputError("The request has no rows.", hint=HINT)
    return request, forms[0]


def predict_response(request: PredictRequest, answer: Answer, name: str) -> Response:
    """Return one object for each row: its prediction id, and what the model says."""
    model = answer.model
    predictions = [
        {"prediction_id": prediction_id, **shown(model.task, model.classes, output)}
        for prediction_id, output in zip(answer.ids, answer.outputs or (), strict=True)
    ]
    message: dict[str, Any] = {"model_name": name, "model_version": str(model.version)}
    if request.id is not None:
        message["id"] = request.id
    return json_response({**message, "predictions": predictions})
