"""Writing a deployment: its object, its `rollouts` record and its audit entry, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, insert, select

from bascule.catalog import audit, new_id, now
from bascule.catalog.schema import ref_log, rollouts
from bascule.delivery import aliasing, traffic
from bascule.delivery.strategies import words
from bascule.delivery.traffic import Deployment
from bascule.errors import BasculeError, Conflict, InputError
from bascule.history import Commit, Workspace
from bascule.naming import model_path
from bascule.registry.bundles import lost
from bascule.registry.deletions import deleted, told
from bascule.registry.withdrawals import blobs_of_version

# A registration or a move of another deployment of the model may come between; each try sees it.
TRIES = 20
LATELY_S = 60.0  # who rolls back within that after another one means the same incident


def state_of(ws: Workspace, ref: str | Commit, name: str) -> tuple[Deployment | None, str | None]:
    """Return the deployment and its digest, of one state; None for both when there is none."""
    head = ws.history.resolve(ref) if isinstance(ref, str) else ref
    return ws.history.read(head, f"deployments/{name}"), ws.history.digest(head, f"deployments/{name}")


@dataclass(frozen=True)
class Lately:
    """A rollback that was done a moment ago, and after which nothing else moved the traffic.

    Attributes:
        by: who did it; the controller is one of them.
        seconds: how long ago.
        before, after: the traffic that it took back, and what serves since.
    """

    by: str
    seconds: float
    before: list[dict[str, int]]
    after: list[dict[str, int]]


def rolled_back_lately(ws: Workspace, branch: str, name: str) -> Lately | None:
    """Return the deployment's last change, if that is a rollback of the last minute."""
    last = (select(rollouts).where(_of(branch, name), rollouts.c.action.not_in(("hold", "wait")))).order_by(
        rollouts.c.at.desc(), rollouts.c.id.desc()
    )
    with ws.catalog.read() as conn:
        row = conn.execute(last.limit(1)).first()
    if row is None or row.action != "rollback" or not 0 <= (seconds := (now() - row.at) / 1e6) < LATELY_S:
        return None
    return Lately(row.actor, round(seconds, 1), msgspec.json.decode(row.from_json), msgspec.json.decode(row.to_json))


def has_own_traffic(ws: Workspace, branch: str, name: str) -> bool:
    """Tell whether a branch has moved a deployment's traffic itself since it was made, or has only inherited it."""
    made = select(func.max(ref_log.c.at)).where(ref_log.c.ref == branch, ref_log.c.action == "create")
    own = select(rollouts.c.id).where(_of(branch, name), rollouts.c.action.not_in(("hold", "wait")))
    with ws.catalog.read() as conn:
        since = conn.execute(made).scalar() or 0
        return conn.execute(own.where(rollouts.c.at >= since).limit(1)).first() is not None


def changed_times(ws: Workspace, branch: str, name: str) -> int:
    """Return how many changes of a deployment a branch has on record: no revision of it there is higher."""
    with ws.catalog.read() as conn:
        return int(conn.execute(select(func.count()).select_from(rollouts).where(_of(branch, name))).scalar() or 0)


def refuse_gone(ws: Workspace, head: Commit, before: Deployment | None, after: Deployment) -> dict[str, str | None]:
    """Refuse to bring a version into service that was deleted, or whose bundle is gone.

    Returns:
        The model that this rests on, path to digest: nobody may have changed it when the deployment lands.

    Raises:
        InputError: it was deleted, and can be restored.
        Expired: it is gone for good; says since when and why.
    """
    fresh = traffic.needed(after) - (traffic.needed(before) if before else set())
    if not fresh:
        return {}
    path = model_path(after["model"])
    model = ws.history.read(head, path) or {"versions": {}}
    if missing := sorted(number for number in fresh if str(number) not in model["versions"]):
        for one in deleted(ws, head, after["model"]):
            if one.version in missing:
                raise InputError(told(one), hint=f"Bring it back first: bascule model restore {one.name}")
    gone = lost(ws)
    for number in sorted(fresh - set(missing)) if gone else ():
        version, runtime = model["versions"][str(number)], model.get("runtimes", {}).get(str(number))
        for digest in sorted(blobs_of_version(version, runtime) & gone.keys()):
            if not ws.store.has(digest):
                raise gone[digest]
    return {path: ws.history.digest(head, path)}


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
) -> Commit:
    """Commit a deployment's next state, with its record. The alias `production` follows what serves (`aliasing`).

    Args:
        digest: of the state that the change is based on.

    Raises:
        Conflict: the deployment is not in that state any more. Nothing was changed.
        InputError, Expired: it is to serve a version that was deleted, or whose bundle is gone.
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
        "start": f"Start {words((after.get('rollout') or {}).get('strategy', 'canary'))} of",
        "rollback": "Roll back",
        "traffic": "Set traffic of",
        "wait": f"Let version {after.get('waits')} wait for",
    }
    shares += traffic.told_unseen(after) if action == "start" else ""
    message = f"{verb.get(action, action.capitalize())} {after['name']}: {shares}" + (f" ({reason})" if reason else "")
    for attempt in range(TRIES):
        head = ws.history.resolve(branch)
        changes, expect = {path: after}, refuse_gone(ws, head, before, after) | {path: digest}
        if action != "wait":
            moved, looked_at = aliasing.followed(ws, head, before, after, back=action == "rollback")
            changes |= moved
            expect |= {other: ws.history.digest(head, other) for other in looked_at if other != path}
        try:
            return ws.history.commit(
                branch, changes, message=message, author=who, expect=expect, action=action, also=also
            )
        except Conflict as clash:
            if path in clash.paths or attempt + 1 == TRIES:
                raise
    raise AssertionError("unreachable")


def record_failure(ws: Workspace, branch: str, deployment: Deployment, who: str, failed: BasculeError) -> None:
    """Keep why what waits for a deployment could not be shipped."""
    with ws.catalog.write() as conn:
        reason = f"it could not be shipped: {failed.message}"
        evidence = {"reason": reason, "version": deployment["waits"], "failed": failed.message}
        record(conn, branch, deployment, deployment, "wait", who, evidence)


def last_failure(ws: Workspace, branch: str, name: str, version: int) -> str:
    """Return why a version that waits could not be shipped when that was tried last; empty when it was not tried."""
    last = (
        select(rollouts.c.evidence_json).where(_of(branch, name)).order_by(rollouts.c.at.desc(), rollouts.c.id.desc())
    )
    with ws.catalog.read() as conn:
        text = conn.execute(last.limit(1)).scalar()
    evidence = msgspec.json.decode(text) if text else {}
    return str(evidence.get("failed", "")) if evidence.get("version") == version else ""


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


def _of(branch: str, name: str) -> ColumnElement[bool]:
    return and_(rollouts.c.branch == branch, rollouts.c.deployment == name)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
