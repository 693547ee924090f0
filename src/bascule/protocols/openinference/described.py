"""The OpenAPI document of the inference port, made of its routes and its messages: what it says is what is answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import msgspec

from bascule import __version__
from bascule.protocols.openinference import routes
from bascule.protocols.openinference.features import FeatureRequest
from bascule.protocols.openinference.messages import IndexRequest, InferRequest, LoadRequest
from bascule.protocols.openinference.plain import PredictRequest, Row
from bascule.protocols.openinference.truth import TruthRow, TruthRows

REF = "#/components/schemas/{name}"
ARROW = "application/vnd.apache.arrow.stream"
OCTETS = "application/octet-stream"
METRICS = "metrics"
JSON = "application/json"
PREFIXES = ("", "/branch/{branch}")
TEXT = {"type": "string", "minLength": 1}
PARAMETERS: dict[str, dict[str, Any]] = {
    "branch": {"in": "path", "required": True, "schema": TEXT},
    "name": {"in": "path", "required": True, "schema": TEXT},
    "version": {"in": "path", "required": True, "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999}},
    "explain": {"in": "query", "required": False, "schema": {"type": "string", "enum": ["shap"]}},
}


class Problem(msgspec.Struct, frozen=True):
    """Every error, from every path."""

    error: str


class OutputTensor(msgspec.Struct, frozen=True):
    """An output; its bytes follow the JSON where `data` is not there."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class InferAnswer(msgspec.Struct, frozen=True):
    """What was inferred; `parameters.prediction_ids` holds an id for each row, as JSON."""

    model_name: str
    model_version: str
    parameters: dict[str, Any]
    outputs: list[OutputTensor]
    id: str | msgspec.UnsetType = msgspec.UNSET


class PredictAnswer(msgspec.Struct, frozen=True):
    """An object for each row: `prediction_id`, and what the model says."""

    model_name: str
    model_version: str
    predictions: list[dict[str, Any]]
    id: str | msgspec.UnsetType = msgspec.UNSET


class Said(msgspec.Struct, frozen=True):
    """What an action says of itself.

    Attributes:
        summary: what it does.
        bodies: what may come as JSON; one of them.
        answer: the schema of what is answered, or the type of it.
        is_needed: whether there must be a body.
        explains: whether it takes `?explain=shap`.
        others: media types of other forms of the body.
    """

    summary: str
    bodies: tuple[Any, ...] = ()
    answer: Any = dict[str, Any]
    is_needed: bool = True
    explains: bool = False
    others: tuple[str, ...] = ()


_INVOKE = Said(
    "Predict, for clients of MLflow's scoring server.",
    (PredictRequest, list[Row]),
    PredictAnswer,
    explains=True,
    others=("text/csv", ARROW),
)
_TRUTH = Said("Tell what became true, by prediction id or by entity.", (TruthRow, TruthRows, list[TruthRow]))
SAID: Mapping[str, Said] = {
    "openapi.json": Said("This port, described in OpenAPI 3.1."),
    "": Said("Whether the process lives, for clients of KServe's first protocol."),
    "v1/models": Said("The names of what is served."),
    "v2": Said("Who answers, and which extensions it has."),
    "v2/health/live": Said("Whether the process lives."),
    "v2/health/ready": Said("Whether it answers and can keep what it answers."),
    "v2/models": Said("The names of what is served."),
    "v2/models/stats": Said("The figures of all versions."),
    "v2/repository/index": Said("Every version, and whether it is in memory.", (IndexRequest,), list[Any], False),
    "ground-truth": _TRUTH,
    "get-online-features": Said("Feature vectors, in Feast's shape.", (FeatureRequest,), others=(ARROW,)),
    "invocations": _INVOKE,
    "ping": Said("As `/v2/health/ready`."),
    "health": Said("As `/v2/health/ready`."),
    METRICS: Said("The figures for Prometheus.", answer=None),
    "model:": Said("What a model takes and gives."),
    "model:ready": Said("Whether a model answers."),
    "model:config": Said("The configuration, as Triton shapes it."),
    "model:stats": Said("The figures of a model's versions."),
    "model:infer": Said(
        "Infer, in the Open Inference Protocol.", (InferRequest,), InferAnswer, explains=True, others=(OCTETS,)
    ),
    "model:predict": msgspec.structs.replace(_INVOKE, summary="Predict rows as people write them."),
    "model:invocations": _INVOKE,
    "model:ground-truth": _TRUTH,
    "repository:load": Said("Load a model again.", (LoadRequest,), is_needed=False),
    "repository:unload": Said("Take a model out of service, until it is loaded.", (LoadRequest,), is_needed=False),
}


@cache
def document() -> dict[str, Any]:
    """Return the document."""
    wanted = list({repr(kind): kind for said in SAID.values() for kind in (*said.bodies, said.answer) if kind}.values())
    schemas, components = msgspec.json.schema_components([Problem, *wanted], ref_template=REF)
    known = {repr(kind): schema for kind, schema in zip(wanted, schemas[1:], strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for path, method, action in _places():
        paths.setdefault(path, {})[method.lower()] = _operation(path, method, SAID[action], known)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Bascule inference",
            "version": __version__,
            "description": "The Open Inference Protocol V2 and its plain relatives. `/branch/NAME` in front asks "
            "another branch. Each answer has a prediction id and is in the log before it is sent.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _places() -> Iterator[tuple[str, str, str]]:
    """Yield path, method and action of everything that is answered."""
    for prefix in PREFIXES:
        for path, methods in routes.OF_SERVER.items():
            if not prefix or path not in routes.OF_MAIN_ALONE:
                yield from ((f"{prefix}/{path}", method, path) for method in methods)
        for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
            for action, methods in routes.OF_MODEL.items():
                yield from ((f"{prefix}{model}/{action}".rstrip("/"), one, f"model:{action}") for one in methods)
        for model in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}"):
            for verb, action in routes.OF_V1.items():
                methods = routes.OF_MODEL[action.removeprefix("model:")]
                yield from ((f"{prefix}{model}{verb}", method, action) for method in methods)
        for action, methods in routes.OF_REPOSITORY.items():
            path = f"{prefix}/v2/repository/models/{{name}}/{action}"
            yield from ((path, method, f"repository:{action}") for method in methods)


def _operation(path: str, method: str, said: Said, known: Mapping[str, Any]) -> dict[str, Any]:
    asked = [name for name in PARAMETERS if f"{{{name}}}" in path or (name == "explain" and said.explains)]
    words = path.translate(str.maketrans("/-.:", "____", "{}")).strip("_") or "root"
    answer = {JSON: {"schema": known[repr(said.answer)]}} if said.answer else {"text/plain": {}}
    answer |= {kind: {} for kind in said.others}
    problem = {"$ref": REF.format(name=Problem.__name__)}
    found = {
        "operationId": f"{method.lower()}_{words}",
        "summary": said.summary,
        "parameters": [{"name": name, **PARAMETERS[name]} for name in asked],
        "responses": {
            "200": {"description": "Done.", "content": answer},
            "default": {"description": "An error.", "content": {JSON: {"schema": problem}}},
        },
    }
    if said.bodies:
        bodies = [known[repr(kind)] for kind in said.bodies]
        content = {JSON: {"schema": bodies[0] if len(bodies) == 1 else {"anyOf": bodies}}}
        found["requestBody"] = {"content": content | {kind: {} for kind in said.others}, "required": said.is_needed}
    return found
