"""How a rollout goes on: its next step, other weights, without one of its versions, and its end."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from bascule.catalog import actor
from bascule.delivery import traffic
from bascule.delivery.deployments import ended, read_deployment
from bascule.delivery.environments import demand_arriving_approved
from bascule.delivery.records import state_of, write
from bascule.delivery.traffic import Deployment
from bascule.delivery.versus import challengers, several
from bascule.errors import InputError
from bascule.history import Commit, Workspace


def advance(
    ws: Workspace,
    branch: str,
    name: str,
    *,
    by: str | None = None,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    expect: str | None = None,
) -> Commit:
    """Give the canary its next percentage; the last step promotes it.

    Args:
        evidence: what the decision rests on, JSON-able; kept with the record.
        expect: the digest of the deployment that was judged; None takes the present one.

    Raises:
        NotFound: unknown deployment.
        InputError: no rollout is under way.
        CheckFailed: the version lacks approvals that its environment asks for, or was rejected meanwhile.
        Conflict: the deployment is not the one that was judged any more.
    """
    before, digest, rollout = _rollout(ws, branch, name, expect)
    if rollout["step"] + 1 >= len(rollout["steps"]) - 1:
        return promote(ws, branch, name, by=by, reason=reason, evidence=evidence, expect=digest)
    return _approved(ws, branch, before, digest, traffic.advanced(before), "advance", by, reason, evidence)


def reweigh(
    ws: Workspace,
    branch: str,
    name: str,
    shares: int | Mapping[int, int],
    *,
    seen: int,
    by: str | None = None,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    expect: str | None = None,
) -> Commit:
    """Give a bandit's new version another percentage; with several new ones all versions.

    Args:
        shares: 1 to 99; or version to percentage, which sum to 100.
        seen: how many units the weights rest on.

    The other arguments and errors are those of `advance`.
    """
    before, digest, rollout = _rollout(ws, branch, name, expect)
    fits = rollout.get("strategy") == "bandit" and several(rollout) != isinstance(shares, int)
    after = before
    if fits and isinstance(shares, int):
        fits = 1 <= shares <= 99
        after = traffic.reweighed(before, shares, seen)
    elif fits and not isinstance(shares, int):
        fits = set(shares) == {rollout["stable"], *challengers(rollout)} and sum(shares.values()) == 100
        after = traffic.shared(before, shares, seen)
    if not fits:
        raise InputError(f"Deployment {name!r} has no bandit under way that could get {shares} %.")
    return _approved(ws, branch, before, digest, after, "reweigh", by, reason, evidence)


def drop(
    ws: Workspace,
    branch: str,
    name: str,
    versions: Collection[int],
    *,
    by: str | None = None,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    expect: str | None = None,
) -> Commit:
    """Take some of a rollout's new versions out of it: stable gets their traffic, and the others go on.

    Args:
        versions: some, not all: all leave by `rollback`.

    The other arguments and errors are those of `advance`.
    """
    before, digest, rollout = _rollout(ws, branch, name, expect)
    known, asked = challengers(rollout), ", ".join(map(str, versions))
    if not versions or not set(versions) < set(known):
        raise InputError(
            f"Version {asked} cannot leave the rollout of versions {', '.join(map(str, known))}.",
            hint=f"All of them leave with: bascule rollback {name}",
        )
    return _approved(ws, branch, before, digest, traffic.without(before, versions), "drop", by, reason, evidence)


def promote(
    ws: Workspace,
    branch: str,
    name: str,
    *,
    version: int | None = None,
    by: str | None = None,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    expect: str | None = None,
) -> Commit:
    """Give the canary all traffic and end the rollout; what waited for its end is rolled out then.

    Args:
        version: which one, where there are several new ones.

    The other arguments and errors are those of `advance`.
    """
    before, digest, rollout = _rollout(ws, branch, name, expect)
    known = challengers(rollout)
    if version is None and len(known) > 1:
        raise InputError(
            f"Deployment {name!r} compares several new versions: {', '.join(map(str, known))}.",
            hint=f"Say which one is to serve: bascule deployment traffic {name} {known[0]}=100",
        )
    chosen = known[0] if version is None else version
    if chosen not in known:
        raise InputError(f"Version {chosen} is not rolling out in {name!r}: {', '.join(map(str, known))}.")
    after = traffic.with_stable(before, [{"version": chosen, "weight": 100}])
    demand_arriving_approved(ws, branch, before, after)
    return ended(ws, branch, before, digest, after, "promote", by or actor(), reason, evidence or {})


def _approved(
    ws: Workspace,
    branch: str,
    before: Deployment,
    digest: str | None,
    after: Deployment,
    action: str,
    by: str | None,
    reason: str,
    evidence: Mapping[str, Any] | None,
) -> Commit:
    """Write the next state of a rollout that goes on, when every version that gets more traffic is approved."""
    demand_arriving_approved(ws, branch, before, after)
    return write(ws, branch, before, digest, after, action, by or actor(), reason, evidence or {})


def _rollout(
    ws: Workspace, branch: str, name: str, expect: str | None
) -> tuple[Deployment, str | None, dict[str, Any]]:
    before, digest = state_of(ws, branch, name)
    if before is None:
        before = read_deployment(ws, branch, name)
    if before["rollout"] is None:
        raise InputError(
            f"Deployment {name!r} on {branch!r} has no rollout under way: {traffic.shown(before['traffic'])}.",
            hint="Start one by deploying another version.",
        )
    return before, expect or digest, before["rollout"]
