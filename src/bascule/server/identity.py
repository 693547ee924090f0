"""Who is behind a request: a bearer token, the cookie that holds one, or the person at this machine.

Forms carry a token of their own: an HMAC, under a secret of the workspace, over who is asking. A page of another site
can neither read it nor make it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from starlette.datastructures import Headers
from starlette.requests import Request

from bascule.catalog import Catalog, actor
from bascule.catalog.schema import settings as settings_table
from bascule.errors import InputError
from bascule.server.access import NOBODY, Principal
from bascule.server.answers import Refused
from bascule.server.settings import ServerSettings
from bascule.server.tokens import find_token

COOKIE = "bascule_token"
FORM_SECRET = "server.form_secret"


def credential(request: Request) -> tuple[str, str] | None:
    """Return (kind, secret) when the request carries one.

    Raises:
        Refused: 401 for an `Authorization` header of another scheme.
    """
    header = Headers(scope=request.scope).get("authorization")
    if header is not None:
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise _unknown("Only bearer tokens are understood.")
        return "token", secret.strip()
    cookie = request.cookies.get(COOKIE)
    return ("cookie", cookie) if cookie else None


def identify(catalog: Catalog, settings: ServerSettings, found: tuple[str, str] | None) -> Principal:
    """Return who is asking.

    Raises:
        Refused: 401 for a bearer token that is not, or no longer, valid.
    """
    if found is not None:
        kind, secret = found
        token = find_token(catalog, secret)
        if token is not None:
            return Principal(token.name, token.role, "token" if kind == "token" else "cookie", token.branch)
        if kind == "token":
            raise _unknown("This token is not known here, or was revoked.")
    return NOBODY if settings.tokens_required else Principal(actor(), "admin", "loopback")


def form_secret(catalog: Catalog) -> bytes:
    """Return the workspace's secret for forms, made on first use. All its servers share it."""
    wanted = select(settings_table.c.value).where(settings_table.c.key == FORM_SECRET)
    with catalog.read() as conn:
        found = conn.execute(wanted).scalar()
    if found is None:
        try:
            with catalog.write() as conn:
                conn.execute(insert(settings_table).values(key=FORM_SECRET, value=secrets.token_hex(32)))
        except IntegrityError:  # another server made it first
            pass
        with catalog.read() as conn:
            found = conn.execute(wanted).scalar_one()
    return bytes.fromhex(found)


def form_token(secret: bytes, principal: Principal) -> str:
    """Return what a form for this person must carry."""
    nonce = secrets.token_hex(8)
    return f"{nonce}.{_sign(secret, principal, nonce)}"


def check_form_token(secret: bytes, principal: Principal, token: str) -> None:
    """Refuse a form that this server did not make for this person.

    Raises:
        Refused: 403.
    """
    nonce, _, signature = token.partition(".")
    if not hmac.compare_digest(signature.encode(), _sign(secret, principal, nonce).encode()):
        hint = "Open the page again and repeat what you did."
        raise Refused(403, InputError("This form was not made by this server for you.", hint=hint))


def _sign(secret: bytes, principal: Principal, nonce: str) -> str:
    said = f"{principal.through}\0{principal.name}\0{nonce}".encode()
    return hmac.new(secret, said, hashlib.sha256).hexdigest()


def _unknown(message: str) -> Refused:
    hint = "Make one with: bascule token create NAME --role ROLE"
    return Refused(401, InputError(message, hint=hint), {"www-authenticate": "Bearer"})
