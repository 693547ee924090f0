"""The outermost layer: which names and origins are answered, the headers that every answer carries, and the meter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bascule.errors import InputError
from bascule.server.answers import ErrorPage, Refused, error_answer, wants_page
from bascule.server.settings import ServerSettings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

# Nothing but what this server serves may run, show or be sent to; nobody may put a page of ours in a frame.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

Observe = Callable[[str, str, int, float], None]


class Guard:
    """An ASGI application around another one.

    A page on another site can make a browser send requests to a server on loopback: by a name that it points there
    (DNS rebinding), which the `Host` check ends, or across sites, which the `Origin` check ends for all that writes.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, error_page: ErrorPage, observe: Observe) -> None:
        self.app = app
        self.names = _names(settings)
        self.error_page = error_page
        self.observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        bodiless = scope["method"] == "HEAD"  # routes answer it as GET; its length stays

        async def guarded_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            elif bodiless and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            check_host(Headers(scope=scope), self.names)
            check_origin(scope["method"], Headers(scope=scope))
            await self.app(scope, receive, guarded_send)
        except Refused as refused:
            request = Request(scope)
            page = self.error_page if wants_page(request) else None
            answer = error_answer(request, refused.status, refused.error, page, refused.headers)
            await answer(scope, receive, guarded_send)
        finally:
            route = scope.get("bascule.route", "unmatched")
            self.observe(scope["method"], route, status, time.perf_counter() - started)


def _names(settings: ServerSettings) -> frozenset[str]:
    own = () if settings.host in ("0.0.0.0", "::", "") else (settings.host.strip("[]"),)
    return frozenset(name.lower() for name in (*LOCAL_NAMES, *own, *settings.allowed_hosts))


def check_host(headers: Headers, names: Iterable[str]) -> None:
    """Refuse a request that was addressed to a name which is not ours.

    Raises:
        Refused: 421.
    """
    found = headers.getlist("host")
    host = _host_name(found[0]) if len(found) == 1 else None
    if host is None or host not in names:
        shown = ", ".join(repr(name) for name in found) or "no name"
        known = ", ".join(sorted(names))
        hint = f"Open it by one of its names: {known}. `bascule up --allow-host NAME` gives it another."
        raise Refused(421, InputError(f"This server does not answer to {shown}.", hint=hint))


def check_origin(method: str, headers: Headers) -> None:
    """Refuse a write that a page of another site made a browser send. Programs that send no origin may pass.

    Raises:
        Refused: 403.
    """
    if method in SAFE_METHODS:
        return
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    foreign_origin = origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    foreign_site = site is not None and site not in ("same-origin", "none")
    if foreign_origin or foreign_site:
        hint = "Do it on a page of this server, or with the command that the page shows."
        raise Refused(403, InputError(f"A page of {origin or 'another site'} may not change anything here.", hint=hint))


def _host_name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        if parts.path or parts.query or parts.fragment or parts.username is not None:
            return None
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname
