"""The whole application: the API of the server with the pages before it."""

from __future__ import annotations

from pathlib import Path

from starlette.types import ASGIApp

from bascule.history import Workspace
from bascule.server import app as server
from bascule.server.routes import join
from bascule.server.settings import ServerSettings
from bascule.web import static
from bascule.web.pages import (
    audit,
    data,
    deployments,
    features,
    history,
    home,
    models,
    monitoring,
    predictions,
    releases,
    runs,
    session,
    trying,
)
from bascule.web.render import error_page

PAGES = join(
    home.ROUTES,
    history.ROUTES,
    data.ROUTES,
    features.ROUTES,
    runs.ROUTES,
    models.ROUTES,
    trying.ROUTES,
    deployments.ROUTES,
    releases.ROUTES,
    monitoring.ROUTES,
    predictions.ROUTES,
    audit.ROUTES,
    session.ROUTES,
    static.ROUTES,
)


def create_app(workspace: Workspace, settings: ServerSettings | None = None, *, folder: Path | None = None) -> ASGIApp:
    """Return the ASGI application for a workspace: pages, API, metrics and health.

    Args:
        folder: the project's; see `bascule.server.create_app`.

    Raises:
        EnvironmentProblem: when others could connect and there is no token to know them by.
    """
    return server.create_app(workspace, settings, routes=PAGES, error_page=error_page, folder=folder)
