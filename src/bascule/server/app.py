"""The one HTTP application of a workspace, put together from its route tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp

from bascule.errors import EnvironmentProblem, InputError
from bascule.history import Workspace
from bascule.server.answers import ErrorPage, error_answer, plain_error_page, wants_page
from bascule.server.api import API
from bascule.server.dispatch import Context, bind
from bascule.server.guard import Guard
from bascule.server.iceberg import PLACE, IcebergCatalog
from bascule.server.mlflow import Tracking
from bascule.server.openapi import openapi_route
from bascule.server.routes import Route, check_table, join
from bascule.server.settings import ServerSettings
from bascule.server.tokens import count_active


def create_app(
    workspace: Workspace,
    settings: ServerSettings | None = None,
    *,
    routes: Sequence[Route] = (),
    error_page: ErrorPage = plain_error_page,
    folder: Path | None = None,
) -> ASGIApp:
    """Return the ASGI application for a workspace.

    Args:
        routes: what rooms above add to the native API, such as the pages.
        error_page: how an error is shown to people.
        folder: the project's, whose own checks hold what clients write to protected branches.

    Raises:
        UndeclaredPermission: when a route does not say who may use it.
        EnvironmentProblem: when others could connect and there is no token to know them by.
    """
    settings = settings or ServerSettings()
    check_reach(workspace, settings)
    table = check_table(join(API, routes))
    table.append(openapi_route(table))
    context = Context(workspace, settings, error_page, folder)
    native = [StarletteRoute(route.path, bind(route, context), methods=[route.method]) for route in table]
    app = Starlette(
        routes=[Mount(PLACE, IcebergCatalog(context)), *native],
        exception_handlers={HTTPException: _unmatched(error_page)},
    )
    return Guard(Tracking(context, app), settings, error_page, context.meter.observe)


def check_reach(workspace: Workspace, settings: ServerSettings) -> None:
    """Refuse to listen where others can connect while nobody can be told from anybody.

    Raises:
        EnvironmentProblem: naming the address and the way out.
    """
    if settings.tokens_required and count_active(workspace.catalog) == 0:
        where = "asks for tokens" if settings.loopback else f"would listen on {settings.host}, where others can connect"
        raise EnvironmentProblem(
            f"This server {where}, and there is no token yet.",
            hint="Make one first with: bascule token create NAME --role admin",
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
