"""Deployments: who gets which traffic, how it is answered, what a rollout has shown, and every change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Row, select

from bascule.catalog import schema
from bascule.delivery import assess, waiting_for
from bascule.delivery.strategies import queries_of
from bascule.history import Commit, Workspace
from bascule.project.querying import logged
from bascule.server.reads.asking import Asker, asking
from bascule.serving.incidents import Incident, incidents_of

HISTORY = 100
BUCKETS = 60
SECOND = 1_000_000
WIDTHS = tuple(SECOND * n for n in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400))
WINDOWS = {"5m": 300, "1h": 3600, "1d": 86_400, "7d": 604_800, "30d": 2_592_000}

_SPAN = """
    SELECT min(epoch_us("at")), max(epoch_us("at")) FROM predictions WHERE branch = $branch AND deployment = $name"""
# Each version in each bucket, and each version over all buckets.
_SERVED = """
    SELECT grouping(bucket), bucket, version, count(*),
        quantile_cont(latency_us, 0.5), quantile_cont(latency_us, 0.95), quantile_cont(latency_us, 0.99),
        count(failed), coalesce(arg_max(failed, "at"), '')
    FROM (
        SELECT epoch_us("at") // {width} * {width} AS bucket, version, latency_us, "at",
            CASE WHEN score IS NULL THEN json_extract_string(output, '$.error') END AS failed FROM predictions
        WHERE branch = $branch AND deployment = $name AND epoch_us("at") >= $start
    )
    GROUP BY GROUPING SETS ((bucket, version), (version)) ORDER BY bucket, version"""

Window = Literal["5m", "1h", "1d", "7d", "30d"]


class Share(msgspec.Struct, frozen=True):
    """A version's share of the traffic, in percent."""

    version: int
    weight: int


class Wait(msgspec.Struct, frozen=True):
    """A version that waits to come into service, until something has happened."""

    version: int
    until: str


class DeploymentInfo(msgspec.Struct, frozen=True):
    """A deployment on a branch. `digest` is that of its object, to say what a change is based on.

    `waits` is the version that was merged while another one was rolling out, with what has to happen first.
    `incidents` is what broke while versions of its model were served, the last first.
    """

    name: str
    model: str
    strategy: str
    revision: int
    traffic: list[Share]
    rollout: dict[str, Any] | None
    rules: dict[str, Any]
    digest: str
    back_to: list[Share] | None
    waits: Wait | None = None
    incidents: list[Incident] = []


class RolloutChange(msgspec.Struct, frozen=True):
    """One change of a deployment's traffic, or a decision to leave it, with its evidence."""

    id: str
    action: str
    actor: str
    before: list[Share]
    after: list[Share]
    evidence: dict[str, Any]
    commit_id: str | None
    at: int


class Served(msgspec.Struct, frozen=True):
    """What one version answered in one bucket of time; latencies in microseconds.

    `failed` requests were answered by an error of the model, its worker or its steps: the last one was `why`.
    """

    start: int
    version: int
    requests: int
    p50: float
    p95: float
    p99: float
    failed: int = 0
    why: str = ""


class Traffic(msgspec.Struct, frozen=True):
    """What a deployment answered of late. `width` is that of the buckets, microseconds."""

    window: str
    width: int
    first: int | None
    last: int | None
    buckets: list[Served]
    totals: list[Served]


class RolloutState(msgspec.Struct, frozen=True):
    """What the controller would decide now, and the evidence that it would do so by."""

    action: str
    reason: str
    rows: int
    findings: list[dict[str, Any]]


def list_deployments(ws: Workspace, ref: str) -> list[DeploymentInfo]:
    """Return the deployments of a state."""
    digests, entries = ws.history.digests(ref, "deployments/"), list(ws.history.entries(ref, "deployments/"))
    broken = incidents_of(ws, ref, [value for _, value in entries])
    return [
        _deployment(ws, ref, value, digests[path], incidents)
        for (path, value), incidents in zip(entries, broken, strict=True)
    ]


def get_deployment(ws: Workspace, ref: str, name: str) -> DeploymentInfo:
    """Return one deployment.

    Raises:
        NotFound: with the nearest name.
    """
    state = ws.history.resolve(ref)
    value = ws.history.get(state, f"deployments/{name}")
    (broken,) = incidents_of(ws, state, [value])
    return _deployment(ws, state, value, ws.history.digest(state, f"deployments/{name}") or "", broken)


def changes(ws: Workspace, branch: str, name: str, limit: int = HISTORY) -> list[RolloutChange]:
    """Return the changes of a deployment, youngest first."""
    r = schema.rollouts.c
    wanted = select(schema.rollouts).where(r.branch == branch, r.deployment == name)
    with ws.catalog.read() as conn:
        return [_change(row) for row in conn.execute(wanted.order_by(r.at.desc(), r.id.desc()).limit(limit))]


def traffic(ws: Workspace, branch: str, name: str, window: str | None = None) -> Traffic:
    """Return requests and latency by version over time, up to the last request.

    Args:
        window: a key of `WINDOWS`; None takes the shortest that shows all traffic, at most 30 days.
    """
    return traffic_of(ws, branch, [name], window)[name]


def traffic_of(ws: Workspace, branch: str, names: Sequence[str], window: str | None = None) -> dict[str, Traffic]:
    """Return the traffic of several deployments."""
    if not names:
        return {}
    with asking(ws, branch) as asker:
        return {name: _traffic(asker, branch, name, window) for name in names}


def _traffic(asker: Asker, branch: str, name: str, window: str | None) -> Traffic:
    values = {"branch": branch, "name": name}
    first, last = asker.ask(_SPAN, values).rows[0]
    if last is None:
        return Traffic(window or "1d", SECOND, None, None, [], [])
    chosen = window or next((w for w, seconds in WINDOWS.items() if last - first <= seconds * SECOND), "30d")
    start = max(first, last - WINDOWS[chosen] * SECOND)
    width = next((w for w in WIDTHS if (last - start) / w <= BUCKETS), WIDTHS[-1])
    rows = asker.ask(_SERVED.format(width=width), values | {"start": start}).rows
    buckets = [Served(*row[1:]) for row in rows if not row[0]]
    totals = [Served(start, *row[2:]) for row in rows if row[0]]
    return Traffic(chosen, width, first, last, buckets, totals)


def rollout_state(ws: Workspace, branch: str, name: str) -> RolloutState | None:
    """Return how a rollout stands, or None when none is under way."""
    deployment = ws.history.get(branch, f"deployments/{name}")
    if deployment["rollout"] is None:
        return None
    with logged(ws, queries_of(deployment)) as connection:
        decision = assess(connection, branch, deployment)
    findings = [finding.as_dict() for finding in decision.findings]
    return RolloutState(decision.action, decision.reason, decision.rows, findings)


def _deployment(
    ws: Workspace, ref: str | Commit, value: dict[str, Any], digest: str, incidents: list[Incident]
) -> DeploymentInfo:
    later = waiting_for(ws, ref, value, ref if isinstance(ref, str) else None)
    rollout, trail = value.get("rollout"), value.get("trail") or []
    back = [{"version": rollout["stable"], "weight": 100}] if rollout else trail[-1]["traffic"] if trail else None
    return DeploymentInfo(
        name=value["name"],
        model=value["model"],
        strategy=value.get("strategy", ""),
        revision=int(value.get("revision", 0)),
        traffic=_shares(value.get("traffic", [])),
        rollout=rollout,
        rules=value.get("rules") or {},
        digest=digest,
        back_to=None if back is None else _shares(back),
        waits=Wait(later.version, later.until) if later else None,
        incidents=incidents,
    )


def _change(row: Row[Any]) -> RolloutChange:
    decode = msgspec.json.decode
    return RolloutChange(
        row.id,
        row.action,
        row.actor,
        _shares(decode(row.from_json)),
        _shares(decode(row.to_json)),
        decode(row.evidence_json),
        row.commit_id,
        row.at,
    )


def _shares(value: Any) -> list[Share]:
    return msgspec.convert(value or [], list[Share])
