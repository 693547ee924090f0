"""MLflow's tracking server on this one: who asks, on which branch, may they, and the bytes of artifacts.

It answers below `/api/2.0/mlflow` (and 3.0, and `/ajax-api`), `/api/2.0/mlflow-artifacts`, `/get-artifact`, `/version`
and, to OpenTelemetry, at `/v1/traces`; all of it also below `/branch/NAME`, for a client that works on another branch
than `main`.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bascule.errors import BasculeError, InputError
from bascule.history.repository import MAIN
from bascule.protocols import mlflow
from bascule.protocols.mlflow import Answer, Ask, Endpoint, Fields, Repeated
from bascule.protocols.mlflow.experiments import experiment_number
from bascule.server.access import PERMISSIONS, Principal
from bascule.server.answers import Refused
from bascule.server.dispatch import Context, demand, read_body, unexpected
from bascule.server.environments import demand_landing
from bascule.server.guard import SAFE_METHODS
from bascule.server.identity import credential, form_secret, identify
from bascule.server.mlflow_parts import PART, Signer, address_for, in_parts, one_part, range_of
from bascule.server.routes import UndeclaredPermission
from bascule.server.webhooks import tried
from bascule.store import ObjectPath, Place
from bascule.tracking.artifacts import Artifacts, confined
from bascule.tracking.experiments import DEFAULT
from bascule.tracking.traces import keep_spans
from bascule.tracking.tracker import Tracker
from bascule.tracking.uploads import Uploads

MAX_BODY = 32 << 20
MAX_UPLOAD = 10 << 20
CHUNK = 1 << 20
_API = re.compile(r"^/(?:api|ajax-api)/[23]\.0/mlflow/(.*)$")
_FILES = re.compile(r"^/(?:api|ajax-api)/2\.0/mlflow-artifacts/(artifacts|mpu|presigned|signed)(?:/(.*))?$")
_BRANCH = re.compile(r"^/branch/([^/]+)(/.*)$")
SPANS = "/v1/traces"
_PLAIN = {
    "/version",
    SPANS,
    "/get-artifact",
    "/model-versions/get-artifact",
    "/ajax-api/2.0/mlflow/get-artifact",
    "/ajax-api/2.0/mlflow/upload-artifact",
}
# What a browser would run is sent as what it cannot.
_TEXT = {".txt", ".log", ".err", ".cfg", ".conf", ".py", ".js", ".yml", ".yaml", ".json", ".csv", ".tsv", ".md", ".rst"}
_HEADERS = {"x-content-type-options": "nosniff"}


class Tracking:
    """An ASGI application that answers MLflow's clients, and hands everything else on.

    Raises:
        UndeclaredPermission: when an endpoint does not say who may use it.
    """

    def __init__(self, context: Context, other: ASGIApp) -> None:
        check_endpoints()
        self.context = context
        self.other = other
        self._tracker: Tracker | None = None
        self._artifacts: Artifacts | None = None
        self._signs: Signer | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        place = address_of(scope) if scope["type"] == "http" else None
        if place is None:
            await self.other(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = await self._answered(request, *place)
        await answer(scope, receive, send)

    async def _answered(self, request: Request, branch: str, path: str) -> Response:
        request.scope["bascule.route"] = "/api/2.0/mlflow"
        try:
            return await self._answer(request, branch, path)
        except Refused as refused:
            body = mlflow.refused(refused.status, refused.error)
            return _json(msgspec.json.encode(body), refused.status, refused.headers)
        except BasculeError as error:
            status, said = mlflow.told(error)
            return _json(msgspec.json.encode(said), status)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:
            return _json(msgspec.json.encode(mlflow.envelope("INTERNAL_ERROR", unexpected(request))), 500)

    async def _answer(self, request: Request, branch: str, path: str) -> Response:
        if path == "/version":
            return PlainTextResponse(mlflow.VERSION)
        found = credential_of(request)
        principal = identify(self.context.workspace.catalog, self.context.settings, None) if found is None else None
        if principal is None:
            principal = await run_in_threadpool(identify, self.context.workspace.catalog, self.context.settings, found)
        if request.headers.get("x-mlflow-workspace"):
            raise Refused(501, InputError("This server has no MLflow workspaces.", hint="A branch does what they do."))
        named, branch = bool(branch), branch or principal.branch or MAIN
        files = _FILES.match(path)
        if files is not None and files[1] != "artifacts":
            return await self._in_parts(request, principal, branch, files[1], files[2] or "")
        if files is not None:
            return await self._file(request, principal, branch, files[2] or "")
        if path in _PLAIN:
            return await self._plain(request, principal, branch, path)
        api = _API.match(path)
        matched = mlflow.match(request.method, api[1].rstrip("/")) if api else None
        if matched is None:
            raise Refused(404, InputError(f"There is no endpoint {request.method} {path[:120]}.", hint="See the API."))
        endpoint, parameters = matched
        request.scope["bascule.route"] = f"/api/2.0/mlflow/{endpoint.path}"
        demand(principal, endpoint.permission)
        ask = self._ask(principal, branch, parameters, await self._told(request), named=named)
        return await run_in_threadpool(self._run, request, principal, endpoint, ask)

    async def _told(self, request: Request) -> Fields:
        if request.method in SAFE_METHODS:
            return query_of(request)
        raw = await read_body(request, max(MAX_BODY, self.context.settings.max_body))
        if not raw and request.method == "DELETE":  # clients send no body, and so no type of one
            return Fields({})
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refused(
                400,
                InputError(f"Bad Request. Content-Type must be application/json, not {kind[:60]!r}.", hint="Set it."),
            )
        return Fields(mlflow.read_body(raw))

    def _run(self, request: Request, principal: Principal, endpoint: Endpoint, ask: Ask) -> Response:
        if endpoint.lands:
            demand_landing(self.context.workspace, principal, ask.branch)
        found = endpoint.answer(ask)
        if isinstance(found, Answer):
            body = found.body if isinstance(found.body, bytes) else msgspec.json.encode(found.body)
            return _json(body, found.status)
        if isinstance(found, tuple):
            return _json(msgspec.json.encode({"result": tried(*found)}))
        return _sent(ask.artifacts.file(found), request)

    def _ask(
        self, principal: Principal, branch: str, parameters: dict[str, str], told: Fields, *, named: bool = True
    ) -> Ask:
        if self._tracker is None:
            self._tracker = Tracker(self.context.workspace)
            self._artifacts = Artifacts(self.context.workspace)
        assert self._artifacts is not None
        return Ask(self._tracker, self._artifacts, branch, principal.name, parameters, told, named)

    async def _in_parts(self, request: Request, principal: Principal, branch: str, kind: str, path: str) -> Response:
        ask = self._ask(principal, branch, {}, query_of(request))
        uploads = Uploads(ask.artifacts, ask.artifacts.waiting / "parts")
        signer = await run_in_threadpool(self._signer)
        below = f"/branch/{quote(branch, safe='')}" if branch != MAIN else ""
        part = PART.match(path) if kind == "mpu" else None
        if part is not None:
            return await one_part(request, ask.told, uploads, signer, part[1], int(part[2]))
        if kind == "mpu":
            demand(principal, "write")
            return await in_parts(request, ask, uploads, signer, below, path)
        if request.method not in SAFE_METHODS:
            raise Refused(405, InputError("A file is read with GET.", hint="Repeat it so."))
        if kind == "signed":
            signer.check(f"GET {confined(path)}", ask.told)
            return await run_in_threadpool(_read_artifact, ask, path, request)
        demand(principal, "read")
        size = await run_in_threadpool(_size_of, ask, path)
        return address_for(request, signer, below, path, size)

    def _signer(self) -> Signer:
        if self._signs is None:
            self._signs = Signer(form_secret(self.context.workspace.catalog))
        return self._signs

    async def _file(self, request: Request, principal: Principal, branch: str, path: str) -> Response:
        ask = self._ask(principal, branch, {}, query_of(request))
        if request.method in SAFE_METHODS:
            demand(principal, "read")
            return await run_in_threadpool(_read_artifact, ask, path, request)
        demand(principal, "write")
        if mlflow.is_exported(path):
            raise Refused(
                403, InputError("Registered models are read here, not written.", hint="Register another one.")
            )
        if request.method == "PUT" and path:
            await ask.artifacts.write(path, _chunks(request))
            return _json(b"{}")
        if request.method == "DELETE" and path:
            await run_in_threadpool(ask.artifacts.delete, path)
            return _json(b"{}")
        raise Refused(
            405, InputError(f"{request.method} is not understood for an artifact.", hint="GET, PUT or DELETE.")
        )

    async def _spans(self, request: Request, principal: Principal, branch: str) -> Response:
        """Keep spans that OpenTelemetry exports."""
        if request.method != "POST":
            raise Refused(405, InputError("Spans are sent with POST.", hint="Repeat it so."))
        demand(principal, "write")
        told = request.headers
        raw = await read_body(request, MAX_BODY)

        def work() -> None:
            kind = told.get("content-type", "").partition(";")[0].strip().lower()
            spans = mlflow.read_spans(mlflow.unpacked(raw, told.get("content-encoding", "").strip().lower()), kind)
            experiment = experiment_number(told.get("x-mlflow-experiment-id", str(DEFAULT)))
            tracker = self._ask(principal, branch, {}, Fields({})).tracker
            keep_spans(tracker, experiment, spans, branch=branch, run=told.get("x-mlflow-run-id", ""))

        await run_in_threadpool(work)
        return Response(b"", media_type="application/x-protobuf")

    async def _plain(self, request: Request, principal: Principal, branch: str, path: str) -> Response:
        if path == SPANS:
            return await self._spans(request, principal, branch)
        ask = self._ask(principal, branch, {}, query_of(request))
        if path.endswith("/upload-artifact"):
            if request.method != "POST":
                raise Refused(405, InputError("An artifact is uploaded with POST.", hint="Repeat it so."))
            demand(principal, "write")
            raw = await read_body(request, MAX_UPLOAD)
            place = await run_in_threadpool(mlflow.place_of_run, ask)

            async def chunks() -> AsyncIterator[bytes]:
                yield raw

            await ask.artifacts.write(place, chunks())
            return _json(b"{}")
        demand(principal, "read")
        if path == "/model-versions/get-artifact":
            place = await run_in_threadpool(mlflow.place_of_version, ask)
        else:
            place = await run_in_threadpool(mlflow.place_of_run, ask)
        return await run_in_threadpool(_read_artifact, ask, place, request)


def address_of(scope: Scope) -> tuple[str, str] | None:
    """Return the branch that an address of MLflow's names, or "", and the path; None for other addresses."""
    raw = scope.get("raw_path") or scope["path"].encode()
    path = raw.split(b"?")[0].decode("ascii", "replace")
    branch = ""
    below = _BRANCH.match(path)
    if below is not None:
        branch, path = unquote(below[1]), below[2]
    if _FILES.match(path):
        return branch, path
    if _API.match(path) or path in _PLAIN:
        return branch, unquote(path)
    return None


def query_of(request: Request) -> Fields:
    """Return the query's parameters; a name that is said several times has a list."""
    query = request.scope.get("query_string", b"").decode("latin-1")
    found = parse_qs(query, keep_blank_values=True, max_num_fields=1000)
    if "%00" in query:
        mlflow.demand_no_nul(found)
    return Fields({name: Repeated(values) if len(values) > 1 else values[0] for name, values in found.items()})


def credential_of(request: Request) -> tuple[str, str] | None:
    """Return what a request knows itself by: a bearer token, a cookie, or a token as a password with any name."""
    header = request.headers.get("authorization", "")
    if header.lower().startswith("basic "):
        try:
            _, _, secret = base64.b64decode(header[6:], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            secret = ""
        if not secret:
            raise Refused(401, InputError("The password is missing.", hint="Give a token of this server as password."))
        return "token", secret
    return credential(request)


def check_endpoints() -> None:
    """Raise `UndeclaredPermission` when an endpoint does not say, or wrongly, who may use it."""
    for endpoint in mlflow.ENDPOINTS:
        if endpoint.permission not in PERMISSIONS:
            raise UndeclaredPermission(f"{endpoint.method} {endpoint.path} declares {endpoint.permission!r}.")


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        yield chunk


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")


def _size_of(ask: Ask, path: str) -> int:
    if mlflow.is_exported(path):
        return len(mlflow.file_of(ask.tracker.workspace.store, path))
    return ask.artifacts.file(path).stat().st_size


def _read_artifact(ask: Ask, path: str, request: Request) -> Response:
    """Answer with a file, or with the list of the folder that the query names."""
    folder = path or ask.told.text("path")
    exported = mlflow.is_exported(folder)
    if not path:
        found = mlflow.list_exported(ask, folder) if exported else mlflow.list_proxied(ask)
        return _json(msgspec.json.encode(found.body))
    if exported:
        data = mlflow.file_of(ask.tracker.workspace.store, path)
        headers, kind = _described(path.rpartition("/")[2])
        part = range_of(request.headers.get("range", ""), len(data))
        if part is None:
            return Response(data, headers=headers, media_type=kind)
        headers["content-range"] = f"bytes {part[0]}-{part[1]}/{len(data)}"
        return Response(data[part[0] : part[1] + 1], 206, headers, media_type=kind)
    return _sent(ask.artifacts.file(path), request)


def _described(name: str) -> tuple[dict[str, str], str]:
    """Return the headers and the media type that a file of a name is sent with."""
    suffix = Path(name).suffix.lower()
    kind = "text/plain" if suffix in _TEXT or name in ("MLmodel", "MLproject") else mimetypes.guess_type(name)[0]
    if kind is None or kind in ("text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/xml"):
        kind = "application/octet-stream"
    said = f"attachment; filename*=UTF-8''{quote(name)}"
    if name.isascii() and not re.search(r'["\\]', name):
        said = f'attachment; filename="{name}"'
    return {**_HEADERS, "content-disposition": said}, kind


def _sent(place: Place, request: Request) -> Response:
    """Answer with a file, or with the range of it that is asked for; of the disk the response itself sees to that."""
    headers, kind = _described(place.name)
    if isinstance(place, Path):
        return FileResponse(place, headers=headers, media_type=kind)
    size = place.stat().st_size
    found = range_of(request.headers.get("range", ""), size)
    first, last = found or (0, size - 1)
    headers |= {"content-length": str(last - first + 1), "accept-ranges": "bytes"}
    if found is not None:
        headers["content-range"] = f"bytes {first}-{last}/{size}"
    data = iter(()) if request.method == "HEAD" else _read(place, first, last + 1)
    return StreamingResponse(data, 206 if found else 200, headers, media_type=kind)


def _read(place: ObjectPath, first: int, end: int) -> Iterator[bytes]:
    with place.opened() as source:
        source.seek(first)
        while first < end and (chunk := source.read(min(CHUNK, end - first))):
            first += len(chunk)
            yield chunk
