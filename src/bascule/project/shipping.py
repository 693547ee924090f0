"""Deploying as the project file says it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec

from bascule.delivery import deploy, engine_left, has_own_traffic, planned, rollback
from bascule.delivery.planning import LOGGED
from bascule.delivery.strategies import BY_GOAL, STRATEGIES, read_plan
from bascule.durations import parse_duration
from bascule.errors import InputError, NotFound
from bascule.history import Commit
from bascule.naming import model_path, plain_name
from bascule.project.file import ProjectFile
from bascule.project.modelling import demand_approved
from bascule.project.place import MAIN, PROJECT_FILE, Place
from bascule.project.releasing import WentBack, go_back, is_release, release_or_deployment
from bascule.project.sections import Deployment, PredictionLogging, Serving
from bascule.registry import ModelVersion, get_version
from bascule.sizes import parse_size
from bascule.tracking import vouching

REPLACE = {"replace": "all_at_once"}


@dataclass(frozen=True)
class Shipped:
    """A deployment that was brought a new version.

    Attributes:
        share: the percentage of the traffic that it has now: all of it for the first version, else a canary's.
        model: whose version it is.
        engine_left: the engines that `bascule optimize` chose for the version before, where none was for this one.
    """

    deployment: str
    version: int
    share: int
    model: str
    engine_left: str = ""

    def hint(self) -> str:
        """Return what to do where an engine is left behind; empty where none is."""
        if not self.engine_left:
            return ""
        return (
            f"the version before was answered by {self.engine_left}, this one is by its own library: "
            f"bascule optimize {self.model}@{self.version}, or [model] optimize = true for each new one"
        )


@dataclass(frozen=True)
class Moved:
    """What became of the traffic.

    Attributes:
        branch: where.
        commit: the change, or the branch's head when there was nothing to do.
        deployments: the traffic of every deployment of the branch.
        changed: whether anything was.
        shipped: the version that waited for the end of the rollout, and came into service at it.
        not_shipped: the version that waited and was dropped, as a rollback by hand does; it has no share.
        deployed: the version that `bascule deploy` brought; None for every other change.
    """

    branch: str
    commit: Commit
    deployments: dict[str, list[dict[str, int]]]
    changed: bool = True
    shipped: Shipped | None = None
    not_shipped: Shipped | None = None
    deployed: Shipped | None = None

    def as_dict(self) -> dict[str, Any]:
        """The change as one JSON object."""
        moved = {"branch": self.branch, "commit": self.commit.as_dict(), "deployments": self.deployments}
        came = {"shipped": self.shipped, "not_shipped": self.not_shipped, "deployed": self.deployed}
        return moved | {name: asdict(one) if one else None for name, one in came.items()}


def move(place: Place, how: Callable[..., Commit], name: str, reason: str = "", expect: str | None = None) -> Moved:
    """Roll a deployment back, promote its canary or advance it, on the branch that is meant by its name.

    Args:
        how: `delivery.rollback`, `promote` or `advance`.
        name: the deployment, with or without `deployments/` before it.
        expect: the digest that it must have now.

    Raises:
        NotFound, InputError, Conflict: as `how`.
    """
    deployment = name.removeprefix("deployments/")
    branch = serving_branch(place, deployment)
    path, history = f"deployments/{deployment}", place.workspace.history
    before = history.read(branch, path) or {"traffic": [], "model": deployment}
    waited: int | None = before.get("waits")
    commit = how(place.workspace, branch, deployment, reason=reason, expect=expect)
    head = history.resolve(branch)
    after = history.read(head, path) or {"traffic": []}
    now = {share["version"]: share["weight"] for share in after["traffic"]}
    done = replace(_moved(place, branch, head), commit=commit)
    if waited is None or after.get("waits") == waited:
        return done
    if waited in now:
        alone = after | {"traffic": [one for one in after["traffic"] if one["version"] != waited]}
        left = engine_left(place.workspace, head, alone, waited)
        return replace(done, shipped=Shipped(deployment, waited, now[waited], before["model"], left))
    return replace(done, not_shipped=Shipped(deployment, waited, 0, before["model"]))


def roll_back(place: Place, name: str, reason: str = "", expect: str | None = None) -> Moved | WentBack:
    """Roll a deployment back, or the whole branch to a release.

    Args:
        name: a deployment, with or without `deployments/` before it; else a tag or a commit.
        expect: the deployment's digest, or the branch's head, that was looked at (`Foreseen.state`).

    Raises:
        NotFound: there is neither; the nearest is offered.
        InputError, Conflict: as `delivery.rollback` and `releasing.go_back`.
    """
    branch = release_of(place, name)
    if branch is not None:
        return go_back(place.workspace, name, branch, reason=reason, expect=expect)
    return move(place, rollback, name, reason, expect)


def release_of(place: Place, name: str) -> str | None:
    """Return the branch that goes back to a release of this name; None for the name of a deployment.

    Raises:
        NotFound: there is neither; the nearest is offered.
    """
    if name.startswith("deployments/"):
        return None
    if place.workspace.history.digest(serving_branch(place, name), f"deployments/{name}") is not None:
        return None
    branch = place.branch if place.has_chosen_branch else MAIN
    if not is_release(place.workspace, name):
        raise release_or_deployment(place.workspace, name, branch)
    return branch


def moved(place: Place, branch: str, commit: Commit) -> Moved:
    """Return what became of the traffic by a commit."""
    return _moved(place, branch, commit)


def _moved(place: Place, branch: str, commit: Commit, changed: bool = True) -> Moved:
    entries = place.workspace.history.entries(commit, "deployments/")
    return Moved(branch, commit, {path.partition("/")[2]: obj["traffic"] for path, obj in entries}, changed)


def deployment_of(held: dict[str, Any] | None, project: ProjectFile) -> dict[str, Any]:
    """Return the project's deployment as the history holds it, by the rules of `[deployment]`.

    Args:
        held: what is there now, whose traffic and model stay; a new one serves nothing yet.
    """
    assert project.deployment is not None
    assert project.model is not None
    rules = project.deployment
    return planned(
        held,
        rules.name,
        project.model.name,
        strategy=strategy_of(rules),
        steps=rules.steps,
        guardrails=guardrails_of(rules),
        plan=plan_of(rules),
        shadow=rules.shadow,
        requests=rules.requests,
        log=logging_of(rules),
        service=service_of(rules),
        fills=rules.fills,
        approvals=project.gates.approvals,
        environments=environments_of(rules),
    )


def logging_of(rules: Deployment) -> dict[str, Any] | None:
    """Return `[deployment.log]` as serving reads it; None for the defaults."""
    if rules.log == PredictionLogging():
        return None
    found = msgspec.structs.asdict(rules.log)
    if rules.log.full == PredictionLogging().full:
        del found["full"]
    return found


def service_of(rules: Deployment) -> dict[str, Any]:
    """Return `[deployment.service]` as serving reads it, in seconds and bytes: what differs from the defaults."""
    asked, usual = rules.service, Serving()
    found: dict[str, Any] = {
        name: getattr(asked, name)
        for name in ("workers", "queue", "batch", "cache")
        if getattr(asked, name) != getattr(usual, name)
    }
    if asked.timeout is not None:
        found["timeout"] = parse_duration(asked.timeout) / 1e6
    if asked.memory is not None:
        found["memory"] = parse_size(asked.memory)
    return found


def environments_of(rules: Deployment) -> dict[str, dict[str, Any]]:
    """Return `[deployment.environments]` as delivery reads it: by branch."""
    return {
        one.branch: {"name": name, "approvals": one.approvals, "role": one.role}
        for name, one in rules.environments.items()
    }


def approvals_of(project: ProjectFile | None, branch: str) -> int:
    """Return how many approvals the project file asks for on a branch."""
    if project is None:
        return 0
    if project.deployment is None or not project.deployment.environments:
        return project.gates.approvals
    return sum(one.approvals for one in project.deployment.environments.values() if one.branch == branch)


def guardrails_of(rules: Deployment) -> dict[str, Any]:
    """Return `[deployment.guardrails]` as delivery reads it: a rule that is `false` is null, `true` is its defaults."""
    settings = msgspec.structs.asdict(rules.guardrails)
    for name in ("errors", "latency", "quality"):
        rule = settings.pop(name)
        if rule is not True:
            given = msgspec.structs.asdict(rule) if rule else {}
            settings[name] = {key: value for key, value in given.items() if value is not None} if rule else None
    for name in ("tail", "disagreement"):  # off unless they are given
        rule = settings.pop(name)
        if rule is not False:
            settings[name] = {} if rule is True else msgspec.structs.asdict(rule)
    measures = settings.pop("measures")
    if measures:
        settings["measures"] = {name: msgspec.structs.asdict(rule) for name, rule in measures.items()}
    return settings


def strategy_of(rules: Deployment) -> str:
    """Return the strategy of `[deployment]` as delivery calls it."""
    return REPLACE.get(rules.strategy, rules.strategy)


def plan_of(rules: Deployment) -> dict[str, Any]:
    """Return what the strategy of `[deployment]` goes by, as delivery reads it: what is not as the defaults are."""
    keys = ("share", "floor", "keep", "automatic")
    defaults = Deployment(name="any")
    given = {key: value for key in keys if (value := getattr(rules, key)) != getattr(defaults, key)}
    return given if rules.goal is None else given | {"goal": msgspec.structs.asdict(rules.goal)}


def serving_branch(place: Place, name: str) -> str:
    """Return the branch whose deployment is meant by its name alone: the current one when it deployed it itself.

    Work goes on on branches that begin with what `main` serves; who rolls back from there means what people get. So
    `main` it is, unless a branch was named, or the current one has moved the deployment's traffic itself.
    """
    current = place.branch
    if current == MAIN or place.has_chosen_branch:
        return current
    history, path = place.workspace.history, f"deployments/{name}"
    own = history.read(current, path)
    if own is not None and own["traffic"] and has_own_traffic(place.workspace, current, name):
        return current
    return MAIN if own is None or history.digest(MAIN, path) else current


def deploy_version(
    place: Place,
    name: str | None,
    version: str,
    *,
    also: Sequence[str | int] = (),
    model: str | None = None,
    strategy: str | None = None,
    share: int | None = None,
    goal: str | None = None,
    keep: str | None = None,
    reason: str = "",
) -> Moved:
    """Bring a version of a model into service on the current branch; nothing changes when it has all traffic already.

    Args:
        name: the deployment; the project's when None. A model's name that no address can hold, such as one with
            spaces, means the model, and its deployment has dashes instead.
        version: a number or an alias.
        also: further ones, which an A/B test or a bandit compares at the same time.
        model: its name; the project's model, else the deployment's name, when None.
        strategy: one of `delivery.strategies.STRATEGIES`; the project's when None. It, like what follows, is for this
            version alone: later ones come by the rules that the deployment has.
        share: the new version's percentage in an A/B test or a bandit; the project's when None.
        goal: what an A/B test or a bandit is for: `outcome`, `score` or SQL, with `lower:` before it when less is
        better. keep: how long `blue_green` keeps the version before, such as `2h`.

    Raises:
        InputError: no name was given and the project has no `[deployment]`; or a setting means nothing to the strategy.
        NotFound, CheckFailed, Conflict: as `delivery.deploy`.
    """
    project = place.file if (place.folder / PROJECT_FILE).is_file() else None
    settings = project.deployment if project else None
    chosen, model = _named(project, name, model)
    rules = settings or Deployment(name=chosen)
    by = REPLACE.get(strategy, strategy) if strategy else strategy_of(rules)
    if by not in STRATEGIES:
        raise NotFound("strategy", by, STRATEGIES)
    plan = plan_of(rules) | _asked(by, share, goal, keep)
    read_plan(plan)  # also where nothing is to do, what was asked for must mean something
    if not also and _serves_alone(place, chosen, model, version):
        return _moved(place, place.branch, place.workspace.history.resolve(place.branch), changed=False)
    ship, *_ = [_vouched(place, project, model, one) for one in (version, *also)]
    served = place.workspace.history.read(place.branch, f"deployments/{chosen}") or {"traffic": [], "model": model}
    left = engine_left(place.workspace, place.branch, served, ship.version)
    from bascule.project.measuring import demand_measurable  # with the lake's queries, which others need not

    guardrails = guardrails_of(rules)
    said = {"rules": {"guardrails": guardrails, "plan": plan}}
    demand_measurable(place.workspace, said, project if goal is None else None)
    commit = deploy(
        place.workspace,
        place.branch,
        chosen,
        model,
        version,
        strategy=by,
        steps=rules.steps,
        shadow=rules.shadow,
        guardrails=guardrails,
        plan=plan,
        also=also,
        once=any(one is not None for one in (strategy, share, goal, keep)),
        asked=_asked_of_new(rules, project is not None and project.model is not None and project.model.name == model),
        reason=reason,
    )
    done = _moved(place, place.branch, commit)
    share = next((one["weight"] for one in done.deployments[chosen] if one["version"] == ship.version), 0)
    return replace(done, deployed=Shipped(chosen, ship.version, share, model, left))


def _named(project: ProjectFile | None, name: str | None, model: str | None) -> tuple[str, str]:
    """Return the deployment and the model that are meant, as `deploy_version` says."""
    settings = project.deployment if project else None
    chosen = (name or (settings.name if settings else "")).removeprefix("deployments/")
    if not chosen:
        raise InputError("No deployment is named.", hint="Name one, or write [deployment] into bascule.toml.")
    if model is None and chosen != (plain := plain_name(chosen, "model")):
        model_path(chosen)  # a model's name that a client of another registry gave
        return plain, chosen
    if model is None:
        model = project.model.name if project and project.model and settings and settings.name == chosen else chosen
    return chosen, model


def _asked_of_new(rules: Deployment, own: bool) -> dict[str, Any]:
    """Return what `[deployment]` says of a new deployment, whatever its name: what the log leaves out is left out of
    its requests too. How requests are held to a contract, and served, is of deployments of the project's own model."""
    found: dict[str, Any] = {} if logging_of(rules) is None else {"log": logging_of(rules)}
    if own and rules.requests != LOGGED:
        found["requests"] = rules.requests
    if own and (service := service_of(rules)):
        found["service"] = service
    return found


def _vouched(place: Place, project: ProjectFile | None, model: str, version: str | int) -> ModelVersion:
    """Return a version that people have spoken for, as far as that is asked for."""
    found = get_version(place.workspace, place.branch, model, version)
    demand_approved(place.workspace, found, approvals_of(project, place.branch), "Nothing is deployed")
    vouching.demand_consent(place.workspace, found)
    vouching.demand_unchanged(place.workspace, found)
    return found


LOWER = "lower:"


def _asked(strategy: str, share: int | None, goal: str | None, keep: str | None) -> dict[str, Any]:
    """What was asked for a strategy beside the project's settings."""
    found: dict[str, Any] = {}
    for name, value, meant in (("share", share, BY_GOAL), ("goal", goal, BY_GOAL), ("keep", keep, ("blue_green",))):
        if value is None:
            continue
        if strategy not in meant:
            told = " and ".join(meant)
            raise InputError(f"--{name} means something to {told} only; the strategy is {strategy}.")
        found[name] = value
    if goal is not None:
        better = "lower" if goal.startswith(LOWER) else "higher"
        found["goal"] = {"measure": goal.removeprefix(LOWER).strip(), "better": better}
    return found


def _serves_alone(place: Place, name: str, model: str, version: str) -> bool:
    history = place.workspace.history
    head = history.resolve(place.branch)
    held = history.read(head, f"deployments/{name}")
    if held is None or held["model"] != model or held["rollout"]:
        return False
    wanted = get_version(place.workspace, head.id, model, version).version
    return bool(held["traffic"] == [{"version": wanted, "weight": 100}])
