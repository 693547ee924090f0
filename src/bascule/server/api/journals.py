"""Journals of tracked scripts over HTTP: what a sender on another machine brings, each record once."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec
from blake3 import blake3

from bascule.errors import Conflict, InputError
from bascule.server.access import Principal
from bascule.server.api.history import BASE
from bascule.server.routes import Call, Route
from bascule.tracking.ambient.sending import Opening, Piece, Standing
from bascule.tracking.ambient.session import Header
from bascule.tracking.ambient.taking import CatalogTarget, Overtaken

MAX_BATCH = 64 << 20
MAX_BLOB = 1 << 30
MOST_DIGESTS = 100_000
_ID = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


class Wanted(msgspec.Struct, frozen=True):
    """The name of an experiment; empty for the one that everything is in by default."""

    name: str


class Kept(msgspec.Struct, frozen=True):
    """How many bytes were kept."""

    bytes: int


def begin(call: Call[None, bytes]) -> Standing:
    """Have a session's run in the records; the body is msgpack. Repeated, nothing is there twice."""
    told = _read(call.body, Opening)
    target = CatalogTarget(call.workspace)
    target.begin(_checked(told.header, call.principal), told.code, told.environment)
    return _standing(target, told.header.session)


def standing(call: Call[None, None]) -> Standing:
    """How far each journal of a session is in the records."""
    return _standing(CatalogTarget(call.workspace), call.path["session"])


def take(call: Call[None, bytes]) -> Standing:
    """Write what journals tell, with how far that goes; the body is msgpack. 409 when a part of it is there already."""
    told = _read(call.body, Piece)
    header = _checked(told.header, call.principal)
    target = CatalogTarget(call.workspace)
    for run, one in told.batch.told.items():
        if not _ID.fullmatch(run) or one.id != run:
            raise InputError(f"{run[:60]!r} is no run's id.", hint="It has 1 to 40 of the signs A-Z a-z 0-9 _ . -")
        # These are paths on the sender's machine, and mean nothing here: files are sent by themselves.
        one.blobs, one.artifacts = {}, {}
    try:
        target.take(header, told.batch, told.finished)
    except Overtaken as error:
        raise Conflict(
            f"The journal {error} is further in the records.", hint=f"Ask {BASE}/journals/SESSION, and go on there."
        ) from error
    return _standing(target, header.session)


def missing(call: Call[None, bytes]) -> list[str]:
    """Which blobs of a list are not in the store; the body is msgpack."""
    digests = _read(call.body, list[str])
    if len(digests) > MOST_DIGESTS:
        raise InputError(f"At most {MOST_DIGESTS:,} digests are looked up at once.", hint="Ask in parts.")
    return [digest for digest in digests if _DIGEST.fullmatch(digest) and not call.workspace.store.has(digest)]


def keep_blob(call: Call[None, bytes]) -> Kept:
    """Keep a blob under the digest of its content."""
    digest = call.path["digest"]
    if blake3(call.body).hexdigest() != digest:
        raise InputError(f"The body is not what the digest {digest[:64]} names.", hint="Send the whole blob.")
    call.workspace.store.put(call.body)
    return Kept(len(call.body))


def experiment(call: Call[None, bytes]) -> dict[str, int]:
    """The number of an experiment, which is made when it is new; the body is msgpack."""
    name = _read(call.body, Wanted).name
    return {"id": CatalogTarget(call.workspace).experiment(name or None)}


def _standing(target: CatalogTarget, session: str) -> Standing:
    return Standing(target.taken(session), target.is_finished(session))


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise InputError(f"The body cannot be read: {error}", hint="Is the sender of another version?") from error


def _checked(header: Header, principal: Principal) -> Header:
    """Return a header that may stand: its ids are ids, and who was known by a token is who acts."""
    for one in (header.session, header.run, header.parent or header.run):
        if not _ID.fullmatch(one):
            raise InputError(f"{one[:60]!r} is no id.", hint="It has 1 to 40 of the signs A-Z a-z 0-9 _ . -")
    user = header.user if principal.through == "loopback" and header.user else principal.name
    return msgspec.structs.replace(header, user=user)


ROUTES = [
    Route("POST", f"{BASE}/journals/begin", begin, "write", max_body=MAX_BATCH),
    Route("POST", f"{BASE}/journals/take", take, "write", max_body=MAX_BATCH),
    Route("POST", f"{BASE}/journals/missing", missing, "write", max_body=MAX_BATCH),
    Route("POST", f"{BASE}/journals/experiment", experiment, "write"),
    Route("PUT", f"{BASE}/journals/blobs/{{digest}}", keep_blob, "write", max_body=MAX_BLOB),
    Route("GET", f"{BASE}/journals/{{session}}", standing, "read"),
]
