"""The part of the application that answers natively: the API, the Iceberg catalog and what rooms above add.

It stands on all rooms, and with them on the engines; so it is loaded when somebody first asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.routing import Route as StarletteRoute

from bascule.errors import InputError
from bascule.server.answers import ErrorPage, error_answer, wants_page
from bascule.server.api.table import API
from bascule.server.dispatch import Context, bind
from bascule.server.iceberg import PLACE, IcebergCatalog
from bascule.server.openapi import openapi_route
from bascule.server.routes import Route, check_table, join


def native_app(context: Context, routes: Sequence[Route]) -> Starlette:
    """Return the application of all routes.

    Args:
        routes: what rooms above add.

    Raises:
        UndeclaredPermission: when a route does not say who may use it.
    """
    table = check_table(join(API, routes))
    table.append(openapi_route(table))
    native = [StarletteRoute(route.path, bind(route, context), methods=[route.method]) for route in table]
    return Starlette(
        routes=[Mount(PLACE, IcebergCatalog(context)), *native],
        exception_handlers={HTTPException: _unmatched(context.error_page)},
    )


def _unmatched(error_page: ErrorPage) -> Callable[[Request, Exception], Response]:
    def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        for_people = wants_page(request)
        if error.status_code == 405:
            said = InputError(
                f"{request.method} is not understood at {request.url.path}.", hint="/api/openapi.json lists what is."
            )
        else:
            hint = "Look it up on the overview by its name or id." if for_people else "See /api/openapi.json."
            said = InputError(f"There is nothing at {request.url.path}.", hint=hint)
        page = error_page if for_people else None
        return error_answer(request, error.status_code, said, page, error.headers)

    return answer
