"""The one HTTP application of a workspace, put together from its route tables."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from bascule.errors import EnvironmentProblem
from bascule.history import Workspace
from bascule.server.answers import ErrorPage, plain_error_page
from bascule.server.api import service
from bascule.server.dispatch import Context, bind
from bascule.server.guard import Guard
from bascule.server.mlflow import Tracking
from bascule.server.routes import Route, check_table
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
    context = _context(workspace, settings or ServerSettings(), error_page, folder)
    from bascule.server.native import native_app

    return _assembled(context, native_app(context, routes))


def create_early_app(
    workspace: Workspace,
    settings: ServerSettings,
    *,
    routes: Callable[[], Sequence[Route]],
    error_page: ErrorPage,
    folder: Path | None = None,
) -> ASGIApp:
    """Return an application that answers clients of MLflow and probes at once, and loads the rest when it is asked for.

    So a server is there in a moment, and stays small while nobody looks at a page or a table. Arguments and errors as
    `create_app`; a route that does not say who may use it is found when the rest is loaded, and then
    none of it answers.
    """
    context = _context(workspace, settings, error_page, folder)

    def rest() -> ASGIApp:
        from bascule.server.native import native_app

        return native_app(context, routes())

    return _assembled(context, Later(check_table(service.ROUTES), context, rest))


def _context(workspace: Workspace, settings: ServerSettings, error_page: ErrorPage, folder: Path | None) -> Context:
    check_reach(workspace, settings)
    return Context(workspace, settings, error_page, folder)


def _assembled(context: Context, native: ASGIApp) -> ASGIApp:
    return Guard(Tracking(context, native), context.settings, context.error_page, context.meter.observe)


class Later:
    """An ASGI application that answers a few routes, and makes another one for all that is asked beside them.

    Args:
        early: the routes that it answers itself.
        make: makes the other one; called once, in a thread.
    """

    def __init__(self, early: Sequence[Route], context: Context, make: Callable[[], ASGIApp]) -> None:
        self._early = Starlette(routes=[StarletteRoute(r.path, bind(r, context), methods=[r.method]) for r in early])
        self._paths = frozenset(route.path for route in early)
        self._make = make
        self._made: ASGIApp | None = None
        self._turn = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        if scope["type"] == "http" and scope["path"] in self._paths and scope["method"] in ("GET", "HEAD"):
            await self._early(scope, receive, send)
            return
        app = self._made
        if app is None:
            app = await run_in_threadpool(self._once)
        await app(scope, receive, send)

    def _once(self) -> ASGIApp:
        with self._turn:
            if self._made is None:
                self._made = self._make()
            return self._made


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
