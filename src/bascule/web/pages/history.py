"""Branches, commits, and what lies between two of them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.responses import Response

from bascule.server.reads import history
from bascule.server.routes import Call, Route
from bascule.web.lanes import lanes
from bascule.web.pages.common import View
from bascule.web.render import page

STEP = 50


class LogView(msgspec.Struct, frozen=True):
    """A state's commits; `path` keeps those that changed it."""

    ref: str = "main"
    path: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=history.LOG_LIMIT)] = STEP


class CompareView(msgspec.Struct, frozen=True):
    """Two states to compare."""

    ref: str = "main"
    before: str = "main"
    after: str | None = None


def log(call: Call[LogView, None]) -> Response:
    """The commits of a branch, and all branches and tags."""
    query = call.query
    found = history.log(call.workspace, query.ref, query.limit, query.path)
    drawn = lanes(found.commits) if query.path is None else []
    kinds = sorted({path.partition("/")[0] for path in history.paths(call.workspace, query.ref)})
    return page(
        call,
        "history.html",
        log=found,
        lanes=drawn,
        refs=history.refs(call.workspace),
        path=query.path or "",
        kinds=kinds,
        more=min(query.limit + STEP, history.LOG_LIMIT) if found.more else None,
    )


def commit(call: Call[View, None]) -> Response:
    """A commit with what it changed."""
    found = history.commit(call.workspace, call.path["ref"])
    return page(call, "commit.html", found=found, commit=found.commit)


def compare(call: Call[CompareView, None]) -> Response:
    """What differs from one state to another."""
    query = call.query
    after = query.after or query.ref
    found = history.compare(call.workspace, query.before, after)
    refs = history.refs(call.workspace)
    return page(call, "compare.html", found=found, before=query.before, after=after, refs=refs)


ROUTES = [
    Route("GET", "/history", log, "read", page=True),
    Route("GET", "/compare", compare, "read", page=True),
    Route("GET", "/commits/{ref:path}", commit, "read", page=True),
]
