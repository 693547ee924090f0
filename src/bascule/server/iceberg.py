"""The Iceberg REST catalog on this server: who asks, may they, and what the protocol answers them.

Paths are matched as they came, before they are decoded: a ref or a namespace may hold what is a slash when decoded.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bascule.errors import BasculeError, InputError
from bascule.protocols.iceberg import ENDPOINTS, Answer, Ask, Endpoint, Match, envelope, match, told
from bascule.seeing import seeing_as
from bascule.server.access import PERMISSIONS, Principal
from bascule.server.answers import Refused
from bascule.server.dispatch import Context, demand, read_body, unexpected
from bascule.server.guard import SAFE_METHODS
from bascule.server.identity import credential, identify
from bascule.server.routes import UndeclaredPermission

PLACE = "/iceberg"
MAX_BODY = 64 << 20
MAX_REPORT = 256 << 10
# What pyiceberg sends when it was given no token.
NO_TOKEN = ("token", "None")


class IcebergCatalog:
    """An ASGI application that answers below `/iceberg`.

    Raises:
        UndeclaredPermission: when an endpoint does not say who may use it.
    """

    def __init__(self, context: Context) -> None:
        check_endpoints(ENDPOINTS)
        self.context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        request = Request(scope, receive)
        answer = await self._answered(request)
        await answer(scope, receive, send)

    async def _answered(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except Refused as refused:
            return _said(request, refused.error, refused.status, refused.headers)
        except BasculeError as error:
            return _said(request, error)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:
            return _said(request, unexpected(request), 500)

    async def _answer(self, request: Request) -> Response:
        context = self.context
        secret = credential(request)
        if secret == NO_TOKEN:
            secret = None
        principal = await run_in_threadpool(identify, context.workspace.catalog, context.settings, secret)
        found = _match(request)
        request.scope["bascule.route"] = f"{PLACE}{found.endpoint.path}"
        demand(principal, found.endpoint.permission)
        raw = b""
        if request.method not in SAFE_METHODS:
            report = found.endpoint.path.endswith("/metrics")
            raw = await read_body(request, MAX_REPORT if report else max(MAX_BODY, context.settings.max_body))
        answer = await run_in_threadpool(_seen, found, self._ask(request, found, principal, raw), principal)
        return _response(answer)

    def _ask(self, request: Request, found: Match, principal: Principal, raw: bytes) -> Ask:
        query = dict(request.query_params)
        ref = found.parameters.get("prefix") or query.get("warehouse") or found.ref or "main"
        headers = {name.lower(): value for name, value in request.headers.items()}
        context = self.context
        return Ask(context.workspace, principal.name, ref, found.parameters, query, headers, raw, context.folder)


def _seen(found: Match, ask: Ask, principal: Principal) -> Answer:
    with seeing_as(principal.role):
        return found.endpoint.answer(ask)


def check_endpoints(endpoints: Iterable[Endpoint]) -> None:
    """Raise `UndeclaredPermission` when an endpoint does not say, or wrongly, who may use it."""
    for endpoint in endpoints:
        if endpoint.permission not in PERMISSIONS:
            raise UndeclaredPermission(
                f"{endpoint.method} {endpoint.path} declares the permission {endpoint.permission!r}; "
                f"an endpoint must declare one of: {', '.join(PERMISSIONS)}."
            )


def _match(request: Request) -> Match:
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    try:
        found = match(request.method, raw.split(b"?")[0].decode("ascii").removeprefix(PLACE))
    except UnicodeDecodeError as error:
        raise Refused(400, InputError("The address is not UTF-8.", hint="Encode it as %XX of UTF-8.")) from error
    if isinstance(found, Match):
        return found
    if found:
        said = InputError(f"{request.method} is not understood here.", hint=f"Understood: {', '.join(sorted(found))}.")
        raise Refused(405, said, {"allow": ", ".join(sorted(found))})
    hint = f"GET {PLACE}/v1/config lists the endpoints."
    raise Refused(404, InputError("There is no such endpoint of the Iceberg catalog.", hint=hint))


def _said(
    request: Request, error: BasculeError, status: int | None = None, headers: dict[str, str] | None = None
) -> Response:
    code, body = (status, envelope(error, status)) if status is not None else told(error)
    sent = b"" if request.method == "HEAD" else msgspec.json.encode(body)
    return Response(sent, code, headers, media_type="application/json")


def _response(answer: Answer) -> Response:
    if answer.body is None:
        return Response(status_code=answer.status, headers=dict(answer.headers))
    body = answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body)
    return Response(body, answer.status, dict(answer.headers), media_type="application/json")
