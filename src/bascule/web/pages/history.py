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
    """A state's commits; `path` keeps those that changed it, `skip` leaves out the youngest."""

    ref: str = "main"
    path: str | None = None
    skip: Annotated[int, msgspec.Meta(ge=0, le=history.LOG_LIMIT - STEP)] = 0


class CompareView(msgspec.Struct, frozen=True):
    """Two states to compare."""

    ref: str = "main"
    before: str = "main"
    after: str | None = None


def log(call: Call[LogView, None]) -> Response:
    """The commits of a branch, and all branches and tags."""
    query = call.query
    end = query.skip + STEP
    found = history.log(call.workspace, query.ref, end, query.path)
    # The lines go on from page to page, so those of the pages before are drawn too.
    drawn = lanes(found.commits)[query.skip :] if query.path is None else []
    kinds = sorted({path.partition("/")[0] for path in history.paths(call.workspace, query.ref)})
    return page(
        call,
        "history.html",
        log=found,
        commits=found.commits[query.skip :],
        lanes=drawn,
        refs=history.refs(call.workspace),
        path=query.path or "",
        kinds=kinds,
        skip=query.skip,
        step=STEP,
        older=end if found.more and end <= history.LOG_LIMIT - STEP else None,
        beyond=found.more and end > history.LOG_LIMIT - STEP,
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
