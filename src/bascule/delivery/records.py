"""Writing a deployment: its object, its `rollouts` record and its audit entry, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, insert

from bascule.catalog import audit, new_id, now
from bascule.catalog.schema import rollouts
from bascule.delivery import aliasing, traffic
from bascule.delivery.traffic import Deployment
from bascule.history import Commit, Workspace


def state_of(ws: Workspace, ref: str | Commit, name: str) -> tuple[Deployment | None, str | None]:
    """Return the deployment and its digest, of one state; None for both when there is none."""
    head = ws.history.resolve(ref) if isinstance(ref, str) else ref
    return ws.history.read(head, f"deployments/{name}"), ws.history.digest(head, f"deployments/{name}")


def write(
    ws: Workspace,
    branch: str,
    before: Deployment | None,
    digest: str | None,
    after: Deployment,
    action: str,
    who: str,
    reason: str,
    evidence: Mapping[str, Any],
    at: Commit | None = None,
) -> Commit:
    """Commit a deployment's next state, with its record.

    Args:
        digest: of the state that the change is based on.
        at: the commit that a rollback was planned on: the alias `production` follows it (`aliasing`).

    Raises:
        Conflict: the deployment is not in that state any more, or its model when its alias is to move.
    """
    path = f"deployments/{after['name']}"
    after = traffic.without_needless_wait(after)
    shares = traffic.shown(after["traffic"])

    def also(conn: Connection, commit: Commit) -> None:
        record(conn, branch, before, after, action, who, {"reason": reason, **evidence}, commit.id)
        detail = {"branch": branch, "reason": reason, "revision": after["revision"], "to": after["traffic"]}
        audit.append(
            conn,
            actor=who,
            action="deploy" if action == "start" else action,
            subject=path,
            detail=detail | {"from": before["traffic"] if before else [], "commit": commit.id},
        )

    verb = {
        "deploy": "Deploy",
        "start": "Start a canary of",
        "rollback": "Roll back",
        "traffic": "Set traffic of",
        "wait": f"Let version {after.get('waits')} wait for",
    }
    message = f"{verb.get(action, action.capitalize())} {after['name']}: {shares}" + (f" ({reason})" if reason else "")
    changes, expect = {path: after}, {path: digest}
    if at is not None and before is not None and (moved := aliasing.taken_back(ws, at, before, after)):
        changes[moved[0]], expect[moved[0]] = moved[1], ws.history.digest(at, moved[0])
    return ws.history.commit(branch, changes, message=message, author=who, expect=expect, action=action, also=also)


def record(
    conn: Connection,
    branch: str,
    before: Deployment | None,
    after: Deployment,
    action: str,
    who: str,
    evidence: Mapping[str, Any],
    commit: str | None = None,
) -> str:
    """Write a `rollouts` record inside the caller's transaction and return its id."""
    name = new_id("rollout")
    conn.execute(
        insert(rollouts).values(
            id=name,
            branch=branch,
            deployment=after["name"],
            action=action,
            actor=who,
            from_json=_json(before["traffic"] if before else []),
            to_json=_json(after["traffic"]),
            evidence_json=_json(evidence),
            commit_id=commit,
            at=now(),
        )
    )
    return name


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
