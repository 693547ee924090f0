"""Which versions of a model get which traffic, and every change of it.

Each change is one commit with its `rollouts` record and its audit entry, in one transaction: all of it happened, or
none. A deployment object holds what serving needs to know (`traffic`, `rollout`) and a short trail of the stable
traffic before, so that rolling back needs no search and can be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from bascule.catalog import actor
from bascule.delivery import traffic
from bascule.delivery.engines import engine_left
from bascule.delivery.environments import KEYS, demand_approved, demand_arriving_approved, gates_of, lacking
from bascule.delivery.guardrails import read_guardrails
from bascule.delivery.records import changed_times, record_failure, state_of, write
from bascule.delivery.strategies import CAREFUL, COMPARING, STRATEGIES, read_plan
from bascule.delivery.traffic import Deployment
from bascule.delivery.waiting import Waiting, obstacle
from bascule.errors import BasculeError, CheckFailed, Conflict, InputError, NotFound
from bascule.history import Commit, Workspace
from bascule.registry import ModelVersion, get_version, production
from bascule.registry.external import FORMAT

DEFAULT_STEPS = (10, 100)
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
    rules = _rules(steps, shadow, guardrails, plan, strategy)
    chosen = _fit_to_serve(ws, branch, model, version)
    found, digest = state_of(ws, branch, name)
    before = found or traffic.planned(name, model, strategy, rules) | {"revision": changed_times(ws, branch, name)}
    _demand_deployable(before, chosen, strategy)
    if chosen.format == FORMAT:
        from bascule.delivery.adopting import adopted  # it loads the engines

        chosen = adopted(ws, branch, chosen, by=who)
    gates = gates_of(ws, branch, found)
    rules |= gates
    demand_approved(ws, branch, {"rules": gates}, chosen)
    limits = _limits(rules, chosen)
    left = engine_left(ws, branch, before, chosen.version)
    told = {"version": chosen.version, "engine_left": left} if left else {}
    if strategy in COMPARING and before["traffic"]:
        after = traffic.with_rollout(before, chosen.version, strategy, rules, limits)
        return write(ws, branch, before, expect or digest, after, "start", who, reason, told)
    after = traffic.with_stable(before, [{"version": chosen.version, "weight": 100}])
    after |= {"strategy": strategy, "rules": rules}
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


LOGGED = "log"


def planned(
    before: Deployment | None,
    name: str,
    model: str,
    *,
    strategy: str = "canary",
    steps: Sequence[int] = DEFAULT_STEPS,
    guardrails: Mapping[str, Any] | None = None,
    plan: Mapping[str, Any] | None = None,
    shadow: bool | None = None,
    requests: str = LOGGED,
    log: Mapping[str, Any] | None = None,
    service: Mapping[str, Any] | None = None,
    fills: Mapping[str, str] | None = None,
    approvals: int = 0,
    environments: Mapping[str, Any] | None = None,
) -> Deployment:
    """Return a deployment with these rules, for whoever writes it down: its traffic stays as it is.

    A new one serves nothing. It comes into service by `deploy`, or when a merge brings its model's first version.

    Args:
        requests: what becomes of a request that breaks the contract of its version: `log` answers it as any other,
            `refuse` does not.
        log: what the prediction log does not keep: `fields` to `drop` or `hash`, and the `sample` of requests whose
            inputs are kept; None keeps all.
        service: workers, limits and times (`bascule.serving.service.Service`); None for the defaults.
        fills: table to the table that its rows are scored into, as they land.
        approvals: how many people must approve a version before it gets traffic.
        environments: instead of `approvals`, what each branch asks for, by branch, as `environments.Environment`.

    Raises:
        InputError: the steps or guardrails cannot be used.
    """
    asked: dict[str, Any] = {"requests": requests} if requests != LOGGED else {}
    if log:
        asked["log"] = dict(log)
    if service:
        asked["service"] = dict(service)
    if fills:
        asked["fills"] = dict(fills)
    gated: dict[str, Any] = {"environments": dict(environments)} if environments else {}
    if approvals and not environments:
        gated["approvals"] = approvals
    if before is None:
        fresh = _rules(steps, shadow is not False, guardrails, plan, strategy) | gated
        return traffic.planned(name, model, strategy, fresh) | asked
    held = {key: value for key, value in before["rules"].items() if key not in ("plan", *KEYS)}
    rules = held | _rules(steps, held.get("shadow", True) if shadow is None else shadow, guardrails, plan, strategy)
    rules |= gated
    kept = {key: value for key, value in before.items() if key not in ("requests", "log", "service", "fills")}
    return kept | {"strategy": strategy, "rules": rules} | asked


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
    return _end(ws, branch, before, expect or digest, after, "traffic", by or actor(), reason, {})


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
    after = traffic.advanced(before)
    demand_arriving_approved(ws, branch, before, after)
    return write(ws, branch, before, digest, after, "advance", by or actor(), reason, evidence or {})


def reweigh(
    ws: Workspace,
    branch: str,
    name: str,
    share: int,
    *,
    seen: int,
    by: str | None = None,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    expect: str | None = None,
) -> Commit:
    """Give a bandit's new version another percentage.

    Args:
        share: 1 to 99.
        seen: how many units the weights rest on.

    The other arguments and errors are those of `advance`.
    """
    before, digest, rollout = _rollout(ws, branch, name, expect)
    if rollout.get("strategy") != "bandit" or not 1 <= share <= 99:
        raise InputError(f"Deployment {name!r} has no bandit under way that could get {share} %.")
    after = traffic.reweighed(before, share, seen)
    demand_arriving_approved(ws, branch, before, after)
    return write(ws, branch, before, digest, after, "reweigh", by or actor(), reason, evidence or {})


def promote(
    ws: Workspace,
    branch: str,
    name: str,
    *,
    by: str | None = None,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    expect: str | None = None,
) -> Commit:
    """Give the canary all traffic and end the rollout; what waited for its end is rolled out then.

    Arguments and errors are those of `advance`.
    """
    before, digest, rollout = _rollout(ws, branch, name, expect)
    after = traffic.with_stable(before, [{"version": rollout["canary"], "weight": 100}])
    demand_arriving_approved(ws, branch, before, after)
    return _end(ws, branch, before, digest, after, "promote", by or actor(), reason, evidence or {})


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
            return _end(ws, branch, before, expect or digest, after, "rollback", who, reason, told)
        except Conflict:
            if expect is not None:
                raise
    raise Conflict(
        f"Deployment {name!r} changed {TRIES} times while it was being rolled back.",
        paths=[f"deployments/{name}"],
        hint="Stop what is changing it, then repeat.",
    )


def _end(
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


def _rules(
    steps: Sequence[int],
    shadow: bool,
    guardrails: Mapping[str, Any] | None,
    plan: Mapping[str, Any] | None,
    strategy: str,
) -> dict[str, Any]:
    """What a deployment says of its rollouts. Of the guardrails only what was given: defaults depend on the version."""
    read_guardrails(guardrails)
    found = {"steps": traffic.checked_steps(steps), "shadow": shadow, "guardrails": dict(guardrails or {})}
    asked = msgspec.to_builtins(read_plan(plan, strategy))
    return found | {"plan": asked} if asked else found


def _limits(rules: Mapping[str, Any], chosen: ModelVersion) -> dict[str, Any]:
    """The guardrails of one rollout, whole: what was not given is as fits the version's answers."""
    task = chosen.signature.get("output", {}).get("task")
    found: dict[str, Any] = msgspec.to_builtins(read_guardrails(rules["guardrails"], task, chosen.metrics))
    return found


def _fit_to_serve(ws: Workspace, branch: str, model: str, version: int | str) -> ModelVersion:
    found = get_version(ws, branch, model, version)
    if not found.passed and not found.forced and found.evaluation_id:
        raise CheckFailed(
            f"Version {found.version} of {model!r} did not pass its gates.",
            hint="Force it, with a reason that is kept, when you register it; it then goes by canary.",
        )
    return found


def _demand_deployable(before: Deployment, chosen: ModelVersion, strategy: str) -> None:
    name, model = before["name"], chosen.model
    if before["model"] != model:
        raise InputError(
            f"Deployment {name!r} serves model {before['model']!r}, not {model!r}.",
            hint="Deploy the other model under a name of its own.",
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
