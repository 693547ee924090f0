"""From a route to a running endpoint: who asks, may they, what did they send, and how is it answered.

Endpoints are plain functions and run in a thread, so that one that waits for a disk does not hold up the others.
"""

from __future__ import annotations

import difflib
import functools
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin
from urllib.parse import parse_qsl

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from bascule.catalog import acting_as, now
from bascule.errors import BasculeError, EnvironmentProblem, InputError
from bascule.history import Workspace
from bascule.seeing import seeing_as
from bascule.server.access import Principal, roles_with
from bascule.server.answers import ErrorPage, Refused, error_answer, json_answer, status_of
from bascule.server.guard import SAFE_METHODS
from bascule.server.identity import check_form_token, credential, form_secret, form_token, identify
from bascule.server.prometheus import RequestMeter
from bascule.server.routes import Call, Route, Shape, shape_of
from bascule.server.settings import ServerSettings

log = logging.getLogger("bascule.server")

FORM_FIELD = "form_token"
STRICT = "/api/"  # an unknown query parameter is a mistake here, not an addition of somebody else


@dataclass(frozen=True)
class Context:
    """What all requests of one server share.

    Attributes:
        folder: the project's folder; None when a workspace is served without one.
    """

    workspace: Workspace
    settings: ServerSettings
    error_page: ErrorPage
    folder: Path | None = None
    meter: RequestMeter = field(default_factory=RequestMeter)
    started_at: int = field(default_factory=now)


def bind(route: Route, context: Context) -> Callable[[Request], Awaitable[Response]]:
    """Return the function that Starlette calls for a route."""
    shape = shape_of(route.endpoint)
    page = context.error_page if route.page else None

    async def handle(request: Request) -> Response:
        request.scope["bascule.route"] = route.path
        request.scope["bascule.context"] = context
        try:
            found = credential(request)
            if found is None:
                principal = identify(context.workspace.catalog, context.settings, None)
            else:
                principal = await run_in_threadpool(identify, context.workspace.catalog, context.settings, found)
            request.scope["bascule.principal"] = principal
            demand(principal, route.permission)
            raw = b""
            if request.method not in SAFE_METHODS:
                raw = await read_body(request, route.max_body or context.settings.max_body)
            return await run_in_threadpool(_run, route, shape, context, request, principal, raw)
        except Refused as refused:
            return error_answer(request, refused.status, refused.error, page, refused.headers)
        except BasculeError as error:
            return error_answer(request, status_of(error), error, page)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:
            return error_answer(request, 500, unexpected(request), page)

    return handle


def unexpected(request: Request) -> BasculeError:
    """Log the exception at hand under a number, and return the error that tells only the number."""
    number = secrets.token_hex(4)
    log.exception("error %s in %s %s", number, request.method, request.url.path)
    return EnvironmentProblem(
        f"Something went wrong inside the server (error {number}). Nothing more is known here.",
        hint=f"The server's log has the details: look for {number}.",
    )


def demand(principal: Principal, permission: str) -> None:
    """Refuse who may not do what asks for a permission.

    Raises:
        Refused: 401 for nobody, 403 for a role that is too weak.
    """
    if principal.may(permission):
        return
    roles = " or ".join(roles_with(permission))
    if principal.role == "nobody":
        error = InputError("This server asks who you are.", hint=f"Send a token with the role {roles}.")
        raise Refused(401, error, {"www-authenticate": "Bearer"})
    what = f"{principal.name!r} has the role {principal.role}, which may not do this."
    raise Refused(403, InputError(what, hint=f"It takes the role {roles}."))


async def read_body(request: Request, limit: int) -> bytes:
    """Return the whole body, and stop reading as soon as it is too large.

    Raises:
        Refused: 413.
    """
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit: int) -> Refused:
    error = InputError(f"The body is larger than {limit:,} bytes.", hint="Send it in smaller parts.")
    # What still comes is read and dropped by the connection: closed now, it would lose the answer for who is sending.
    return Refused(413, error)


def _run(route: Route, shape: Shape, context: Context, request: Request, principal: Principal, raw: bytes) -> Response:
    with seeing_as(principal.role), acting_as(principal.name):
        return _seen(route, shape, context, request, principal, raw)


def _seen(route: Route, shape: Shape, context: Context, request: Request, principal: Principal, raw: bytes) -> Response:
    secret = form_secret(context.workspace.catalog) if route.page else b""
    call: Call[Any, Any] = Call(
        workspace=context.workspace,
        settings=context.settings,
        principal=principal,
        path=request.path_params,
        query=read_query(request, shape.query, strict=route.path.startswith(STRICT)),
        body=_read_body_as(request, route, shape.body, raw, secret, principal),
        request=request,
        form_token=form_token(secret, principal) if route.page else "",
    )
    answer = route.endpoint(call)
    return answer if isinstance(answer, Response) else json_answer(answer)


def read_query(request: Request, kind: Any, *, strict: bool) -> Any:
    """Read the query parameters into a struct.

    Args:
        strict: refuse unknown names. Pages ignore them, because links carry what others added, and so do probes.

    Raises:
        InputError: naming the parameter, what was found and what is allowed.
    """
    fields = {f.encode_name: f for f in _fields(kind)} if kind is not None else {}
    values: dict[str, Any] = {}
    for name in request.query_params:
        if name in fields:
            many = get_origin(fields[name].type) in (tuple, list)
            values[name] = request.query_params.getlist(name) if many else request.query_params[name]
        elif strict:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(fields) or 'none'}."
            raise InputError(f"There is no query parameter {name[:80]!r} here.", hint=hint)
    if kind is None:
        return None
    return _convert({k: v for k, v in values.items() if v != ""}, kind, "query parameters")


def _read_body_as(request: Request, route: Route, kind: Any, raw: bytes, secret: bytes, principal: Principal) -> Any:
    if request.method in SAFE_METHODS:
        return None
    if route.page:
        form = dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=100))
        check_form_token(secret, principal, form.pop(FORM_FIELD, ""))
        return _convert(form, kind, "form") if kind else None
    if kind is None:
        return None
    if kind is bytes:
        return raw
    if raw and request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused(415, InputError("The body must be JSON.", hint="Send it with: Content-Type: application/json"))
    try:
        found = msgspec.json.decode(raw or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"The body cannot be used: {error}", hint=_fields_of(kind)) from error
    _check_whole_numbers(found, "body")
    return found


def _convert(values: dict[str, Any], kind: Any, what: str) -> Any:
    try:
        found = msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"The {what} cannot be used: {error}", hint=_fields_of(kind)) from error
    _check_whole_numbers(found, what)
    return found


def _check_whole_numbers(found: Any, what: str) -> None:
    """Refuse whole numbers that no column of the catalog holds."""
    for one in _fields(type(found)) if isinstance(found, msgspec.Struct) else ():
        value = getattr(found, one.name)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InputError(f"The {what} cannot be used: {one.encode_name} is beyond 64 bits: {str(value)[:40]}.")


@functools.cache  # it evaluates every annotation
def _fields(kind: Any) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _fields_of(kind: Any) -> str:
    try:
        return f"Known: {', '.join(f.encode_name for f in _fields(kind))}."
    except TypeError:
        return ""
