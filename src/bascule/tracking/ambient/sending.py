"""Journals to a workspace behind a server: the same batches as for a catalog, over HTTP.

What is sent is msgpack, because JSON has no NaN. The server keeps a batch with how far it goes in one transaction, so a
call whose answer was lost may be repeated.
"""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from bascule.errors import EnvironmentProblem, InputError
from bascule.store import BlobStore
from bascule.tracking.ambient.bringing import Target
from bascule.tracking.ambient.gathering import Batch
from bascule.tracking.ambient.session import Header
from bascule.tracking.ambient.taking import Overtaken
from bascule.tracking.ambient.told import Finished
from bascule.tracking.code import Code

API = "/api/bascule/v1/journals"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
TIMEOUT = 20.0
TOKEN = "BASCULE_TOKEN"

T = TypeVar("T")


class Opening(msgspec.Struct, frozen=True):
    """The beginning of a session, as it is sent."""

    header: Header
    code: Code | None
    environment: dict[str, Any]


class Piece(msgspec.Struct, frozen=True):
    """A batch, as it is sent. Its files went before it."""

    header: Header
    batch: Batch
    finished: Finished | None


class Standing(msgspec.Struct, frozen=True):
    """How far each journal of a session is in the records, and whether its end is there."""

    taken: dict[str, int]
    finished: bool


class ServerTarget:
    """A server as the place where journals are brought.

    Args:
        url: of the server, such as `https://ml.example.org`; BASCULE_TOKEN is sent with every call.
    """

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"{url!r} is no server's address.", hint="Write http://HOST:PORT or https://HOST.")
        self._url = url.rstrip("/")

    def begin(self, header: Header, code: Code | None, environment: dict[str, Any]) -> dict[str, int]:
        """See `Target`."""
        return self._post("begin", Opening(header, code, environment), Standing).taken

    def taken(self, session: str) -> dict[str, int]:
        """See `Target`."""
        return self._standing(session).taken

    def is_finished(self, session: str) -> bool:
        """See `Target`."""
        return self._standing(session).finished

    def take(self, header: Header, batch: Batch, finished: Finished | None = None) -> None:
        """See `Target`."""
        told = {}
        for run, one in batch.told.items():
            missing = set(self._missing(list(one.blobs)))
            for digest, path in one.blobs.items():
                if digest in missing:
                    self._put(f"{API}/blobs/{digest}", Path(path))
            if one.artifacts:
                name = (one.begun.experiment if one.begun else None) or header.experiment or ""
                experiment = self._post("experiment", {"name": name}, dict[str, int])["id"]
                for place, path in one.artifacts.items():
                    self._put(f"{ARTIFACTS}/{experiment}/{run}/artifacts/{quote(place)}", Path(path))
            told[run] = msgspec.structs.replace(one, blobs={}, artifacts={})
        self._post("take", Piece(header, msgspec.structs.replace(batch, told=told), finished), Standing)

    def keep_code(self, store: BlobStore, code: Code) -> None:
        """See `Target`."""
        listing: dict[str, str] = msgspec.json.decode(store.get(code.snapshot))
        for digest in self._missing([*listing.values(), code.snapshot]):
            self._call("PUT", f"{API}/blobs/{digest}", store.get(digest))

    def _standing(self, session: str) -> Standing:
        return msgspec.json.decode(self._call("GET", f"{API}/{quote(session)}"), type=Standing)

    def _missing(self, digests: list[str]) -> list[str]:
        return self._post("missing", sorted(set(digests)), list[str]) if digests else []

    def _post(self, name: str, told: Any, kind: type[T]) -> T:
        return msgspec.json.decode(self._call("POST", f"{API}/{name}", msgspec.msgpack.encode(told)), type=kind)

    def _put(self, path: str, source: Path) -> None:
        if source.is_file():
            with source.open("rb") as data:
                self._call("PUT", path, data, {"Content-Length": str(source.stat().st_size)})

    def _call(self, method: str, path: str, data: Any = None, headers: dict[str, str] | None = None) -> bytes:
        request = urllib.request.Request(self._url + path, data=data, method=method, headers=headers or {})
        request.add_header("Content-Type", "application/msgpack")
        if os.environ.get(TOKEN):
            request.add_header("Authorization", f"Bearer {os.environ[TOKEN]}")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                found: bytes = answer.read()
                return found
        except urllib.error.HTTPError as error:
            raise _refused(self._url, error) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise EnvironmentProblem(
                f"The server {self._url} does not answer: {reason}.", hint="Repeat when it does: bascule sync"
            ) from error


def remote(url: str) -> tuple[Target, None]:
    """Return a server as the place to bring journals to."""
    return ServerTarget(url), None


def _refused(url: str, error: urllib.error.HTTPError) -> Exception:
    try:
        said = msgspec.json.decode(error.read(), type=dict[str, Any])
        text = str(said.get("error") or said.get("message") or error.reason)
    except (OSError, msgspec.MsgspecError):
        text = str(error.reason)
    if error.code == 409:
        return Overtaken(text)
    if error.code in (401, 403):
        return InputError(f"The server {url} does not let us: {text}", hint=f"Set {TOKEN} to a writer's token.")
    return EnvironmentProblem(f"The server {url} answers {error.code}: {text}", hint="Its log says more.")
