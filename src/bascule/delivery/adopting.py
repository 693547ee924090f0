"""Making a version that a client registered ready to be served: its files become a bundle, once, in one commit."""

from __future__ import annotations

from sqlalchemy import Connection, update

from bascule.catalog import schema
from bascule.errors import Conflict, InputError
from bascule.history import Commit, Workspace
from bascule.registry import ModelVersion, get_version
from bascule.registry.external import SCHEME
from bascule.registry.register import TRIES, busy
from bascule.registry.versions import path_of
from bascule.serving.mlmodel import bundle_of
from bascule.tracking.artifacts import Artifacts
from bascule.training import unpack_model


def adopted(ws: Workspace, branch: str, found: ModelVersion, *, by: str) -> ModelVersion:
    """Return a version that a client registered with its bundle, so that it can be served.

    What the client reads of the version stays what it was.

    Raises:
        InputError: it cannot be served; the text says why and what to do.
        MissingExtra: the library of its format is not installed.
    """
    place = found.artifact
    if not place.startswith(SCHEME):
        raise InputError(
            f"The files of version {found.version} of {found.model!r} are not here.",
            hint="Register a version of a model that was logged to this server.",
        )
    folder, artifacts = place.removeprefix(SCHEME).strip("/"), Artifacts(ws)

    def read(path: str, most: int) -> bytes:
        return artifacts.read(f"{folder}/{path}", most)

    packed = bundle_of(read, {"source": place})
    bundle, digest = unpack_model(packed), ws.store.put(packed)
    changes = {"artifact": digest, "format": bundle.format, "signature": bundle.signature.as_dict(), "files": place}
    path, versions = path_of(found.model), schema.model_versions

    def note(conn: Connection, _: Commit) -> None:
        conn.execute(update(versions).where(versions.c.id == found.id).values(artifact=digest))

    for _ in range(TRIES):
        before = ws.history.digest(branch, path)
        model = ws.history.get(branch, path)
        entry = model["versions"][str(found.version)]
        changed = {**model, "versions": {**model["versions"], str(found.version): {**entry, **changes}}}
        try:
            ws.history.commit(
                branch,
                {path: changed},
                message=f"Make {found.model} version {found.version} ready to be served",
                author=by,
                expect={path: before},
                action="adopt",
                also=note,
            )
        except Conflict:
            continue
        return get_version(ws, branch, found.model, found.version)
    raise busy(found.model)
