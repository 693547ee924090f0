"""Outputs as tensors: which ones, how many classes of them, and as JSON or bytes."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from bascule.errors import InputError, suggestion
from bascule.protocols.openinference.binary import join_texts
from bascule.protocols.openinference.inputs import AnyRequest, demand_no_sharing
from bascule.protocols.openinference.letter import EXAMPLE_ID, Letter, letter_of
from bascule.protocols.openinference.messages import Asked, Parameters
from bascule.serving.http import Response
from bascule.serving.ids import json_text_of
from bascule.serving.log.predictions import NONE, label
from bascule.serving.model import LoadedModel, Output
from bascule.serving.scoring import Answer

OCTETS = b"application/octet-stream"
_MOST_LETTERS = 256
_letters: dict[tuple[str, int, tuple[str, ...]], Letter] = {}
_encode = msgspec.json.Encoder().encode


def output_tensors(task: str, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the outputs of a model as the metadata tells them."""
    if task == "regression":
        return [{"name": "value", "datatype": "FP64", "shape": [-1]}]
    shape = [-1] if task == "binary" else [-1, len(classes)]
    return [
        {"name": "probability", "datatype": "FP64", "shape": shape},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
    ]


def check_outputs(request: AnyRequest, model: LoadedModel) -> None:
    """Refuse outputs that there are not, before anything is scored.

    Raises:
        InputError: there is no output of that name, or a parameter asks for what is not there.
    """
    names = [output["name"] for output in output_tensors(model.task, model.classes)]
    for asked in request.outputs or ():
        if asked.name not in names:
            raise InputError(
                f"There is no output named {asked.name[:80]!r}.", hint=suggestion(asked.name, names, "output")
            )
        parameters = asked.parameters or {}
        demand_no_sharing(asked)
        _classification(asked.name, parameters, model)


def infer_response(request: AnyRequest, answer: Answer, name: str) -> Response:
    """Return the answer to a request.

    Args:
        name: the name under which the model was asked.
    """
    model = answer.model
    outputs = answer.outputs or []
    asks_nothing = request.id is None and not request.outputs and request.parameters is None and not answer.explained
    if asks_nothing and len(outputs) == 1 and model.task == "binary" and 0.0 <= outputs[0] <= 1.0:  # type: ignore[operator]
        return Response(_single(name, model, answer.ids[0], outputs[0]))  # type: ignore[arg-type]
    message: dict[str, Any] = {"model_name": name, "model_version": str(model.version)}
    if request.id is not None:
        message["id"] = request.id
    message["parameters"] = {"prediction_ids": Raw(json_text_of(answer.ids))}
    if answer.explained:
        message["parameters"]["explanations"] = _encode(answer.explanations).decode()
    if not request.outputs and not (request.parameters and request.parameters.get("binary_data_output")):
        message["outputs"] = _plain(model, outputs)
        return Response(_encode(message))
    return _selected(request, message, model, outputs)


def _single(name: str, model: LoadedModel, prediction_id: str, output: float) -> bytes:
    """Return the commonest answer, one row of a binary model, by filling in its text."""
    key = (name, model.version, model.classes)
    letter = _letters.get(key)
    if letter is None:
        letter = letter_of(lambda number: _encode(_message(name, model, [EXAMPLE_ID], [number])))
        assert letter is not None
        if len(_letters) >= _MOST_LETTERS:
            _letters.clear()
        _letters[key] = letter
    return letter.fill(prediction_id.encode(), output)


def _message(name: str, model: LoadedModel, ids: Sequence[str], outputs: list[Output]) -> dict[str, Any]:
    return {
        "model_name": name,
        "model_version": str(model.version),
        "parameters": {"prediction_ids": Raw(json_text_of(ids))},
        "outputs": _plain(model, outputs),
    }


def _plain(model: LoadedModel, outputs: list[Output], labelled: bool = True) -> list[dict[str, Any]]:
    """Return all outputs as JSON, as most requests want them; without the labels when nobody asks for them."""
    count = len(outputs)
    if model.task == "regression":
        return [{"name": "value", "datatype": "FP64", "shape": [count], "data": outputs}]
    classes = model.classes
    if model.task == "binary":
        probability: dict[str, Any] = {"name": "probability", "datatype": "FP64", "shape": [count], "data": outputs}
    else:
        flat = [value for row in outputs for value in row]  # type: ignore[union-attr]
        probability = {"name": "probability", "datatype": "FP64", "shape": [count, len(classes)], "data": flat}
    if not labelled:
        return [probability]
    if model.task == "binary":
        no, yes = classes
        labels = [yes if output >= 0.5 else no if output < 0.5 else NONE for output in outputs]  # type: ignore[operator]
    else:
        labels = [label(classes, output) for output in outputs]
    return [probability, {"name": "label", "datatype": "BYTES", "shape": [count], "data": labels}]


def chosen(request: AnyRequest, model: LoadedModel, outputs: list[Output]) -> list[dict[str, Any]]:
    """Return the outputs that a request asks for, in its order, as they are in JSON."""
    if not request.outputs:
        return _plain(model, outputs)
    found = _plain(model, outputs, any(asked.name == "label" for asked in request.outputs))
    plain = {output["name"]: output for output in found}
    tops = [_classification(asked.name, asked.parameters or {}, model) for asked in request.outputs]
    return [
        plain[asked.name] if top is None else _top(asked.name, top, model, outputs)
        for asked, top in zip(request.outputs, tops, strict=True)
    ]


def _selected(request: AnyRequest, message: dict[str, Any], model: LoadedModel, outputs: list[Output]) -> Response:
    binary_by_default = bool((request.parameters or {}).get("binary_data_output"))
    tensors, parts = [], []
    wanted = chosen(request, model, outputs)
    for asked, tensor in zip(request.outputs or [Asked(one["name"]) for one in wanted], wanted, strict=True):
        if (asked.parameters or {}).get("binary_data", binary_by_default):
            data = _bytes(tensor)
            parts.append(data)
            tensor = {key: value for key, value in tensor.items() if key != "data"}
            tensor["parameters"] = {"binary_data_size": len(data)}
        tensors.append(tensor)
    message["outputs"] = tensors
    header = _encode(message)
    if not parts:
        return Response(header)
    extra = b"inference-header-content-length: %d\r\n" % len(header)
    return Response(b"".join((header, *parts)), content_type=OCTETS, extra=extra)


def _classification(name: str, parameters: Parameters, model: LoadedModel) -> int | None:
    """Return how many of the likeliest classes an output should tell, None for the output as it is."""
    top = parameters.get("classification")
    if top is None or top == 0:
        return None
    if type(top) is not int or top < 0:
        raise InputError(
            f"The output {name!r} asks for classification {top!r}; it must be a count of classes.",
            hint="Write a whole number from 1 on.",
        )
    if name != "probability" or model.task == "regression":
        raise InputError(f"The output {name!r} has no classes.", hint="Ask for the classification of 'probability'.")
    return min(top, len(model.classes))


def _top(name: str, count: int, model: LoadedModel, outputs: list[Output]) -> dict[str, Any]:
    """Return the likeliest classes of each row as "probability:place:class", likeliest first."""
    found = []
    for output in outputs:
        shares = output if isinstance(output, list) else [1.0 - output, output]
        places = sorted(range(len(shares)), key=lambda place: -shares[place])[:count]
        found += [f"{shares[place]:.6f}:{place}:{model.classes[place]}" for place in places]
    return {"name": name, "datatype": "BYTES", "shape": [len(outputs), count], "data": found}


def _bytes(tensor: dict[str, Any]) -> bytes:
    if tensor["datatype"] == "BYTES":
        return join_texts(tensor["data"])
    values = tensor["data"]
    form = f"<{len(values)}d"
    try:
        return struct.pack(form, *values)
    except struct.error:
        return struct.pack(form, *[math.nan if value is None else value for value in values])
