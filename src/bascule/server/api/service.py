"""What machines ask of a service: is it well, and its figures."""

from __future__ import annotations

from itertools import chain

import msgspec
from sqlalchemy import text
from starlette.responses import Response

from bascule import __version__
from bascule.server.prometheus import CONTENT_TYPE, STREAMS, gauge, stream_lines, workspace_lines
from bascule.server.routes import Call, Route


class Health(msgspec.Struct, frozen=True):
    """The server answers and reaches its catalog."""

    status: str
    version: str


def health(call: Call[None, None]) -> Health:
    """Whether the server answers and reaches its catalog."""
    with call.workspace.catalog.read() as conn:
        conn.execute(text("SELECT 1"))
    return Health("ok", __version__)


def metrics(call: Call[None, None]) -> Response:
    """Figures in Prometheus' text format."""
    context = call.request.scope["bascule.context"]
    build = gauge("bascule_build_info", "This server.", [({"version": __version__}, 1)])
    streams = stream_lines(call.workspace.folder / STREAMS)
    lines = chain(build, context.meter.lines(), workspace_lines(call.workspace.catalog), streams)
    return Response("\n".join(lines) + "\n", headers={"content-type": CONTENT_TYPE})


ROUTES = [
    Route("GET", "/health", health, "public"),
    Route("GET", "/metrics", metrics, "read"),
]
