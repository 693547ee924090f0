"""Branches, commits and objects over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from bascule.server.reads import audit, history
from bascule.server.routes import Call, Route

BASE = "/api/bascule/v1"


class NewBranch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A branch to make."""

    name: str
    at: str = "main"


class DeleteBranch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether it goes even if main does not have all of it."""

    force: bool = False


class NewTag(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A state to name for good."""

    name: str
    at: str = "main"


class Tag(msgspec.Struct, frozen=True):
    """A tag that was made, as `bascule tag --json` prints it."""

    name: str
    commit: str


class LogQuery(msgspec.Struct, frozen=True):
    """Which commits."""

    ref: str = "main"
    path: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=history.LOG_LIMIT)] = 50


class DiffQuery(msgspec.Struct, frozen=True):
    """From which state to which."""

    after: str
    before: str = "main"


class PathsQuery(msgspec.Struct, frozen=True):
    """Which paths."""

    ref: str = "main"
    prefix: str = ""


class RefQuery(msgspec.Struct, frozen=True):
    """At which state."""

    ref: str = "main"


class AuditQuery(msgspec.Struct, frozen=True):
    """Which entries of the audit log."""

    before: int | None = None
    subject: str | None = None
    text: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = audit.PAGE


def branches(call: Call[None, None]) -> list[history.RefInfo]:
    """All branches, `main` first."""
    return history.branches(call.workspace)


def tags(call: Call[None, None]) -> list[history.RefInfo]:
    """All tags."""
    return [ref for ref in history.refs(call.workspace) if ref.kind == "tag"]


def create_branch(call: Call[None, NewBranch]) -> history.RefInfo:
    """Make a branch at a ref."""
    name = call.body.name
    call.workspace.history.create_branch(name, at=call.body.at, author=call.principal.name)
    return next(ref for ref in history.branches(call.workspace) if ref.name == name)


def delete_branch(call: Call[None, DeleteBranch]) -> None:
    """Remove a branch's name; its commits stay reachable by their ids."""
    call.workspace.history.delete_branch(call.path["name"], author=call.principal.name, force=call.body.force)


def create_tag(call: Call[None, NewTag]) -> Tag:
    """Name a state for good."""
    made = call.workspace.history.tag(call.body.name, at=call.body.at, author=call.principal.name)
    return Tag(made.name, made.head)


def log(call: Call[LogQuery, None]) -> history.Log:
    """A state's commits, youngest first."""
    return history.log(call.workspace, call.query.ref, call.query.limit, call.query.path)


def commit(call: Call[None, None]) -> history.CommitDetail:
    """A commit with what it changed."""
    return history.commit(call.workspace, call.path["ref"])


def diff(call: Call[DiffQuery, None]) -> history.Comparison:
    """What differs from one state to another."""
    return history.compare(call.workspace, call.query.before, call.query.after)


def objects(call: Call[PathsQuery, None]) -> dict[str, str]:
    """The paths of a state with the digests of their objects."""
    return history.paths(call.workspace, call.query.ref, call.query.prefix)


def one_object(call: Call[RefQuery, None]) -> dict[str, Any]:
    """The object at a path of a state."""
    return history.object_at(call.workspace, call.query.ref, call.path["path"])


def audit_log(call: Call[AuditQuery, None]) -> audit.AuditPage:
    """The audit log, youngest entries first."""
    query = call.query
    return audit.list_audit(
        call.workspace, before=query.before, subject=query.subject, text=query.text, limit=query.limit
    )


def audit_state(call: Call[None, None]) -> audit.AuditState:
    """Whether the audit log's chain holds."""
    return audit.verify_audit(call.workspace)


ROUTES = [
    Route("GET", f"{BASE}/branches", branches, "read"),
    Route("POST", f"{BASE}/branches", create_branch, "write"),
    Route("POST", f"{BASE}/branches/{{name:path}}/delete", delete_branch, "write"),
    Route("GET", f"{BASE}/tags", tags, "read"),
    Route("POST", f"{BASE}/tags", create_tag, "write"),
    Route("GET", f"{BASE}/log", log, "read"),
    Route("GET", f"{BASE}/diff", diff, "read"),
    Route("GET", f"{BASE}/objects", objects, "read"),
    Route("GET", f"{BASE}/objects/{{path:path}}", one_object, "read"),
    Route("GET", f"{BASE}/audit", audit_log, "read"),
    Route("GET", f"{BASE}/audit/state", audit_state, "read"),
    # Refs may hold slashes, so this one must not come before a longer path of its own.
    Route("GET", f"{BASE}/commits/{{ref:path}}", commit, "read"),
]
