"""Bearer tokens: 256 random bits that are shown once, kept only as a digest, and carry one role."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from blake3 import blake3
from sqlalchemy import Row, Select, func, insert, select, update

from bascule.catalog import Catalog, actor, audit, new_id, now
from bascule.catalog.schema import settings, tokens
from bascule.errors import InputError, NotFound
from bascule.server.access import ROLES

PREFIX = "bsc_"
BRANCH = "token.branch:"  # a setting, by the token's id


class Token(msgspec.Struct, frozen=True):
    """A token as it may be shown: never its secret. Times in microseconds since the epoch.

    Attributes:
        branch: where clients of MLflow work that name no branch; empty for `main`.
    """

    id: str
    name: str
    role: str
    created_at: int
    revoked_at: int | None
    branch: str = ""


def create_token(
    catalog: Catalog, name: str, role: str, *, branch: str = "", by: str | None = None
) -> tuple[Token, str]:
    """Make a token and return it with its secret, which cannot be read again.

    Raises:
        InputError: for an empty name or an unknown role.
    """
    if role not in ROLES:
        raise InputError(f"There is no role {role!r}.", hint=f"Roles: {', '.join(ROLES)}.")
    if not name.strip():
        raise InputError("A token needs a name.", hint="Name who or what will use it, such as 'ci'.")
    secret = PREFIX + secrets.token_urlsafe(32)
    token = Token(new_id("tok"), name.strip(), role, now(), None, branch)
    with catalog.write() as conn:
        held = {key: value for key, value in msgspec.structs.asdict(token).items() if key != "branch"}
        conn.execute(insert(tokens).values(**held, digest=_digest(secret)))
        _audit = {"name": token.name, "role": role}
        if branch:
            conn.execute(insert(settings).values(key=BRANCH + token.id, value=branch))
            _audit["branch"] = branch
        audit.append(conn, actor=by or actor(), action="token.create", subject=token.id, detail=_audit)
    return token, secret


def list_tokens(catalog: Catalog) -> list[Token]:
    """Return all tokens, revoked ones too, oldest first."""
    with catalog.read() as conn:
        return [_token(row) for row in conn.execute(_tokens().order_by(tokens.c.created_at, tokens.c.id))]


def revoke_token(catalog: Catalog, name_or_id: str, *, by: str | None = None) -> Token:
    """End a token at once, by its id or by the name of the one active token that has it.

    Raises:
        NotFound: when no active token has that id or name.
        InputError: when several active tokens share the name.
    """
    active = [token for token in list_tokens(catalog) if token.revoked_at is None]
    found = [token for token in active if name_or_id in (token.id, token.name)]
    if not found:
        raise NotFound("active token", name_or_id, [name for token in active for name in (token.name, token.id)])
    if len(found) > 1:
        raise InputError(
            f"{len(found)} active tokens are named {name_or_id!r}.",
            hint=f"Name one by its id: {', '.join(token.id for token in found)}.",
        )
    ended = msgspec.structs.replace(found[0], revoked_at=now())
    with catalog.write() as conn:
        conn.execute(update(tokens).where(tokens.c.id == ended.id).values(revoked_at=ended.revoked_at))
        audit.append(conn, actor=by or actor(), action="token.revoke", subject=ended.id, detail={"name": ended.name})
    return ended


def find_token(catalog: Catalog, secret: str) -> Token | None:
    """Return the active token with this secret. The lookup is by digest, so its time tells nothing of the secret."""
    if not secret.startswith(PREFIX):
        return None
    with catalog.read() as conn:
        found = _tokens().where(tokens.c.digest == _digest(secret), tokens.c.revoked_at.is_(None))
        row = conn.execute(found).first()
    return _token(row) if row else None


def count_active(catalog: Catalog) -> int:
    """Return how many tokens can be used."""
    with catalog.read() as conn:
        active = select(func.count()).select_from(tokens).where(tokens.c.revoked_at.is_(None))
        return int(conn.execute(active).scalar_one())


def _digest(secret: str) -> str:
    return blake3(secret.encode()).hexdigest()


def _tokens() -> Select[tuple[Any, ...]]:
    """All tokens, with their branches."""
    branch = settings.c.value.label("branch")
    return select(*tokens.c, branch).join_from(tokens, settings, settings.c.key == BRANCH + tokens.c.id, isouter=True)


def _token(row: Row[tuple[object, ...]]) -> Token:
    return Token(row.id, row.name, row.role, row.created_at, row.revoked_at, row.branch or "")
