"""What a version of a model consists of, byte for byte, and what people vouch for it: that its pickles may be loaded,
and that it is the one that was signed.

Files are read here as bytes, whoever sent them; nothing is ever loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import msgspec
from blake3 import blake3

from bascule.catalog import audit
from bascule.errors import BasculeError, CheckFailed, InputError
from bascule.history import Workspace
from bascule.registry import deletions, seals
from bascule.registry.approvals import checked_reason, subject_of
from bascule.registry.pickles import PickleScan, scan
from bascule.registry.seals import Seal
from bascule.registry.versions import ModelVersion
from bascule.store import Place
from bascule.tracking.artifacts import Artifacts, confined

SCHEME = "mlflow-artifacts:"
CHUNK = 1 << 20
MOST_FILES = 10_000
CODE = "code/"  # a folder of sources that MLflow puts on the path when it loads a model


class VersionFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a version: its path in it, the BLAKE3 digest of its bytes, and how many they are."""

    path: str
    digest: str
    size: int


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a version as they are now.

    Attributes:
        digest: of all of them together.
        missing: those that should be there, and are not or cannot be read.
    """

    files: tuple[VersionFile, ...]
    digest: str
    missing: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(one.size for one in self.files)


class Safety(msgspec.Struct, frozen=True, kw_only=True):
    """What loading a version would mean.

    Attributes:
        level: `safe` (data only), `pickle` (code runs when it is loaded), `dangerous` (what is called can do anything,
            or hides).
        pickles: what each pickle names.
        code: source files that are run when it is loaded, and what else its own description has run.
        trusted: the consent that holds for exactly these bytes, or None.
    """

    level: str
    pickles: tuple[PickleScan, ...]
    code: tuple[str, ...]
    digest: str
    trusted: Seal | None


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification found.

    Attributes:
        holds: whether all of it holds.
        problems: what does not, in words.
        signed_by: who signed it, or None.
        key_id: with which key.
    """

    model: str
    version: int
    digest: str
    files: int
    bytes: int
    holds: bool
    problems: tuple[str, ...]
    signed_by: str | None = None
    key_id: str | None = None
    signed_at: int | None = None


def contents(ws: Workspace, version: ModelVersion) -> Contents:
    """Read all files of a version and return their digests."""
    files, missing = [], []
    if version.place:
        held = contents_of_place(ws, version.place)
        if version.artifact == version.place or _hashed_blob(ws, version.artifact) == version.artifact:
            return held
        return msgspec.structs.replace(held, missing=(*held.missing, "the bundle that is served"))
    for path, digest in (("model", version.artifact), ("card", version.card), ("contract", version.contract)):
        if digest is None:
            continue
        try:
            with ws.store.open(digest) as source:
                found = _hashed(path, source)
        except BasculeError:
            missing.append(path)
            continue
        files.append(found)
        if found.digest != digest:
            missing.append(path)
    return Contents(files=tuple(files), digest=_together(files), missing=tuple(missing))


def contents_of_place(ws: Workspace, artifact: str) -> Contents:
    """Read all files of an artifact's folder and return their digests; none for what is no artifact of ours.

    Raises:
        InputError: there are too many.
    """
    files = []
    for path, place in _places(ws, artifact):
        with _opened(place) as source:
            files.append(_hashed(path, source))
    return Contents(files=tuple(files), digest=_together(files), missing=() if files else ("all of its files",))


def safety(ws: Workspace, version: ModelVersion) -> Safety:
    """Look through all files of a version for what would run if it were loaded."""
    from bascule.tracking.mlmodel import read_model_file

    held = contents(ws, version)
    _refuse_purged(ws, version, held)
    pickles: list[PickleScan] = []
    sources = [f"MLmodel: {one}" for one in read_model_file(ws, version.place).runs]
    for one in held.files:
        with _file(ws, version, one) as source:
            pickles += scan(one.path, source, one.size)
        if one.path.startswith(CODE) and one.path.endswith((".py", ".so", ".pyd")):
            sources.append(one.path)
    risky = any(one.dangerous or not one.complete or one.carries_code for one in pickles)
    level = "dangerous" if risky else "pickle" if pickles or sources else "safe"
    consent = next((s for s in seals.seals(ws, "trust", subject_of(version)) if s.digest == held.digest), None)
    return Safety(level=level, pickles=tuple(pickles), code=tuple(sources), digest=held.digest, trusted=consent)


def trust(ws: Workspace, version: ModelVersion, reason: str) -> Seal:
    """Record consent to load a version that runs code when it is loaded. It holds for its present bytes alone.

    Raises:
        InputError: there is no reason, or nothing in it that needs consent.
    """
    text = checked_reason(reason, "Consent to load a pickle")
    found = safety(ws, version)
    if found.level == "safe":
        raise InputError(
            f"{version.name()} holds data only and is loaded without consent.", hint="There is nothing to trust."
        )
    return seals.set_seal(ws, "trust", subject_of(version), found.digest, text)


def demand_consent(ws: Workspace, version: ModelVersion) -> Safety:
    """Return what loading means, when it may be done. Whoever loads a version in a worker asks this first.

    Raises:
        CheckFailed: it would run code, and nobody consented to exactly these bytes.
    """
    found = safety(ws, version)
    if found.level == "safe" or found.trusted is not None:
        return found
    before = seals.seals(ws, "trust", subject_of(version))
    why = "its files have changed since somebody consented"
    if not before:
        why = f"nobody has consented to it{_elsewhere(ws, 'trust', version, found.digest)}"
    told = sorted({name for one in found.pickles for name in one.dangerous})
    named = f" It names {', '.join(told[:5])}." if told else ""
    raise CheckFailed(
        f"{version.name()} runs code when it is loaded, and {why}.{named}",
        details=[msgspec.to_builtins(one) for one in found.pickles],
        hint=f'See `bascule model scan {version.name()}`, then: bascule model trust {version.name()} --reason "why"',
    )


def demand_unchanged(ws: Workspace, version: ModelVersion) -> None:
    """Refuse a version whose files are not those that were registered.

    Raises:
        CheckFailed: naming what differs.
    """
    if problems := _differences(version, contents(ws, version)):
        raise CheckFailed(
            f"{version.name()}: {'; '.join(problems)}.",
            details=[{"problem": one} for one in problems],
            hint=f"Put its files back, or register it anew. See: bascule model verify {version.name()}",
        )


def sign(ws: Workspace, version: ModelVersion, reason: str = "") -> Seal:
    """Sign a version with the workspace's key: its record and the digests of all of its files.

    Raises:
        CheckFailed: a file is missing or is not the one that was registered.
        MissingExtra: the package that signs is not installed.
        Expired: it was deleted, and its files are gone.
    """
    held = contents(ws, version)
    _refuse_purged(ws, version, held)
    if problems := _differences(version, held):
        raise CheckFailed(
            f"{version.name()} is not signed: {'; '.join(problems)}.",
            details=[{"problem": one} for one in problems],
            hint="Register it anew from files that you know.",
        )
    key, signature = seals.sign_text(ws, _statement(version, held))
    return seals.set_seal(ws, "sign", subject_of(version), held.digest, reason, key_id=key, signature=signature)


def verify(ws: Workspace, version: ModelVersion) -> Verified:
    """Read every byte of a version and hold it to its record, its signature and the audit log.

    Raises:
        MissingExtra: it is signed, and the package that verifies is not installed.
    """
    held = contents(ws, version)
    purged = deletions.purged_version(ws, version.id) if held.missing else None
    problems = [deletions.gone(purged).message.rstrip(".")] if purged else _differences(version, held)
    found = seals.seals(ws, "sign", subject_of(version))
    seal = found[0] if found else None
    if purged is not None:
        pass  # there is nothing left to compare a signature with
    elif seal is None:
        problems.append(f"it is not signed{_elsewhere(ws, 'sign', version, held.digest)}")
    else:
        if seal.digest != held.digest:
            problems.append("its files are not those that were signed")
        if not seals.signature_holds(ws, seal.key_id or "", seal.signature or "", _statement(version, held)):
            problems.append("the signature is not one of its record and files")
        if not seals.audited(ws, seal):
            problems.append("the audit log has no entry of this signature")
        chain = audit.verify(ws.catalog)
        if not chain.ok:
            problems.append(f"the audit log was changed, from entry {chain.first_bad} on")
    return Verified(
        model=version.model,
        version=version.version,
        digest=held.digest,
        files=len(held.files),
        bytes=held.size,
        holds=not problems,
        problems=tuple(problems),
        signed_by=seal.actor if seal else None,
        key_id=seal.key_id if seal else None,
        signed_at=seal.at if seal else None,
    )


def _refuse_purged(ws: Workspace, version: ModelVersion, held: Contents) -> None:
    if held.missing and (purged := deletions.purged_version(ws, version.id)) is not None:
        raise deletions.gone(purged)


def _elsewhere(ws: Workspace, kind: seals.Kind, version: ModelVersion, digest: str) -> str:
    """Say under which other name the same bytes are vouched for: a seal names the model, also when it was renamed."""
    found = seals.given_elsewhere(ws, kind, subject_of(version), digest)
    if not found:
        return ""
    what = "signature of" if kind == "sign" else "consent to"
    name = found[0].subject.removeprefix("models/")
    return f" by this name; the {what} the same files as {name} does not count for another"


def _differences(version: ModelVersion, held: Contents) -> list[str]:
    problems = [f"{path} is missing or was changed" for path in held.missing]
    if version.digest and version.digest != held.digest and not problems:
        problems.append("its files are not those that were registered")
    return problems


def _statement(version: ModelVersion, held: Contents) -> bytes:
    """Return what is signed: everything that the record says of the version, and every file's digest."""
    # A bundle that is made of files from outside, so that they can be served, says nothing new.
    left = {"aliases", "about", *(("artifact", "format", "signature", "files") if version.place else ())}
    record = {k: v for k, v in msgspec.to_builtins(version).items() if k not in left} | {"place": version.place}
    files = [[one.path, one.digest, one.size] for one in held.files]
    return msgspec.json.encode({"record": record, "files": files}, order="deterministic")


def _together(files: list[VersionFile]) -> str:
    told = [[one.path, one.digest, one.size] for one in sorted(files, key=lambda one: one.path)]
    return blake3(msgspec.json.encode(told)).hexdigest()


def digest_of_files(files: Mapping[str, bytes]) -> str:
    """Return the digest of all files of a version together, which consent and signatures are given to."""
    return _together(
        [VersionFile(path=path, digest=blake3(data).hexdigest(), size=len(data)) for path, data in files.items()]
    )


def files_of(ws: Workspace, version: ModelVersion, most: int) -> dict[str, bytes]:
    """Return the files of a version from outside, by their paths.

    Raises:
        InputError: they have more bytes than `most`.
    """
    found, size = {}, 0
    for path, place in _places(ws, version.place):
        size += place.stat().st_size
        if size > most:
            raise InputError(f"The files of {version.name()} have more than {most:,} bytes.")
        with _opened(place) as source:
            found[path] = source.read()
    return found


def _hashed(path: str, source: BinaryIO) -> VersionFile:
    hasher, size = blake3(), 0
    while chunk := source.read(CHUNK):
        hasher.update(chunk)
        size += len(chunk)
    return VersionFile(path=path, digest=hasher.hexdigest(), size=size)


def _hashed_blob(ws: Workspace, digest: str) -> str:
    try:
        with ws.store.open(digest) as source:
            return _hashed("", source).digest
    except BasculeError:
        return ""


def _places(ws: Workspace, artifact: str) -> Iterator[tuple[str, Place]]:
    if not artifact.startswith(SCHEME):
        return
    artifacts = Artifacts(ws)
    root = confined(artifact.removeprefix(SCHEME).lstrip("/"))
    waiting, count = [""], 0
    while waiting:
        folder = waiting.pop(0)
        for one in artifacts.list(f"{root}/{folder}".rstrip("/")):
            path = f"{folder}/{one.path}".lstrip("/")
            if one.is_dir:
                waiting.append(path)
                continue
            count += 1
            if count > MOST_FILES:
                raise InputError(f"{artifact} has more than {MOST_FILES:,} files.", hint="Register a smaller folder.")
            yield path, artifacts.file(f"{root}/{path}")


@contextmanager
def _file(ws: Workspace, version: ModelVersion, file: VersionFile) -> Iterator[BinaryIO]:
    if not version.place:
        with ws.store.open(file.digest) as source:
            yield source
        return
    root = confined(version.place.removeprefix(SCHEME).lstrip("/"))
    with _opened(Artifacts(ws).file(f"{root}/{file.path}")) as source:
        yield source


@contextmanager
def _opened(place: Place) -> Iterator[BinaryIO]:
    from pathlib import Path

    with place.open("rb") if isinstance(place, Path) else place.opened() as source:
        yield source


def registered(ws: Workspace, artifact: str) -> dict[str, Any]:
    """Return what is kept of the files of a version that somebody registers: digest, bytes, when there are any."""
    if not artifact.startswith(SCHEME):
        return {}
    held = contents_of_place(ws, artifact)
    return {"digest": held.digest, "bytes": held.size} if held.files else {}
