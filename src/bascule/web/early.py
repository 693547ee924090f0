"""The whole application, of which the pages and all that they stand on are loaded when they are first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from bascule.errors import BasculeError
from bascule.history import Workspace
from bascule.server import app
from bascule.server.routes import Route
from bascule.server.settings import ServerSettings


def create_early_app(workspace: Workspace, settings: ServerSettings, *, folder: Path | None = None) -> ASGIApp:
    """Return the application of `create_app`, loaded as late as can be.

    Raises:
        EnvironmentProblem: when others could connect and there is no token to know them by.
    """
    return app.create_early_app(workspace, settings, routes=_pages, error_page=_error_page, folder=folder)


def _pages() -> Sequence[Route]:
    from bascule.web.app import PAGES

    return PAGES


def _error_page(request: Request, status: int, error: BasculeError) -> Response:
    from bascule.web.render import error_page

    return error_page(request, status, error)
