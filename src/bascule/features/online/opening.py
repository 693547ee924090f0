"""Which backend a location means."""

from __future__ import annotations

from pathlib import Path

from bascule.errors import InputError
from bascule.features.online.lmdb import LmdbStore
from bascule.features.online.redis_server import HINT, SCHEMES
from bascule.features.online.store import OnlineStore


def is_server(location: Path | str) -> bool:
    """Tell whether a location is a server's address."""
    return "://" in str(location)


def open_online(location: Path | str, namespace: str = "main", *, seconds: float | None = None) -> OnlineStore:
    """Return the store at a location: a folder means LMDB, `redis://…` and the like Redis or Valkey.

    Args:
        seconds: how long an answer of a server is waited for; 5 when not given.

    Raises:
        InputError: an address of something else.
        MissingExtra: the client that it needs is not installed.
    """
    if not is_server(location):
        return LmdbStore(location, namespace)
    scheme = str(location).partition("://")[0]
    if scheme not in SCHEMES:
        raise InputError(f"The online store cannot live in {scheme!r}.", hint=HINT)
    from bascule.features.online.redis import RedisStore

    return RedisStore(str(location), namespace, seconds)
