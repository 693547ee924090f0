"""The route table: every way into the server, and the permission that each one asks for.

A route's types come from its function: `def runs(call: Call[RunQuery, None]) -> RunPage` reads its query parameters
into `RunQuery`, takes no body and answers with a `RunPage`. The same annotations give the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from starlette.requests import Request

from bascule.history import Workspace
from bascule.server.access import PERMISSIONS, Principal
from bascule.server.settings import ServerSettings

Q = TypeVar("Q")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """One request, checked and read: what an endpoint works with.

    Attributes:
        path: the parameters in the route's path.
        query: the query parameters, or None when the endpoint declares none.
        body: the body (JSON for the API, a form for a page; as it came when `bytes` are declared), or None when the
            endpoint declares none.
        form_token: what a form in the answer must send back, so that no other site can post it.
    """

    workspace: Workspace
    settings: ServerSettings
    principal: Principal
    path: Mapping[str, str]
    query: Q
    body: B
    request: Request
    form_token: str


Endpoint = Callable[[Call[Any, Any]], Any]


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the route table.

    Attributes:
        permission: one of `access.PERMISSIONS`; a route without one does not start.
        page: a page for people: errors are pages, bodies are forms and carry a form token.
        hidden: left out of the OpenAPI document.
        max_body: largest body in bytes; None takes the server's setting.
    """

    method: str
    path: str
    endpoint: Endpoint
    permission: str = ""
    page: bool = False
    hidden: bool = False
    max_body: int | None = None

    @property
    def summary(self) -> str:
        """The first line of the endpoint's docstring."""
        return (self.endpoint.__doc__ or "").strip().split("\n")[0]


@dataclass(frozen=True, slots=True)
class Shape:
    """The types that an endpoint declares; None for what it does not have."""

    query: type | None
    body: type | None
    answer: Any


class UndeclaredPermission(ValueError):
    """A route says not, or wrongly, who may use it. This is a mistake in the program, so the server does not start."""


def check_table(routes: Iterable[Route]) -> list[Route]:
    """Return the table, or raise when a route has no permission or is there twice.

    Raises:
        UndeclaredPermission: naming the route.
        ValueError: when two routes have the same method and path.
    """
    seen: set[tuple[str, str]] = set()
    table = list(routes)
    for route in table:
        if route.permission not in PERMISSIONS:
            raise UndeclaredPermission(
                f"{route.method} {route.path} declares the permission {route.permission!r}; "
                f"a route must declare one of: {', '.join(PERMISSIONS)}."
            )
        if (route.method, route.path) in seen:
            raise ValueError(f"{route.method} {route.path} is in the route table twice.")
        seen.add((route.method, route.path))
    return table


@lru_cache(1024)
def shape_of(endpoint: Endpoint) -> Shape:
    """Read query, body and answer types off an endpoint's annotations."""
    hints = get_type_hints(endpoint)
    answer = hints.pop("return", None)
    call = next(iter(hints.values()), None)
    if get_origin(call) is not Call:
        raise TypeError(f"{endpoint.__module__}.{endpoint.__qualname__} must take one Call[query, body].")
    query, body = get_args(call)
    return Shape(_declared(query), _declared(body), answer)


def _declared(kind: Any) -> type | None:
    return None if kind in (None, type(None), Any) else kind


def join(*tables: Sequence[Route]) -> list[Route]:
    """Put several tables into one."""
    return [route for table in tables for route in table]
