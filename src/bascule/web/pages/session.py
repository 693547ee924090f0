"""Signing in with a token, for people who use the page where tokens are asked for."""

from __future__ import annotations

import msgspec
from starlette.responses import RedirectResponse, Response

from bascule.errors import InputError
from bascule.server.answers import Refused
from bascule.server.identity import COOKIE
from bascule.server.routes import Call, Route
from bascule.server.tokens import find_token
from bascule.web.render import local_path, page

DAYS_30 = 30 * 86_400


class LoginView(msgspec.Struct, frozen=True):
    """Where to go afterwards."""

    next: str = "/"


class LoginForm(msgspec.Struct, frozen=True):
    """A token."""

    token: str
    next: str = "/"


def login(call: Call[LoginView, None]) -> Response:
    """Ask for a token."""
    return page(call, "login.html", next=local_path(call.query.next))


def sign_in(call: Call[None, LoginForm]) -> Response:
    """Keep a token in a cookie that no script can read and no other site can send."""
    secret = call.body.token.strip()
    if find_token(call.workspace.catalog, secret) is None:
        error = InputError("This token is not known here, or was revoked.", hint="Copy it again, or ask for another.")
        raise Refused(401, error)
    answer = RedirectResponse(local_path(call.body.next), 303)
    secure = call.request.url.scheme == "https"
    answer.set_cookie(COOKIE, secret, max_age=DAYS_30, httponly=True, samesite="strict", secure=secure)
    return answer


def sign_out(call: Call[None, None]) -> Response:
    """Forget the token."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


ROUTES = [
    Route("GET", "/login", login, "public", page=True),
    Route("POST", "/login", sign_in, "public", page=True),
    Route("POST", "/logout", sign_out, "public", page=True),
]
