"""The endpoints: what each is called in the specification, who may use it, and what answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from bascule.protocols.iceberg import namespaces, tables, views
from bascule.protocols.iceberg.messages import Answer, Ask
from bascule.store import Place

VERSION = "v1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint.

    Attributes:
        path: as the specification writes it.
        permission: what one must be allowed to do to use it.
        listed: whether the configuration tells clients of it; old ones stumble over what they do not know.
    """

    method: str
    path: str
    permission: str
    answer: Callable[[Ask], Answer]
    listed: bool = True

    def parameters(self, segments: list[str]) -> dict[str, str] | None:
        """Return the path's parameters when it fits, or None."""
        names = self.path.strip("/").split("/")
        if len(names) != len(segments):
            return None
        found = {}
        for name, segment in zip(names, segments, strict=True):
            if name.startswith("{"):
                found[name[1:-1]] = unquote(segment, errors="strict")
            elif name != segment:
                return None
        return found


@dataclass(frozen=True, slots=True)
class Match:
    """An endpoint that an address means, the ref in the address before the version, and the path's parameters."""

    endpoint: Endpoint
    ref: str
    parameters: Mapping[str, str]


def match(method: str, path: str) -> Match | set[str]:
    """Find the endpoint for a path below the catalog's own, as it came: a decoded slash would be another path.

    HEAD finds what answers GET where nothing of its own does.

    Returns:
        The match, or the methods that the path has (none: nobody knows it).

    Raises:
        UnicodeDecodeError: for a path that is no text.
    """
    segments = path.strip("/").split("/")
    known: set[str] = set()
    for place, segment in enumerate(segments):
        if segment != VERSION:
            continue
        ref = "/".join(unquote(part, errors="strict") for part in segments[:place])
        for endpoint in ENDPOINTS:
            parameters = endpoint.parameters(segments[place:])
            if parameters is not None:
                if endpoint.method == method:
                    return Match(endpoint, ref, parameters)
                known.add(endpoint.method)
    return match("GET", path) if method == "HEAD" and "GET" in known else known


def config(ask: Ask) -> Answer:
    """Tell a client the prefix to use: the ref that it names as its warehouse, or by its address; else `main`."""
    ask.state()
    listed = [f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS if endpoint.listed]
    prefix = quote(ask.ref, safe="")
    defaults = storage_of(ask.workspace.lake_folder)
    return Answer({"defaults": defaults, "overrides": {"prefix": prefix}, "endpoints": listed})


def storage_of(lake_folder: Place) -> dict[str, str]:
    """Return where a client finds the tables' object storage, when that is not where it looks by itself. No keys."""
    if isinstance(lake_folder, Path):
        return {}
    told, found = lake_folder.shelf.bucket.options, {}
    if endpoint := told.get("endpoint_override"):
        address = endpoint if "://" in endpoint else f"{told.get('scheme', 'https')}://{endpoint}"
        found = {"s3.endpoint": address, "s3.path-style-access": "true"}
    if region := told.get("region"):
        found |= {"s3.region": region, "client.region": region}
    return found


_NAMESPACES = "/v1/{prefix}/namespaces"
_NAMESPACE = f"{_NAMESPACES}/{{namespace}}"
_TABLE = f"{_NAMESPACE}/tables/{{table}}"
_VIEW = f"{_NAMESPACE}/views/{{view}}"

ENDPOINTS = (
    Endpoint("GET", "/v1/config", "read", config, listed=False),
    Endpoint("GET", _NAMESPACES, "read", namespaces.list_all),
    Endpoint("POST", _NAMESPACES, "write", namespaces.create),
    Endpoint("GET", _NAMESPACE, "read", namespaces.load),
    Endpoint("HEAD", _NAMESPACE, "read", namespaces.exists),
    Endpoint("DELETE", _NAMESPACE, "write", namespaces.drop),
    Endpoint("POST", f"{_NAMESPACE}/properties", "write", namespaces.update),
    Endpoint("GET", f"{_NAMESPACE}/tables", "read", tables.list_all),
    Endpoint("POST", f"{_NAMESPACE}/tables", "write", tables.create),
    Endpoint("POST", f"{_NAMESPACE}/register", "write", tables.register),
    Endpoint("GET", _TABLE, "read", tables.load),
    Endpoint("HEAD", _TABLE, "read", tables.exists),
    Endpoint("POST", _TABLE, "write", tables.commit),
    Endpoint("DELETE", _TABLE, "write", tables.drop),
    Endpoint("POST", f"{_TABLE}/metrics", "read", tables.report),
    Endpoint("POST", "/v1/{prefix}/tables/rename", "write", tables.rename),
    Endpoint("POST", "/v1/{prefix}/transactions/commit", "write", tables.transact),
    Endpoint("GET", f"{_NAMESPACE}/views", "read", views.list_all),
    Endpoint("POST", f"{_NAMESPACE}/views", "write", views.create),
    Endpoint("GET", _VIEW, "read", views.load),
    Endpoint("HEAD", _VIEW, "read", views.exists),
    Endpoint("POST", _VIEW, "write", views.replace),
    Endpoint("DELETE", _VIEW, "write", views.drop),
    Endpoint("POST", "/v1/{prefix}/views/rename", "write", views.rename),
)
