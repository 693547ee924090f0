"""What the server answers with: JSON, errors in one envelope, and never a traceback."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from bascule.errors import (
    AlreadyExists,
    BasculeError,
    CheckFailed,
    Conflict,
    EnvironmentProblem,
    Held,
    InputError,
    NotFound,
)
from bascule.seeing import Masked

# The first class that fits decides.
STATUS: tuple[tuple[type[BasculeError], int], ...] = (
    (NotFound, 404),
    (AlreadyExists, 409),
    (Conflict, 409),
    (Held, 409),
    (CheckFailed, 422),
    (Masked, 403),
    (InputError, 400),
    (EnvironmentProblem, 503),
)

ErrorPage = Callable[[Request, int, BasculeError], Response]


class Refused(Exception):
    """The server says no before or instead of an endpoint: a status and the error that explains it."""

    def __init__(self, status: int, error: BasculeError, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.headers = dict(headers or {})


def status_of(error: BasculeError) -> int:
    """Return the HTTP status for an error."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Encode a struct, a dataclass or plain data."""
    return Response(msgspec.json.encode(value, enc_hook=str), status, headers, media_type="application/json")


def error_answer(
    request: Request, status: int, error: BasculeError, page: ErrorPage | None, headers: Mapping[str, str] | None = None
) -> Response:
    """Say an error as a page to people and in the one envelope to programs."""
    answer = page(request, status, error) if page else json_answer(error.as_dict(), status)
    answer.headers.update(headers or {})
    return answer


def plain_error_page(request: Request, status: int, error: BasculeError) -> Response:
    """The error page of a server that has no pages of its own."""
    text = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width"><title>Bascule: {status}</title>'
        "<main><h1>{message}</h1><p>{hint}</p></main></html>"
    )
    return HTMLResponse(
        text.format(status=status, message=html.escape(error.message), hint=html.escape(error.hint)), status
    )


def wants_page(request: Request) -> bool:
    """Return whether an unknown address was asked for by a person's browser."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")
