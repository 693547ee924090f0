"""The files that pages need. They come with the package, are read once, and nothing else can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from blake3 import blake3
from starlette.responses import Response

from bascule.errors import NotFound
from bascule.server.routes import Call, Route

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}
YEAR = 31_536_000


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file with its type and the start of its digest, which is part of its address."""

    body: bytes
    media_type: str
    tag: str


@cache
def static_files() -> dict[str, StaticFile]:
    """All files by name, such as `vendor/htmx.min.js`."""
    # A profile's style lies beside what writes a profile as a page of its own.
    body = (files("bascule.project.profiling") / "profile.css").read_bytes()
    style = StaticFile(body, TYPES[".css"], blake3(body).hexdigest()[:12])
    return {**dict(_walk(files("bascule.web") / "static", "")), "profile.css": style}


def static_url(name: str) -> str:
    """The address of a file; it changes when the file does, so that it can be kept for a year."""
    return f"/static/{name}?v={static_files()[name].tag}"


def static(call: Call[None, None]) -> Response:
    """A file that pages need."""
    found = static_files().get(call.path["name"])
    if found is None:
        raise NotFound("file", call.path["name"])
    headers = {"etag": f'"{found.tag}"', "cache-control": f"public, max-age={YEAR}, immutable"}
    if call.request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(found.body, headers={**headers, "content-type": found.media_type})


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, StaticFile]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
            continue
        kind = next((kind for suffix, kind in TYPES.items() if entry.name.endswith(suffix)), None)
        if kind:
            body = entry.read_bytes()
            found.append((prefix + entry.name, StaticFile(body, kind, blake3(body).hexdigest()[:12])))
    return found


# Public: they hold nothing of the workspace, and the page that asks for a token needs them.
ROUTES = [Route("GET", "/static/{name:path}", static, "public", page=True)]
