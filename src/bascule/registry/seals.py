"""What is vouched for together with a version's digest: that it may be loaded although it is a pickle, and that it is
the one that was signed.

A seal holds for one digest of all files of a version. When a byte of them changes, it holds no more.
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any, Literal

import msgspec
from sqlalchemy import insert, select, update

from bascule.catalog import actor, audit, new_id, now, upsert
from bascule.catalog.schema import audit as audit_table
from bascule.catalog.schema import model_seals, settings
from bascule.errors import EnvironmentProblem, InputError, MissingExtra, NotFound
from bascule.history import Workspace

Kind = Literal["trust", "sign"]
FOLDER, FILE = "keys", "signing.pem"
PUBLIC = "signing.public."


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """One seal; times in microseconds since 1970 UTC, `revoked_at` None while it holds."""

    id: str
    kind: str
    subject: str
    digest: str
    actor: str
    reason: str
    at: int
    key_id: str | None = None
    signature: str | None = None
    revoked_at: int | None = None
    revoked_by: str | None = None


def set_seal(
    ws: Workspace, kind: Kind, subject: str, digest: str, reason: str = "", *, key_id: str = "", signature: str = ""
) -> Seal:
    """Record a seal, and in the same transaction an audit entry that names the digest."""
    made = Seal(
        id=new_id("seal"),
        kind=kind,
        subject=subject,
        digest=digest,
        actor=actor(),
        reason=reason,
        at=now(),
        key_id=key_id or None,
        signature=signature or None,
    )
    detail: dict[str, Any] = {"seal": made.id, "digest": digest}
    detail |= {"reason": reason} if reason else {}
    detail |= {"key": key_id, "signature": signature} if signature else {}
    with ws.catalog.write() as conn:
        conn.execute(insert(model_seals).values(**msgspec.structs.asdict(made)))
        audit.append(conn, actor=made.actor, action=kind, subject=subject, detail=detail)
    return made


def seals(ws: Workspace, kind: Kind, subject: str) -> list[Seal]:
    """Return the seals that hold, the youngest first."""
    c = model_seals.c
    query = select(model_seals).where(c.kind == kind, c.subject == subject, c.revoked_at.is_(None))
    with ws.catalog.read() as conn:
        return [Seal(**row) for row in conn.execute(query.order_by(c.at.desc(), c.id.desc())).mappings()]


def given_elsewhere(ws: Workspace, kind: Kind, subject: str, digest: str) -> list[Seal]:
    """Return the seals that hold for the same bytes under other names, the youngest first."""
    c = model_seals.c
    query = select(model_seals).where(c.kind == kind, c.digest == digest, c.subject != subject, c.revoked_at.is_(None))
    with ws.catalog.read() as conn:
        return [Seal(**row) for row in conn.execute(query.order_by(c.at.desc(), c.id.desc())).mappings()]


def revoke(ws: Workspace, kind: Kind, subject: str, reason: str) -> list[Seal]:
    """Take all seals of a kind back; that they were stays on record.

    Raises:
        NotFound: there is none.
    """
    held = seals(ws, kind, subject)
    if not held:
        what = "consent to load" if kind == "trust" else "signature of"
        raise NotFound(what, subject, hint="There is nothing to take back.")
    who, at = actor(), now()
    with ws.catalog.write() as conn:
        where = model_seals.c.id.in_([one.id for one in held])
        conn.execute(update(model_seals).where(where).values(revoked_at=at, revoked_by=who))
        detail = {"seals": [one.id for one in held], "reason": reason}
        audit.append(conn, actor=who, action=f"un{kind}", subject=subject, detail=detail)
    return [msgspec.structs.replace(one, revoked_at=at, revoked_by=who) for one in held]


def audited(ws: Workspace, seal: Seal) -> bool:
    """Tell whether the audit log has the entry that was written with a seal, with the same digest and signature."""
    a = audit_table.c
    query = select(a.detail_json).where(a.action == seal.kind, a.subject == seal.subject)
    with ws.catalog.read() as conn:
        told = [msgspec.json.decode(text) for text in conn.execute(query).scalars()]
    wanted = {"seal": seal.id, "digest": seal.digest} | ({"signature": seal.signature} if seal.signature else {})
    return any(all(one.get(key) == value for key, value in wanted.items()) for one in told)


def sign_text(ws: Workspace, text: bytes) -> tuple[str, str]:
    """Sign with the workspace's key, which is made when there is none yet.

    Returns:
        The key's id (the beginning of the SHA-256 of its public half) and the Ed25519 signature in base64.

    Raises:
        MissingExtra: the package that signs is not installed.
        EnvironmentProblem: the key cannot be read.
    """
    key = _private(ws.folder / FOLDER / FILE)
    public = _raw(key.public_key())
    name = hashlib.sha256(public).hexdigest()[:16]
    with ws.catalog.write() as conn:
        row = {"key": PUBLIC + name, "value": base64.b64encode(public).decode()}
        if conn.execute(upsert(conn, settings).values(**row).on_conflict_do_nothing()).rowcount:
            audit.append(conn, actor=actor(), action="key", subject=f"keys/{name}", detail={"public": row["value"]})
    return name, base64.b64encode(key.sign(text)).decode()


def signature_holds(ws: Workspace, key_id: str, signature: str, text: bytes) -> bool:
    """Tell whether a signature is that of a text by a key which this workspace knows.

    Raises:
        MissingExtra: the package that verifies is not installed.
    """
    ed25519, _ = _library()
    with ws.catalog.read() as conn:
        public = conn.execute(select(settings.c.value).where(settings.c.key == PUBLIC + key_id)).scalar()
    if public is None:
        return False
    raw = base64.b64decode(public)
    if hashlib.sha256(raw).hexdigest()[:16] != key_id:
        return False
    from cryptography.exceptions import InvalidSignature

    try:
        ed25519.Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(signature), text)
    except (InvalidSignature, ValueError):
        return False
    return True


def _private(path: Path) -> Any:
    ed25519, serialization = _library()
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return _made(path)
    except OSError as error:
        raise EnvironmentProblem(f"The key {path} cannot be read: {error}", hint="It is the workspace's own.") from None
    try:
        key = serialization.load_pem_private_key(text, None)
    except (ValueError, TypeError) as error:
        raise EnvironmentProblem(
            f"{path} holds no key: {error}", hint="Put the right one back from a backup."
        ) from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InputError(f"{path} holds another kind of key than Ed25519.", hint="Put the right one back.")
    return key


def _made(path: Path) -> Any:
    ed25519, serialization = _library()
    key = ed25519.Ed25519PrivateKey.generate()
    form = serialization
    text = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(temporary, path)  # unlike a rename it never takes the place of a key that somebody else just made
    except FileExistsError:
        return _private(path)
    finally:
        temporary.unlink()
    return key


def _raw(public: Any) -> bytes:
    _, form = _library()
    raw: bytes = public.public_bytes(form.Encoding.Raw, form.PublicFormat.Raw)
    return raw


def _library() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise MissingExtra("Signing models", "sign") from None
    return ed25519, serialization
