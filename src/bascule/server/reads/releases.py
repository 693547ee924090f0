"""Releases: the tags, with what each served and whether a branch has had that state."""

from __future__ import annotations

import msgspec

from bascule.history import Workspace
from bascule.server.reads.deployments import Share


class Release(msgspec.Struct, frozen=True):
    """A tag.

    Attributes:
        commit: the state that it names, with its message, author and time.
        traffic: of each deployment of that state.
        past: whether the branch that is looked at has had that state, so that it can be gone back to.
        now: whether the branch is there.
    """

    name: str
    commit: str
    message: str
    author: str
    created_at: int
    traffic: dict[str, list[Share]]
    past: bool
    now: bool


def releases(ws: Workspace, ref: str) -> list[Release]:
    """Return all releases, those that were made last first.

    Args:
        ref: a branch, or another state, whose past they are looked for in.

    Raises:
        NotFound: there is no such state.
    """
    head = ws.history.resolve(ref)
    found = []
    for tag in ws.history.tags():
        state = ws.history.commit_by_id(tag.head)
        entries = ws.history.entries(state, "deployments/")
        traffic = {path.partition("/")[2]: msgspec.convert(one["traffic"], list[Share]) for path, one in entries}
        past = ws.history.is_ancestor(state, head)
        about = (state.message, state.author, tag.created_at)
        found.append(Release(tag.name, state.id, *about, traffic, past, state.id == head.id))
    return sorted(found, key=lambda one: (-one.created_at, one.name))
