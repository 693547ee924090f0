"""Making a version that a client registered ready to be served: its files become a bundle, once, in one commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bascule.errors import Conflict, InputError
from bascule.history import Workspace
from bascule.naming import model_path
from bascule.registry import ModelVersion
from bascule.registry.external import SCHEME
from bascule.registry.register import TRIES, busy
from bascule.serving.mlmodel import bundle_of, bundle_of_pickles
from bascule.serving.pickled.packing import LARGEST
from bascule.tracking import vouching
from bascule.tracking.artifacts import Artifacts
from bascule.training import unpack_model


def adopted(ws: Workspace, branch: str, found: ModelVersion, *, by: str) -> ModelVersion:
    """Return a version that a client registered with its bundle, so that it can be served.

    The version itself stays what it was; what is served stands beside it.

    Raises:
        InputError: it cannot be served; the text says why and what to do.
        CheckFailed: it could be served by running code that it brings, and nobody consented to its bytes.
        MissingExtra: the library of its format is not installed.
    """
    path = model_path(found.model)
    served = readied(ws, branch, found)
    if ws.history.get(branch, path)["versions"][str(found.version)].get("served"):
        return msgspec.structs.replace(found, signature=served["signature"])
    for _ in range(TRIES):
        before = ws.history.digest(branch, path)
        model = ws.history.get(branch, path)
        entry = model["versions"][str(found.version)]
        changed = {**model, "versions": {**model["versions"], str(found.version): {**entry, "served": served}}}
        try:
            ws.history.commit(
                branch,
                {path: changed},
                message=f"Make {found.model} version {found.version} ready to be served",
                author=by,
                expect={path: before},
                action="adopt",
            )
        except Conflict:
            continue
        return msgspec.structs.replace(found, signature=served["signature"])
    raise busy(found.model)


def readied(ws: Workspace, ref: str, found: ModelVersion) -> Mapping[str, Any]:
    """Return what is served of a version that a client registered: `artifact`, `format` and `signature`.

    Nothing is written to the history, so it is for any state: a branch, a tag, a commit.

    Raises:
        InputError, CheckFailed, MissingExtra: as `adopted`.
    """
    known = ws.history.get(ref, model_path(found.model))["versions"][str(found.version)].get("served")
    if known:
        return known  # type: ignore[no-any-return]
    place = found.artifact
    if not place.startswith(SCHEME):
        raise InputError(
            f"The files of version {found.version} of {found.model!r} are not here.",
            hint="Register a version of a model that was logged to this server.",
        )
    folder, artifacts = place.removeprefix(SCHEME).strip("/"), Artifacts(ws)

    def read(path: str, most: int) -> bytes:
        return artifacts.read(f"{folder}/{path}", most)

    try:
        packed = bundle_of(read, {"source": place})
    except InputError as error:
        packed = _in_a_process(ws, found, {"source": place}, error)
    bundle, digest = unpack_model(packed), ws.store.put(packed)
    return {"artifact": digest, "format": bundle.format, "signature": bundle.signature.as_dict()}


def _in_a_process(ws: Workspace, found: ModelVersion, notes: dict[str, str], why: InputError) -> bytes:
    """Return the bundle of a version that cannot be read without running code, when somebody consented to that.

    Raises:
        InputError: `why`, for a version that runs no code; or it cannot be loaded.
        CheckFailed: nobody consented.
    """
    safety = vouching.safety(ws, found)
    if safety.level == "safe":
        raise why
    if safety.trusted is None:
        vouching.demand_consent(ws, found)
    files = vouching.files_of(ws, found, LARGEST)
    if vouching.digest_of_files(files) != safety.digest:
        raise Conflict(f"The files of {found.name()} changed while they were read.", hint="Deploy it again.")
    return bundle_of_pickles(files, found.name(), notes)
