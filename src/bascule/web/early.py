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
from bascule.server.scheduler import Tick
from bascule.server.settings import ServerSettings

EVERY_S = 2.0


def create_early_app(workspace: Workspace, settings: ServerSettings, *, folder: Path | None = None) -> ASGIApp:
    """Return the application of `create_app`, loaded as late as can be.

    Raises:
        EnvironmentProblem: when others could connect and there is no token to know them by.
    """
    return app.create_early_app(workspace, settings, routes=_pages, error_page=_error_page, folder=folder)


def at_hand() -> Tick:
    """Return what loads the rest before it is asked for, once something is deployed: a rollback must not wait then."""
    done = False

    def load(workspace: Workspace) -> None:
        nonlocal done
        history = workspace.history
        if not done and any(True for ref in history.branches() for _ in history.entries(ref.head, "deployments/")):
            from bascule.server import native  # noqa: F401  # what it stands on is most of the time

            _pages()
            done = True

    return Tick("pages", EVERY_S, load)


def _pages() -> Sequence[Route]:
    from bascule.web.app import PAGES

    return PAGES


def _error_page(request: Request, status: int, error: BasculeError) -> Response:
    from bascule.web.render import error_page

    return error_page(request, status, error)
