"""Which versions of a model get which traffic, and every change of it.

Each change is one commit with its `rollouts` record and its audit entry, in one transaction: all of it happened, or
none. A deployment object holds what serving needs to know (`traffic`, `rollout`) and a short trail of the stable
traffic before, so that rolling back needs no search and can be repeated.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from bascule.catalog import actor
from bascule.delivery import traffic
from bascule.delivery.engines import engine_left
from bascule.delivery.environments import demand_approved, demand_arriving_approved, gates_of, lacking, own_gates
from bascule.delivery.planning import DEFAULT_STEPS, limits_of, rules_of
from bascule.delivery.records import changed_times, record_failure, state_of, write
from bascule.delivery.strategies import BY_GOAL, CAREFUL, COMPARING, STRATEGIES
from bascule.delivery.traffic import Deployment
from bascule.delivery.waiting import Waiting, obstacle
from bascule.errors import BasculeError, CheckFailed, Conflict, InputError, NotFound
from bascule.history import Commit, Workspace
from bascule.registry import ModelVersion, get_version, production
from bascule.registry.external import FORMAT

TRIES = 20


def read_deployment(ws: Workspace, ref: str, name: str) -> Deployment:
    """Return the deployment of that name on a ref.

    Raises:
        NotFound: when there is none, with the nearest name.
    """
    return ws.history.get(ref, f"deployments/{name}")


def deploy(
    ws: Workspace,
    branch: str,
    name: str,
    model: str,
    version: int | str,
    *,
    strategy: str = "canary",
    steps: Sequence[int] = DEFAULT_STEPS,
    shadow: bool = True,
    guardrails: Mapping[str, Any] | None = None,
    plan: Mapping[str, Any] | None = None,
    also: Sequence[int | str] = (),
    once: bool = False,
    asked: Mapping[str, Any] | None = None,
    by: str | None = None,
    reason: str = "",
    expect: str | None = None,
) -> Commit:
    """Bring a version into service. The first one of a deployment gets all traffic; a later one goes by the strategy.

    Args:
        version: a number, or an alias such as `production`.
        strategy: one of `strategies.STRATEGIES`. All but `all_at_once` compare the version with the one that serves,
            under `guardrails`, and take it back when it does harm.
        plan: what the strategy goes by, as `strategies.Plan`: the goal of `ab` and `bandit`, their share, how long
            `blue_green` keeps the version before.
        also: further versions, which an A/B test or a bandit compares with the one that serves at the same time.
        once: these are rules for this version alone: a deployment that is there keeps its own for later ones.
        asked: what a new deployment says beside its rules, as `planned` has it: `log`, `requests` and `service`. One
            that is there keeps its own.
        steps: the canary's percentages, rising integers that end with 100.
        shadow: whether both versions score each request during the rollout (the caller sees one), which makes the
            comparison paired and needs far fewer requests.
        expect: the digest of the deployment that was looked at; None takes the present one.

    Raises:
        NotFound: unknown branch, model or version, with the nearest name.
        InputError: the version serves already, the steps, guardrails or plan cannot be used, or the strategy needs what
            is missing.
        CheckFailed: the version did not pass its gates and nobody forced it, or lacks approvals that are asked for.
        Conflict: another rollout of this deployment is under way, or it is not the one that was looked at any more.
    """
    who = by or actor()
    if strategy not in STRATEGIES:
        raise NotFound("strategy", strategy, STRATEGIES)
    rules = rules_of(steps, shadow, guardrails, plan, strategy)
    fit = [_fit_to_serve(ws, branch, model, one) for one in (version, *also)]
    found, digest = state_of(ws, branch, name)
    fresh = {**(asked or {}), "revision": changed_times(ws, branch, name)}
    before = found or traffic.planned(name, model, strategy, rules) | fresh
    _demand_comparable(before, fit, strategy)
    gates = gates_of(ws, branch, found)
    rules |= own_gates(found)  # those of neighbours are looked up anew each time: they may change
    chosen, *others = [_readied(ws, branch, before, one, strategy, gates, who) for one in fit]
    left = engine_left(ws, branch, before, chosen.version)
    told = {"version": chosen.version, "engine_left": left} if left else {}
    kept: Deployment = (
        {field: found[field] for field in ("strategy", "rules") if field in found} if once and found else {}
    )
    if strategy in COMPARING and before["traffic"]:
        limits, further = limits_of(rules, chosen), [one.version for one in others]
        after = traffic.with_rollout(before, chosen.version, strategy, rules, limits, further)
        after |= kept
        return write(ws, branch, before, expect or digest, after, "start", who, reason, told)
    after = traffic.with_stable(before, [{"version": chosen.version, "weight": 100}])
    after |= {"strategy": strategy, "rules": rules} | kept
    return write(ws, branch, before, expect or digest, after, "deploy", who, reason, told)


def ship(ws: Workspace, branch: str, name: str, version: int, *, by: str | None = None) -> Commit | Waiting:
    """Bring a version that was merged into service by the deployment's own rules, or let it wait while that cannot be.

    What waits is written into the deployment. It comes into service by `ship_waiting`, which every end of a rollout
    calls. There is one that waits: a newer one takes the place of the one before.

    Raises:
        NotFound: unknown branch, deployment or version.
        CheckFailed: the version did not pass its gates and nobody forced it.
        Conflict: the deployment changed again and again meanwhile.
    """
    who = by or actor()
    for _ in range(TRIES):
        before, digest = state_of(ws, branch, name)
        if before is None:
            before = read_deployment(ws, branch, name)
        chosen = _fit_to_serve(ws, branch, before["model"], version)
        why = obstacle(before, chosen, lacking(ws, branch, before, chosen))
        try:
            if why is None:
                return _deploy_by_rules(ws, branch, before, digest, version, who, "merged")
            if before.get("waits") != version:
                after = before | {"waits": version}
                write(ws, branch, before, digest, after, "wait", who, f"until {why}", {"version": version})
            return Waiting(name, version, why)
        except Conflict:
            continue  # the rollout went on or ended meanwhile
    raise Conflict(
        f"Deployment {name!r} changed {TRIES} times while version {version} was brought to it.",
        paths=[f"deployments/{name}"],
        hint=f"Repeat with: bascule deploy {name} {version} --branch {branch}",
    )


def ship_waiting(ws: Workspace, branch: str, name: str, *, by: str | None = None) -> Commit | None:
    """Bring the version that waits for a deployment into service, if nothing is in its way any more.

    It is shipped once, however many ask at the same moment: the commit that begins its rollout is the one in which
    it stops waiting. A version that is not the model's production version any more is not shipped.

    Returns:
        The commit, or None when there was nothing to do or somebody else was faster.
    """
    before, digest = state_of(ws, branch, name)
    version = before.get("waits") if before else None
    if before is None or version is None or version != production(ws, branch, before["model"]):
        return None
    chosen = get_version(ws, branch, before["model"], version)
    if obstacle(before, chosen, lacking(ws, branch, before, chosen)) is not None:
        return None
    try:
        return _deploy_by_rules(ws, branch, before, digest, version, by or actor(), "merged, and waited for this")
    except (Conflict, InputError):  # somebody moved the traffic meanwhile: whoever did has looked at what waits, too
        return None


def set_traffic(
    ws: Workspace,
    branch: str,
    name: str,
    weights: Mapping[int, int],
    *,
    by: str | None = None,
    reason: str = "",
    expect: str | None = None,
) -> Commit:
    """Share the traffic among versions by hand. It ends a rollout that is under way.

    Args:
        weights: version to percentage; integers that sum to 100.
        expect: the digest of the deployment that was looked at; None takes the present one.

    Raises:
        NotFound: unknown deployment or version.
        InputError: the weights cannot be used.
        Conflict: the deployment is not the one that was looked at any more. Nothing was changed.
    """
    head = ws.history.resolve(branch)
    before, digest = state_of(ws, head, name)
    if before is None:
        before = read_deployment(ws, branch, name)
    shares = traffic.checked_traffic(weights)
    for entry in shares:
        get_version(ws, head, before["model"], entry["version"])
    after = traffic.with_stable(before, shares)
    demand_arriving_approved(ws, branch, before, after)
    return ended(ws, branch, before, expect or digest, after, "traffic", by or actor(), reason, {})


def rollback(
    ws: Workspace,
    branch: str,
    name: str,
    *,
    by: str | None = None,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    expect: str | None = None,
    by_hand: bool = True,
) -> Commit:
    """Go back to the stable traffic before: out of a rollout, or to what served before the present version.

    May be repeated: each time goes one further back, up to ten. A change that lands at the same moment does not stop
    it: it reads again and rolls that back. The alias `production` goes back too.

    Args:
        by_hand: a person does it, who wants nothing new to begin: what waited is dropped, and the record says so
            (`not_shipped`); `deploy` ships it. Else what waited for the end of the rollout is rolled out then.

    Raises:
        NotFound: unknown branch or deployment.
        InputError: there is nothing before the present traffic.
        Conflict: only with `expect`: the deployment is not the one that was judged any more.
    """
    for _ in range(TRIES):
        before, digest = state_of(ws, branch, name)
        if before is None:
            read_deployment(ws, branch, name)
            continue
        after, who, told = traffic.rolled_back(before), by or actor(), dict(evidence or {})
        if by_hand and before.get("waits") is not None:
            after, told = after | {"waits": None}, told | {"not_shipped": before["waits"]}
        try:
            return ended(ws, branch, before, expect or digest, after, "rollback", who, reason, told)
        except Conflict:
            if expect is not None:
                raise
    raise Conflict(
        f"Deployment {name!r} changed {TRIES} times while it was being rolled back.",
        paths=[f"deployments/{name}"],
        hint="Stop what is changing it, then repeat.",
    )


def ended(
    ws: Workspace,
    branch: str,
    before: Deployment,
    digest: str | None,
    after: Deployment,
    action: str,
    who: str,
    reason: str,
    evidence: Mapping[str, Any],
) -> Commit:
    """Write traffic without a rollout, and then ship what waits for that. Returns the first commit."""
    waits = after.get("waits")
    if waits is not None and waits != production(ws, branch, before["model"]):
        after = after | {"waits": None}
    commit = write(ws, branch, before, digest, after, action, who, reason, evidence)
    if after.get("waits") is not None:
        try:
            ship_waiting(ws, branch, after["name"], by=who)
        except BasculeError as failed:
            # The traffic was moved, which is what was asked for. What waits is looked at again by the server.
            with suppress(BasculeError):
                record_failure(ws, branch, after, who, failed)
    return commit


def _deploy_by_rules(
    ws: Workspace, branch: str, before: Deployment, digest: str | None, version: int, who: str, reason: str
) -> Commit:
    rules = before.get("rules") or {}
    return deploy(
        ws,
        branch,
        before["name"],
        before["model"],
        version,
        strategy=before.get("strategy", "canary"),
        steps=rules.get("steps", DEFAULT_STEPS),
        shadow=rules.get("shadow", True),
        guardrails=rules.get("guardrails"),
        plan=rules.get("plan"),
        by=who,
        reason=reason,
        expect=digest,
    )


def _fit_to_serve(ws: Workspace, branch: str, model: str, version: int | str) -> ModelVersion:
    found = get_version(ws, branch, model, version)
    if not found.passed and not found.forced and found.evaluation_id:
        raise CheckFailed(
            f"Version {found.version} of {model!r} did not pass its gates.",
            hint="Force it, with a reason that is kept, when you register it; it then goes by canary.",
        )
    return found


def _readied(
    ws: Workspace,
    branch: str,
    before: Deployment,
    chosen: ModelVersion,
    strategy: str,
    gates: Mapping[str, Any],
    who: str,
) -> ModelVersion:
    """Return a version that may be deployed as it can be served."""
    _demand_deployable(before, chosen, strategy)
    if chosen.format == FORMAT:
        from bascule.delivery.adopting import adopted  # it loads the engines

        chosen = adopted(ws, branch, chosen, by=who)
    demand_approved(ws, branch, {"rules": gates}, chosen)
    return chosen


def _demand_comparable(before: Deployment, fit: Sequence[ModelVersion], strategy: str) -> None:
    """Refuse several versions where they cannot be compared with one that serves."""
    if len(fit) == 1:
        return
    named = ", ".join(str(one.version) for one in fit)
    if strategy not in BY_GOAL:
        raise InputError(
            f"Versions {named} cannot come together by {strategy!r}.",
            hint="An A/B test (ab) and a bandit compare several new versions; both need a goal.",
        )
    if not before["traffic"]:
        raise InputError(
            f"Deployment {before['name']!r} serves nothing that versions {named} could be compared with.",
            hint="Deploy one first: the first one gets all traffic.",
        )


def _demand_deployable(before: Deployment, chosen: ModelVersion, strategy: str) -> None:
    name, model = before["name"], chosen.model
    if before["model"] != model:
        raise InputError(
            f"Deployment {name!r} serves model {before['model']!r}, not {model!r}.",
            hint=f"Deploy the other model under a name of its own: bascule deploy NAME --model {shlex.quote(model)}",
        )
    if before["rollout"]:
        raise Conflict(
            f"Deployment {name!r} is rolling out a version already: {traffic.shown(before['traffic'])}.",
            paths=[f"deployments/{name}"],
            hint=f"Promote it or take it back first: bascule rollback deployments/{name}",
        )
    if before["traffic"] == [{"version": chosen.version, "weight": 100}]:
        raise InputError(
            f"Version {chosen.version} of {model!r} has all traffic of deployment {name!r} already.",
            hint="There is nothing to do; another version may be deployed.",
        )
    if not chosen.passed and strategy not in CAREFUL and before["traffic"]:
        why = "was forced past its gates" if chosen.evaluation_id else "was judged by no gate"
        raise InputError(
            f"Version {chosen.version} of {model!r} {why}; it may go by canary or shadow only.",
            hint="Use one of these strategies: they take the version back by themselves when it does harm.",
        )
