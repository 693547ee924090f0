"""The overview: is all well, what serves, what changed last; and the way from an id to its page."""

from __future__ import annotations

from urllib.parse import quote

import msgspec
from starlette.responses import RedirectResponse, Response

from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.project.place import PROJECT_FILE
from bascule.server.reads import deployments, history, models, monitoring, runs, tables
from bascule.server.routes import Call, Route
from bascule.web.pages.common import View
from bascule.web.render import href, page

COMMITS, RUNS, ALERTS = 8, 6, 5
# Where ids with these prefixes are shown.
BY_PREFIX = {"run_": "/runs/", "alert_": "/alerts/"}
BY_KIND = {"tables": "/data/", "models": "/models/", "deployments": "/deployments/", "monitors": "/monitoring/"}


class GoView(msgspec.Struct, frozen=True):
    """An id, a name or a path to go to."""

    ref: str = "main"
    q: str = ""


def home(call: Call[View, None]) -> Response:
    """The overview of a branch."""
    ws, ref = call.workspace, call.query.ref
    versions = [version for model in models.list_models(ws, ref) for version in model.versions]
    served = deployments.list_deployments(ws, ref)
    traffic = deployments.traffic_of(ws, ref, [one.name for one in served])
    return page(
        call,
        "home.html",
        log=history.log(ws, ref, COMMITS),
        deployments=[(one, traffic[one.name]) for one in served],
        versions={(one.model, one.version): one for one in versions},
        alerts=[one for one in monitoring.list_alerts(ws, branch=ref, limit=ALERTS) if one.status == "firing"],
        runs=runs.list_runs(ws, limit=RUNS).runs,
        tables=tables.list_tables(ws, ref),
        has_file=(ws.folder.parent / PROJECT_FILE).exists(),
        jobs=[job for job in monitoring.list_jobs(ws, ref, limit=5) if job.status in ("waiting", "running")],
    )


def go(call: Call[GoView, None]) -> Response:
    """Go to the page of an id, a name, a path or a commit."""
    asked, ref = call.query.q.strip(), call.query.ref
    if not asked:
        return RedirectResponse(href("/", ref), 303)
    return RedirectResponse(href(find_page(call.workspace, ref, asked), ref), 303)


def find_page(ws: Workspace, ref: str, asked: str) -> str:
    """Return the address of the page about something.

    Raises:
        NotFound: nothing here has that id or name; the nearest names are offered.
    """
    for prefix, where in BY_PREFIX.items():
        if asked.startswith(prefix):
            return where + asked
    named: dict[str, str] = {}
    for path in history.paths(ws, ref):
        kind, _, name = path.partition("/")
        if kind in BY_KIND:
            named[path] = named[name] = BY_KIND[kind] + name
    if asked in named:
        return named[asked]
    try:
        return f"/commits/{history.commit(ws, asked).commit.id}"
    except (NotFound, InputError):
        pass
    if asked.startswith("pred") or len(asked) >= 20:
        return f"/predictions/{quote(asked, safe='')}"
    raise NotFound("id, name or commit", asked, named)


ROUTES = [
    Route("GET", "/", home, "read", page=True),
    Route("GET", "/go", go, "read", page=True),
]
