"""The methods of the service: each is what HTTP has under a path, asked and answered in protobuf."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from bascule.errors import BasculeError, InputError
from bascule.protocols.openinference.application import Answered, Application
from bascule.protocols.openinference.grpc import messages as m
from bascule.protocols.openinference.grpc.infer import (
    GRPC,
    GrpcRequest,
    infer_response,
    read_message,
    read_rows,
    refused,
    stream_response,
)
from bascule.protocols.openinference.grpc.protobuf import Message, decode, encode
from bascule.protocols.openinference.inference import Form, Read, unit_of
from bascule.protocols.openinference.outputs import check_outputs
from bascule.protocols.openinference.routes import Route, version_of
from bascule.serving.http import Deferred, HttpProblem, Request, Response
from bascule.serving.http2.call import error_text
from bascule.serving.model import LoadedModel

PACKAGE = "/inference.GRPCInferenceService/"
HEALTH = b"/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = 1, 2
Values = Mapping[str, Any]


def _read(request: Request, model: LoadedModel) -> Read:
    message, rows = read_rows(request, model)
    if message.outputs:
        check_outputs(message, model)
    return message, rows, unit_of(message)


INFER = Form(_read, infer_response)
STREAM = Form(_read, stream_response)


@dataclass(frozen=True, slots=True)
class Method:
    """A method that HTTP has as a path.

    Attributes:
        asked, said: the tables of its request and its answer.
        path: the path that a request means, and the body that goes there; a body makes it a POST.
        shaped: makes the answer's fields of what HTTP answers.
        refused: the answer where HTTP refuses, for questions of yes and no.
    """

    asked: Message
    said: Message
    path: Callable[[Values], tuple[str, Any]]
    shaped: Callable[[Any], Values] = lambda found: found
    refused: Values | None = None


def _model(values: Values, action: str = "") -> str:
    name, version = values.get("name", ""), values.get("version", "")
    if not name:
        raise InputError("The request names no model.")
    numbered = f"/versions/{quote(version, safe='')}" if version else ""
    return f"/v2/models/{quote(name, safe='')}{numbered}{action}"


def _statistics(values: Values) -> tuple[str, Any]:
    return (_model(values, "/stats") if values.get("name") else "/v2/models/stats"), None


def _loading(action: str) -> Callable[[Values], tuple[str, Any]]:
    def path(values: Values) -> tuple[str, Any]:
        if not values.get("model_name"):
            raise InputError("The request names no model.")
        # What a parameter brings is refused by its name; the bytes of a file need not go there.
        given = dict.fromkeys(values.get("parameters", {}))
        return f"/v2/repository/models/{quote(values['model_name'], safe='')}/{action}", {"parameters": given}

    return path


def _config(found: dict[str, Any]) -> Values:
    for tensor in (*found["input"], *found["output"]):
        tensor["data_type"] = m.CONFIG_TYPES.index(tensor["data_type"])
    return {"config": found}


METHODS = {
    "ServerLive": Method(m.NOTHING, m.LIVE, lambda _: ("/v2/health/live", None)),
    "ServerReady": Method(m.NOTHING, m.READY, lambda _: ("/v2/health/ready", None), refused={"ready": False}),
    "ModelReady": Method(m.NAMED, m.READY, lambda one: (_model(one, "/ready"), None), refused={"ready": False}),
    "ServerMetadata": Method(m.NOTHING, m.SERVER_METADATA, lambda _: ("/v2", None)),
    "ModelMetadata": Method(m.NAMED, m.MODEL_METADATA, lambda one: (_model(one), None)),
    "ModelConfig": Method(m.NAMED, m.MODEL_CONFIG, lambda one: (_model(one, "/config"), None), _config),
    "ModelStatistics": Method(m.NAMED, m.STATISTICS, _statistics),
    "RepositoryIndex": Method(
        m.INDEX_REQUEST,
        m.INDEX,
        lambda one: ("/v2/repository/index", {"ready": one.get("ready", False)}),
        lambda found: {"models": found},
    ),
    "RepositoryModelLoad": Method(m.LOAD_REQUEST, m.NOTHING, _loading("load")),
    "RepositoryModelUnload": Method(m.LOAD_REQUEST, m.NOTHING, _loading("unload")),
}
_PATHS = {f"{PACKAGE}{name}".encode(): method for name, method in METHODS.items()}
_PATHS[HEALTH] = Method(
    m.HEALTH_REQUEST,
    m.HEALTH,
    lambda one: (_model({"name": one["service"]}, "/ready") if one.get("service") else "/v2/health/ready", None),
    lambda _: {"status": SERVING},
    {"status": NOT_SERVING},
)
# What other servers of the protocol have beside it, and this one has not: methods of these names, and the extension.
_ELSEWHERE = {"Trace": "trace", "Log": "logging", "System": "system_shared_memory", "Cuda": "cuda_shared_memory"}
_INFER = f"{PACKAGE}ModelInfer".encode()
_STREAM = f"{PACKAGE}ModelStreamInfer".encode()


class GrpcService:
    """Answers the calls of gRPC by the application that answers HTTP.

    Args:
        application: what answers.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    def streams(self, path: bytes) -> bool:
        """Return whether a method takes and gives many messages."""
        return path == _STREAM

    def told(self, response: Response) -> bytes:
        """Return a refusal as a message of a stream."""
        return refused(error_text(response))

    def handle(self, request: Request) -> Answered:
        """Answer one message.

        Raises:
            BasculeError: it cannot be answered.
        """
        branch = request.headers.get(b"x-bascule-branch")
        if request.path == _INFER:
            return self._infer(request, branch, INFER)
        if request.path == _STREAM:
            return self._infer(request, branch, STREAM)
        method = _PATHS.get(request.path)
        if method is None:
            raise _unknown(request.path)
        return self._ask(request, method, branch)

    def _infer(self, request: Request, branch: bytes | None, form: Form) -> Answered:
        message = read_message(request.body)
        version = version_of(message.version) if message.version else None
        of = branch.decode("utf-8", "replace") if branch is not None else None
        route = Route("model:infer", (), of, message.model_name, version)
        return self._application.infer(GrpcRequest(request, message), route, form)

    def _ask(self, request: Request, method: Method, branch: bytes | None) -> Answered:
        path, body = method.path(decode(method.asked, request.body))
        if branch is not None:
            path = f"/branch/{quote(branch, safe='')}{path}"
        asked = Request(
            b"GET" if body is None else b"POST",
            path.encode(),
            request.headers,
            b"" if body is None else msgspec.json.encode(body),
        )
        asked.seconds = request.seconds
        try:
            return _then(self._application.handle(asked), method)
        except BasculeError as error:
            return _refused(method, error)


def _unknown(path: bytes) -> HttpProblem:
    shown = path[:80].decode("latin-1")
    name = shown.removeprefix(PACKAGE)
    extension = next((one for start, one in _ELSEWHERE.items() if name != shown and name.startswith(start)), None)
    if extension is None:
        return HttpProblem(501, f"There is no method {shown!r}.", hint=f"Those of {PACKAGE.strip('/')} are here.")
    hint = "ServerMetadata lists the extensions that it has."
    return HttpProblem(501, f"This server does not have {extension!r}, asked for by {shown!r}.", hint=hint)


def _refused(method: Method, error: BasculeError) -> Response:
    """Return the answer where HTTP refuses to a question of yes and no; other questions end with the error."""
    if method.refused is None:
        raise error
    return Response(encode(method.said, method.refused), content_type=GRPC)


def _then(answered: Answered, method: Method) -> Answered:
    """Return an answer of HTTP as the method's."""
    if isinstance(answered, Deferred):

        def finish(found: Any) -> Answered:
            if isinstance(found, BasculeError):
                return _refused(method, found)
            try:
                return _then(answered.finish(found), method)
            except BasculeError as error:
                return _refused(method, error)

        def rescue(error: Exception) -> Any:
            if answered.rescue is not None:
                return answered.rescue(error)
            if isinstance(error, BasculeError) and getattr(error, "status", None) != 504:
                return error
            raise error

        return Deferred(answered.work, finish, answered.seconds, begin=answered.begin, rescue=rescue)
    found = msgspec.json.decode(answered.body)
    return Response(encode(method.said, method.shaped(found)), content_type=GRPC, kept=answered.kept)
