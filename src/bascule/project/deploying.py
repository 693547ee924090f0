"""A deployment as it stands: what it serves, what its rollout has shown, what it would take to see an effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import duckdb

from bascule.delivery import set_traffic
from bascule.errors import InputError, NotFound
from bascule.history import Commit
from bascule.project.place import MAIN, PROJECT_FILE, Place
from bascule.project.querying import logged
from bascule.project.shipping import Moved, moved, serving_branch
from bascule.registry import production

Rule = Literal["errors", "latency", "quality", "goal"]
RULES: tuple[Rule, ...] = ("errors", "latency", "quality", "goal")
DAY_S = 86_400
URL = "http://127.0.0.1:7401"
GRPC = "127.0.0.1:7402"


@dataclass(frozen=True)
class Standing:
    """A deployment on a branch.

    Attributes:
        deployment: the object, as the history holds it.
        decision: what the controller would do now, with what each rule found; None without a rollout.
        preview: where it answers.
    """

    branch: str
    deployment: dict[str, Any]
    decision: dict[str, Any] | None
    preview: Preview

    def as_dict(self) -> dict[str, Any]:
        """The deployment as one JSON object."""
        return {
            "branch": self.branch,
            **self.deployment,
            "decision": self.decision,
            "preview": asdict(self.preview),
        }


@dataclass(frozen=True)
class Preview:
    """Where a branch answers.

    Attributes:
        http: the address of its inference protocol, up to `/v2`.
        grpc: host and port of gRPC, which reads the branch from the metadata.
        metadata: what gRPC calls send; empty for `main`.
        deployments: those that are in service on the branch.
        curl: a request, complete but for the row: of the branch's production version, which need not have traffic yet.
    """

    branch: str
    http: str
    grpc: str
    metadata: dict[str, str]
    deployments: tuple[str, ...]
    curl: str

    def as_dict(self) -> dict[str, Any]:
        """The addresses as one JSON object."""
        return asdict(self)


def stands(place: Place, name: str) -> Standing:
    """Return how a deployment stands, on the branch that is meant by its name.

    Raises:
        NotFound: there is none; the nearest is offered.
    """
    from bascule.delivery import assess
    from bascule.delivery.strategies import queries_of

    name = name.removeprefix("deployments/")
    branch = serving_branch(place, name)
    deployment = place.workspace.history.get(branch, f"deployments/{name}")
    decision = None
    if deployment["rollout"] is not None:
        with logged(place.workspace, queries_of(deployment)) as connection:
            found = assess(connection, branch, deployment)
        decision = {"action": found.action, "reason": found.reason, **found.evidence}
    return Standing(branch, deployment, decision, preview(place, branch))


def preview(place: Place, branch: str | None = None, *, url: str | None = None, grpc: str | None = None) -> Preview:
    """Return where a branch answers, so that it can be tried before it is merged.

    Args:
        branch: the current one when None.
        url: where `bascule serve` or `up` answers; `[deployment] url` when None, else this machine.

    Raises:
        NotFound: there is no such branch.
    """
    history = place.workspace.history
    branch = branch or place.branch
    if branch not in {one.name for one in history.branches()}:
        raise NotFound("branch", branch, [one.name for one in history.branches()])
    settings = place.file.deployment if (place.folder / PROJECT_FILE).is_file() else None
    base = (url or (settings.url if settings else "") or URL).rstrip("/")
    entries = history.entries(history.resolve(branch), "deployments/")
    serving = {path.partition("/")[2]: held for path, held in entries if held["traffic"]}
    names = tuple(serving)
    http = f"{base}/v2" if branch == MAIN else f"{base}/branch/{_quoted(branch)}/v2"
    metadata = {} if branch == MAIN else {"x-bascule-branch": branch}
    model = _asked(place, branch, names[0], serving[names[0]]) if names else "NAME"
    curl = f"curl {http}/models/{model}/predict -d '{{\"instances\": [{{…}}]}}'"
    return Preview(branch, http, grpc or GRPC, metadata, names, curl)


def _asked(place: Place, branch: str, name: str, deployment: Mapping[str, Any]) -> str:
    """Return what is asked for to try a branch: its production version by number, where others have the traffic."""
    newest = production(place.workspace, branch, deployment["model"])
    served = {one["version"] for one in deployment["traffic"]}
    return name if newest is None or newest in served else f"{name}/versions/{newest}"


def share_traffic(place: Place, name: str, shares: Sequence[str] | Mapping[int, int], *, reason: str = "") -> Moved:
    """Share the traffic among versions by hand.

    Args:
        shares: `VERSION=PERCENT` words, or version to percentage; they sum to 100.

    Raises:
        InputError: a word is not of this form, or they do not sum to 100.
        NotFound: unknown deployment or version; the nearest is offered.
        CheckFailed: a version lacks approvals.
    """
    name = name.removeprefix("deployments/")
    weights = dict(shares) if isinstance(shares, Mapping) else dict(_share(word) for word in shares)
    if not isinstance(shares, Mapping) and len(weights) < len(shares):
        raise InputError("A version is named twice.", hint="Give each version one percentage: 3=50 4=50")
    branch = serving_branch(place, name)
    commit: Commit = set_traffic(place.workspace, branch, name, weights, reason=reason)
    return moved(place, branch, commit)


def power(
    place: Place,
    name: str,
    *,
    rule: Rule = "errors",
    effect: float,
    base: float | None = None,
    spread: float | None = None,
    share: int | None = None,
    probability: float = 0.8,
) -> dict[str, Any]:
    """Return how many requests it takes until a rollout of a deployment sees an effect.

    Args:
        rule: errors, latency, quality or goal.
        effect: how much worse (of a goal: better) the new version is, in the rule's unit: 0.01 is one request in a
            hundred more.
        base: the rate, or the goal's mean, as it is now; measured from the log when None.
        spread: the standard deviation of one value: of a goal, or of the differences in loss; measured likewise.
        share: the new version's percentage; the one that the deployment's strategy begins with when None.
        probability: the chance with which the effect is to be seen.

    Raises:
        NotFound: unknown deployment or rule.
        InputError: a number is out of its bounds, or neither given nor measurable.
    """
    from bascule.delivery import power as powers
    from bascule.delivery.guardrails import read_guardrails
    from bascule.delivery.strategies import first_steps, read_plan

    if rule not in RULES:
        raise NotFound("rule", rule, RULES)
    name = name.removeprefix("deployments/")
    branch = serving_branch(place, name)
    deployment = place.workspace.history.get(branch, f"deployments/{name}")
    rules, plan = deployment["rules"], read_plan(deployment["rules"].get("plan"))
    guardrails = read_guardrails(rules.get("guardrails"))
    first = share if share is not None else first_steps(deployment.get("strategy", "canary"), rules)[0]
    if share is None and not 1 <= first <= 99:  # both are asked everything, or one after the other
        first = 50
    _demand("effect", effect, effect > 0, "how much worse it is, more than 0")
    _demand("probability", probability, 0 < probability < 1, "between 0 and 1")
    _demand("share", first, 1 <= first <= 99, "a percentage from 1 to 99")
    goal = plan.goal.measure if plan.goal else "outcome"
    asked = [goal] if rule == "goal" and goal not in ("outcome", "score") else []
    with logged(place.workspace, asked) as connection:
        log = _measured(
            connection, branch, name, rule, guardrails.latency.slo_ms if guardrails.latency else 250.0, goal
        )
    base = log["base"] if base is None else base
    spread = log["spread"] if spread is None else spread
    if rule == "quality":
        margin = guardrails.quality.margin if guardrails.quality else 0.005
        known = _known("spread", spread, "of the differences in loss, such as 0.1")
        found = powers.quality_power(known, effect, margin, guardrails.threshold, probability)
    elif rule == "goal":
        mean = _known("base", base, "the goal's mean now, such as 0.2")
        if spread is None and 0 < mean < 1:
            spread = (mean * (1 - mean)) ** 0.5
        found = powers.mean_power(
            rule, mean, _known("spread", spread, "of one value"), effect, first / 100, guardrails.alpha, probability
        )
    else:
        rate = _known("base", base, "the share of requests that fail or are slow now, such as 0.01")
        _demand("base", rate, 0 < rate < 1, "a share between 0 and 1; say one with --base")
        found = powers.events_power(rule, rate, effect, first / 100, guardrails.threshold, probability)
    days = found.requests / log["daily"] if found.requests and log["daily"] else None
    return {"branch": branch, "deployment": name, **asdict(found), "daily": log["daily"], "days": days}


def _measured(
    connection: duckdb.DuckDBPyConnection, branch: str, name: str, rule: Rule, slo_ms: float, goal: str
) -> dict[str, float | None]:
    """What the log says of a deployment: the rate or mean now, its spread, and the requests a day."""
    of = "from predictions where branch = $branch and deployment = $name"
    asked: dict[str, Any] = {"branch": branch, "name": name}
    count = connection.execute(
        f'select count(distinct "at"), epoch(max("at")) - epoch(min("at")) {of}', asked
    ).fetchone() or (0, 0.0)
    daily = count[0] / max(float(count[1] or 0.0), 3600.0) * DAY_S if count[0] else None
    base = spread = None
    if rule == "errors":
        base = _one(connection, f"select avg(if(score is null, 1.0, 0.0)) {of}", asked)
    elif rule == "latency":
        base = _one(connection, f"select avg(if(latency_us > $slo, 1.0, 0.0)) {of}", asked | {"slo": slo_ms * 1000})
    elif rule == "goal":
        from bascule.delivery.values import MEASURES

        sql = MEASURES.get(goal, goal).strip().rstrip(";")
        both = (
            f"from ({sql}) m join predictions p using (prediction_id) where p.branch = $branch and p.deployment = $name"
        )
        base = _one(connection, f"select avg(value) {both}", asked)
        spread = _one(connection, f"select stddev(value) {both}", asked)
    return {"base": base or None, "spread": spread or None, "daily": daily}


def _one(connection: duckdb.DuckDBPyConnection, sql: str, asked: Mapping[str, Any]) -> float | None:
    row = connection.execute(sql, dict(asked)).fetchone()
    return float(row[0]) if row and row[0] is not None else None


def _share(word: str) -> tuple[int, int]:
    version, sign, percent = word.partition("=")
    if not sign or not version.isdecimal() or not percent.isdecimal():
        raise InputError(f"{word!r} is no share of the traffic.", hint="Write VERSION=PERCENT for each: 3=50 4=50")
    return int(version), int(percent)


def _known(name: str, value: float | None, what: str) -> float:
    if value is None:
        raise InputError(f"The {name} is not known: nothing in the log says it yet.", hint=f"Say it: --{name}, {what}.")
    _demand(name, value, value >= 0, "not below 0")
    return value


def _demand(name: str, value: float, holds: bool, what: str) -> None:
    if not holds:
        raise InputError(f"--{name} is {value:g}; it is {what}.")


def _quoted(branch: str) -> str:
    from urllib.parse import quote

    return quote(branch, safe="")
