"""Bundles of models that have to go, or went, as a forgotten subject stands in them: a changed one would prove nothing.

A note is a setting of the catalog, by the bundle's digest. It names versions, a policy and times, and nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select

from bascule.catalog import now
from bascule.catalog.schema import settings
from bascule.errors import Expired
from bascule.history import Workspace
from bascule.registry.runtimes import blobs_of

KEY = "withdrawal:"
JUSTIFY = "justify"
REASON = "it held a subject that was forgotten"


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that has to go, stays for a reason, or went.

    Attributes:
        digest: of the blob.
        models: the versions that need it, as `delays@3`.
        cause: the forgetting's name.
        policy: `retrain`, `schedule`, `justify` or `withdraw`.
        reason: why it stays, with `justify`.
        due: until when, with `schedule`.
        noted_at, gone_at: when it was noted, and when it was deleted; microseconds since 1970 UTC.
    """

    digest: str
    models: list[str]
    cause: str
    policy: str
    reason: str = ""
    due: int | None = None
    noted_at: int
    gone_at: int | None = None

    @property
    def names(self) -> str:
        """The versions as people read them."""
        return ", ".join(self.models)

    def as_dict(self) -> dict[str, Any]:
        """The note as one JSON object."""
        return msgspec.structs.asdict(self)


def note(conn: Connection, one: Withdrawal) -> None:
    """Write a note, in the place of the one that there is of the same bundle."""
    key = KEY + one.digest
    conn.execute(delete(settings).where(settings.c.key == key))
    conn.execute(insert(settings).values(key=key, value=msgspec.json.encode(one).decode()))


def noted(conn: Connection) -> list[Withdrawal]:
    """Return all notes, oldest first."""
    query = select(settings.c.value).where(settings.c.key.startswith(KEY, autoescape=True))
    found = [msgspec.json.decode(text, type=Withdrawal) for text in conn.execute(query).scalars()]
    return sorted(found, key=lambda one: (one.noted_at, one.digest))


def withdrawn(workspace: Workspace) -> dict[str, Withdrawal]:
    """Return what went, by digest."""
    with workspace.catalog.read() as conn:
        return {one.digest: one for one in noted(conn) if one.gone_at is not None}


def blobs_of_version(version: Mapping[str, Any], runtime: Mapping[str, Any] | None = None) -> set[str]:
    """Return the digests of all that a version answers with: its bundle, what is served, steps around it, engines."""
    parts = [version, version.get("served") or {}, *((version.get("graph") or {}).get("members") or {}).values()]
    return {str(part["artifact"]) for part in parts if part.get("artifact")} | set(blobs_of(runtime or {}))


def gone(one: Withdrawal) -> Expired:
    """Return what whoever asks for a withdrawn bundle is told."""
    day = datetime.fromtimestamp((one.gone_at or now()) / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")
    error = Expired(f"The bundle of {one.names}", day, REASON)
    error.hint = "Take a later version, or train one without the subject: bascule run"
    return error
