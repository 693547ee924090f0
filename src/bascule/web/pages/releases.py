"""Releases: the tags of a branch's past with what they served, and the button that takes everything back to one."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import RedirectResponse, Response

from bascule.errors import NotFound
from bascule.project.releasing import go_back
from bascule.server.api.landing import branch_to_land
from bascule.server.reads import history, releases
from bascule.server.routes import Call, Route
from bascule.web.pages.common import View
from bascule.web.render import href, page


class ReleasesView(msgspec.Struct, frozen=True):
    """Whose past is shown, and the release that was just gone back to."""

    ref: str = "main"
    done: str | None = None


class GoBackForm(msgspec.Struct, frozen=True):
    """What a person confirms: which branch, based on which state of it, and why."""

    branch: str
    expect: str
    reason: str = ""


def list_releases(call: Call[ReleasesView, None]) -> Response:
    """The releases, youngest first."""
    ref = call.query.ref
    found = releases.releases(call.workspace, ref)
    on_branch = history.is_branch(call.workspace, ref)
    may_go = on_branch and call.principal.may("deploy")
    return page(call, "releases.html", releases=found, on_branch=on_branch, may_go=may_go, done=call.query.done)


def confirm(call: Call[View, None]) -> Response:
    """Ask once before everything is taken back."""
    ref, found = call.query.ref, _release(call)
    history.demand_branch(call.workspace, ref)
    head = call.workspace.history.resolve(ref)
    changes = history.compare(call.workspace, head.id, found.commit).changes
    return page(call, "release.html", found=found, changes=changes, head_id=head.id, command=command(found.name, ref))


def change(call: Call[View, GoBackForm]) -> Response:
    """Go back by the same function as the command line and the API."""
    form, found = call.body, _release(call)
    branch = branch_to_land(call, form.branch)
    go_back(call.workspace, found.name, branch, reason=form.reason.strip(), by=call.principal.name, expect=form.expect)
    return RedirectResponse(href("/releases", branch, done=found.name), 303)


def command(name: str, branch: str) -> str:
    """The same from a terminal."""
    return f"bascule rollback {name}{'' if branch == 'main' else f' --branch {branch}'}"


def _release(call: Call[View, Any]) -> releases.Release:
    name = call.path["tag"]
    found = releases.releases(call.workspace, call.query.ref)
    for one in found:
        if one.name == name:
            return one
    raise NotFound("release", name, [one.name for one in found])


ROUTES = [
    Route("GET", "/releases", list_releases, "read", page=True),
    Route("GET", "/releases/{tag:path}", confirm, "deploy", page=True),
    Route("POST", "/releases/{tag:path}", change, "deploy", page=True),
]
