"""Rows as CSV: a line of names, then a line a row. A value is read as its column's type; nothing is a missing one."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import msgspec

from bascule.errors import InputError
from bascule.serving.http import Response
from bascule.serving.log.predictions import shown
from bascule.serving.model import LoadedModel
from bascule.serving.rows import Rows, rows_of_split
from bascule.serving.scoring import Answer

TYPE = b"text/csv; charset=utf-8"
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
_NUMBERS = frozenset(("double", "float", "real"))
_INTEGERS = frozenset(("bigint", "integer", "smallint", "tinyint", "ubigint", "uinteger", "usmallint", "utinyint"))


def read_rows(body: bytes, model: LoadedModel) -> Rows:
    """Return the rows of a body.

    Raises:
        InputError: it is no CSV, or a value does not fit its column; the text names both.
    """
    try:
        lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except UnicodeDecodeError:
        raise InputError("The body is not UTF-8 text.") from None
    except csv.Error as error:
        raise InputError(f"The body is not CSV: {error}.") from None
    if not lines or not any(lines[0]):
        raise InputError("The body has no rows.", hint="Its first line names the columns, separated by commas.")
    names, data = lines[0], [line for line in lines[1:] if line]
    if names[0] == "" and len(names) > 1 and all(len(line) == len(names) for line in data):
        names, data = names[1:], [line[1:] for line in data]  # pandas writes its index; it means nothing here
    rows = rows_of_split(names, data)
    kinds: dict[str, str] = {field.name: field.type for field in model.signature.inputs}
    kinds |= {column.name: column.type for column in model.columns}
    assert rows.columns is not None
    columns = {
        name: _column(name, values, _reader(kinds.get(name, "varchar").lower()))
        for name, values in rows.columns.items()
    }
    return Rows(rows.count, columns)


def response(answer: Answer) -> Response:
    """Return one line for each row: its prediction id, and what the model says."""
    model = answer.model
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ["value"] if model.task == "regression" else ["probability", "label"]
    if model.task == "multiclass":
        names = [f"probability_{one}" for one in model.classes] + ["label"]
    explanations = (answer.explanations or []) if answer.explained else None
    writer.writerow(["prediction_id", *names, *(["explanation"] if explanations is not None else [])])
    for place, (prediction_id, output) in enumerate(zip(answer.ids, answer.outputs or (), strict=True)):
        told = [msgspec.json.encode(explanations[place]).decode()] if explanations is not None else []
        said = shown(model.task, model.classes, output)
        shares = output if isinstance(output, list) else [output]
        writer.writerow([prediction_id, *shares, *([said["label"]] if "label" in said else []), *told])
    return Response(out.getvalue().encode(), content_type=TYPE)


def _column(name: str, values: Any, read: Callable[[str], Any]) -> list[Any]:
    found = []
    for row, value in enumerate(values):
        try:
            found.append(None if value == "" else read(value))
        except (ValueError, KeyError):
            text = repr(value if len(value) <= 40 else value[:37] + "…")
            raise InputError(f"The column {name!r} has {text} in row {row}, which its type cannot hold.") from None
    return found


def _reader(kind: str) -> Callable[[str], Any]:
    if kind in _NUMBERS or kind.startswith("decimal"):
        return float
    if kind in _INTEGERS:
        return _integer
    if kind == "boolean":
        return lambda text: _BOOLEANS[text.strip().lower()]
    return str


def _integer(text: str) -> int | float:
    """Pandas writes whole numbers of a column with gaps as 3.0; those are taken too."""
    try:
        found: int | float = int(text)
    except ValueError:
        found = float(text)
    if isinstance(found, int) and not -(2**63) <= found < 2**64:
        raise ValueError
    return found
