"""Which path means what. A branch other than the server's is named in front: `/branch/NAME/v2/…`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, unquote_to_bytes

from bascule.errors import BasculeError, InputError, NotFound
from bascule.serving.http.message import HttpProblem

# Path below a model, with or without a version: the methods that it takes.
OF_MODEL = {
    "": ("GET",),
    "ready": ("GET",),
    "config": ("GET",),
    "stats": ("GET",),
    "infer": ("POST",),
    "predict": ("POST",),
    "invocations": ("POST",),
    "ground-truth": ("POST",),
}
OF_SERVER = {
    "": ("GET",),
    "v1/models": ("GET",),
    "v2": ("GET",),
    "v2/health/live": ("GET",),
    "v2/health/ready": ("GET",),
    "v2/models": ("GET",),
    "v2/models/stats": ("GET",),
    "v2/repository/index": ("POST",),
    "ground-truth": ("POST",),
    "get-online-features": ("POST",),
    "invocations": ("POST",),
    "ping": ("GET",),
    "health": ("GET",),
    "metrics": ("GET",),
    "openapi.json": ("GET",),
}
OF_MAIN_ALONE = ("", "metrics", "openapi.json")  # of the process, whatever branch
# KServe's first protocol, which its client speaks when it is not told otherwise: what stands behind a model's name.
OF_V1 = {"": "model:ready", ":predict": "model:predict", ":explain": "model:predict"}
OF_REPOSITORY = {"load": ("POST",), "unload": ("POST",)}
_WORDS = frozenset({"branch", "v1", "v2", "models", "versions", "repository", *OF_MODEL, *OF_REPOSITORY})
# What other servers of the protocol have beside it, and this one has not.
_ELSEWHERE = re.compile(
    r"/(?:branch/[^/]+/)?v2/(?:models/[^/]+/(?:versions/[^/]+/)?)?"
    r"(trace/setting|logging|systemsharedmemory|cudasharedmemory|generate(?:_stream)?)(?:/|$)"
)
_NEAR = 0.5
_EXAMPLES = ["/v2", "/v2/health/ready", "/v2/models/NAME/infer", "/v2/models/NAME/predict", "/openapi.json"]


@dataclass(frozen=True, slots=True)
class Route:
    """What a path means.

    Attributes:
        action: `v2/health/live`, … for the server; `model:infer`, … and `repository:load`, … for one deployment.
        methods: those that it takes, HEAD beside GET.
        branch: None for the server's own.
        name: of the deployment; "" for the server's actions.
        explain: what the query asks to be told beside the answer.
    """

    action: str
    methods: tuple[bytes, ...]
    branch: str | None = None
    name: str = ""
    version: int | None = None
    explain: str | None = None


def resolve(path: bytes) -> Route:
    """Return what a path means.

    Raises:
        NotFound: nothing.
        HttpProblem: an extension of the protocol that is not here.
        InputError: the path holds a version that is no number, or a name that is not UTF-8.
    """
    found = _route(path)
    if b"?" not in path:
        return found
    asked = parse_qs(path.partition(b"?")[2].decode("utf-8", "replace")).get("explain")  # of bytes it takes ASCII only
    return found if asked is None else replace(found, explain=asked[-1])


def _route(path: bytes) -> Route:
    parts = _parts(path)
    branch = None
    if len(parts) > 2 and parts[0] == "branch":
        branch, parts = parts[1], parts[2:]
    whole = "/".join(parts)
    if whole in OF_SERVER and not (branch and whole in OF_MAIN_ALONE):
        return Route(whole, _methods(OF_SERVER[whole]), branch)
    if parts[:2] == ["v2", "models"] and len(parts) > 2:
        return _model_route(path, branch, parts[2], parts[3:])
    if parts[:2] == ["v1", "models"] and len(parts) in (3, 5):
        return _first_route(path, branch, parts[2:])
    if parts[:3] == ["v2", "repository", "models"] and len(parts) == 5 and parts[4] in OF_REPOSITORY:
        return Route(f"repository:{parts[4]}", _methods(OF_REPOSITORY[parts[4]]), branch, parts[3])
    raise _unknown(path)


def _model_route(path: bytes, branch: str | None, name: str, rest: list[str]) -> Route:
    version = None
    if len(rest) >= 2 and rest[0] == "versions":
        version, rest = version_of(rest[1]), rest[2:]
    action = rest[0] if rest else ""
    if len(rest) > 1 or action not in OF_MODEL:
        raise _unknown(path)
    return Route(f"model:{action}", _methods(OF_MODEL[action]), branch, name, version)


def _first_route(path: bytes, branch: str | None, rest: list[str]) -> Route:
    """Return what a path of KServe's first protocol means: `M`, `M:predict`, `M/versions/1:explain`."""
    last, colon, verb = rest[-1].rpartition(":")
    name, *of_version = [*rest[:-1], last if colon else verb]
    action = OF_V1.get(f":{verb}" if colon else "")
    if action is None or (of_version and of_version[0] != "versions"):
        raise _unknown(path)
    version = version_of(of_version[1]) if of_version else None
    methods = _methods(OF_MODEL[action.removeprefix("model:")])
    return Route(action, methods, branch, name, version, "shap" if verb == "explain" and colon else None)


def _parts(path: bytes) -> list[str]:
    path = path.partition(b"?")[0].partition(b"#")[0]
    if not path.startswith(b"/"):  # the absolute form that proxies send: http://HOST/PATH
        path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
    try:
        return [unquote_to_bytes(part).decode() for part in path.strip(b"/").split(b"/")]
    except UnicodeDecodeError:
        raise InputError("The path is not UTF-8.") from None


def version_of(text: str) -> int:
    """Return a version's number, or raise `InputError`."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InputError(f"The version {text[:40]!r} is not a number.", hint="Versions count from 1.")
    return int(text)


def _methods(names: tuple[str, ...]) -> tuple[bytes, ...]:
    found = [name.encode() for name in names]
    return (*found, b"HEAD") if b"GET" in found else tuple(found)


def _unknown(path: bytes) -> BasculeError:
    asked = path.partition(b"?")[0][:80].decode("latin-1")
    if extension := _ELSEWHERE.match(asked):
        hint = "GET /v2 lists the extensions that it has."
        return HttpProblem(501, f"This server does not have {extension[1]!r}, asked for by {asked!r}.", hint=hint)
    near = difflib.get_close_matches(asked, list(_near(asked)), 1, _NEAR)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    return NotFound("path", asked, hint=f"{meant}There are: {', '.join(_EXAMPLES)}.")


def _near(asked: str) -> Iterator[str]:
    """Yield the paths that may have been meant: the server's, and those of each model that the path could name."""
    parts = [part for part in re.split("[/:]", asked) if part]
    branch, parts = (f"/branch/{parts[1]}", parts[2:]) if parts[:1] == ["branch"] and parts[1:] else ("", parts)
    yield from (f"{branch}/{path}" for path in OF_SERVER if not (branch and path in OF_MAIN_ALONE))
    for name in [part for part in parts[:4] if part not in _WORDS]:
        yield from (f"{branch}/v2/models/{name}/{action}".rstrip("/") for action in OF_MODEL)
        yield from (f"{branch}/v2/repository/models/{name}/{action}" for action in OF_REPOSITORY)
