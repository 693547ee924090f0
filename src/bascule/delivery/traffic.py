"""How a deployment object changes: pure steps from one state to the next. Nothing here reads or writes a workspace."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from bascule.catalog import new_id, now
from bascule.delivery.strategies import first_steps, read_plan, words
from bascule.delivery.versus import challengers, even_shares
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.naming import checked_name

Deployment = dict[str, Any]

TRAIL = 10


def planned(name: str, model: str, strategy: str, rules: Mapping[str, Any]) -> Deployment:
    """A new deployment that serves nothing yet: it says how versions of the model come into service.

    Raises:
        InputError: the name cannot be used.
    """
    checked_name(name, "a deployment's name")
    return {
        "kind": "deployment",
        "name": name,
        "model": model,
        "traffic": [],
        "strategy": strategy,
        "revision": 0,
        "rollout": None,
        "rules": dict(rules),
        "trail": [],
    }


def with_rollout(
    before: Deployment,
    version: int,
    strategy: str,
    rules: Mapping[str, Any],
    guardrails: Mapping[str, Any],
    others: Sequence[int] = (),
) -> Deployment:
    """The deployment with the rollout of a version at its first step, under whole guardrails.

    Each strategy is steps of the new version's percentage: a canary's own; one share for an A/B test, and for a
    bandit the one it begins with; none for a shadow; all at once for blue/green. What the strategy goes by (`plan`)
    is kept with the rollout. With several new versions the weights of each revision are, too; nothing is scored unseen.

    Args:
        others: further new versions, of an A/B test or a bandit.
    """
    if len(before["traffic"]) != 1:
        raise InputError(
            f"Deployment {before['name']!r} shares its traffic ({shown(before['traffic'])}); "
            f"{words(strategy)} is compared with one stable version.",
            hint="Give one version all traffic first.",
        )
    after = _next(before)
    rollout = {
        "id": new_id("canary"),
        "stable": before["traffic"][0]["version"],
        "canary": version,
        "strategy": strategy,
        "steps": first_steps(strategy, rules),
        "step": 0,
        "started_at": now(),
        "revision": after["revision"],
        "shadow": rules["shadow"],
        "guardrails": dict(guardrails),
    }
    if rules.get("plan"):
        rollout["plan"] = dict(rules["plan"])
    if strategy == "shadow":
        rollout["shadow"] = True
    if others:
        plan = read_plan(rules.get("plan"))
        weights = even_shares(rollout["stable"], [version, *others], plan.share)
        rollout |= {"others": list(others), "arms": 1 + len(others), "shadow": False, "weights": {}}
        return _shared(after | {"strategy": strategy, "rules": dict(rules), "rollout": rollout}, weights)
    return after | {"strategy": strategy, "rules": dict(rules), "rollout": rollout, "traffic": _split(rollout)}


def advanced(before: Deployment) -> Deployment:
    """The deployment at the rollout's next step."""
    rollout = before["rollout"] | {"step": before["rollout"]["step"] + 1}
    return _next(before) | {"rollout": rollout, "traffic": _split(rollout)}


def reweighed(before: Deployment, share: int, seen: int) -> Deployment:
    """The deployment with another percentage for the new version, as a bandit finds it after so many units."""
    rollout = before["rollout"] | {"steps": [share, 100], "seen": seen}
    return _next(before) | {"rollout": rollout, "traffic": _split(rollout)}


def shared(before: Deployment, weights: Mapping[int, int], seen: int) -> Deployment:
    """The deployment with other percentages for several new versions, as a bandit finds them after so many units."""
    return _shared(_next(before) | {"rollout": before["rollout"] | {"seen": seen}}, weights)


def without(before: Deployment, versions: Container[int]) -> Deployment:
    """The deployment whose rollout goes on without some of its new versions: stable gets their traffic.

    At least one has to be left.
    """
    rollout = before["rollout"]
    first, *others = [version for version in challengers(rollout) if version not in versions]
    weights = {entry["version"]: entry["weight"] for entry in before["traffic"]}
    gone = sum(weights.pop(version) for version in list(weights) if version in versions)
    weights[rollout["stable"]] = weights.get(rollout["stable"], 0) + gone
    after = rollout | {"canary": first, "others": others}
    return _shared(_next(before) | {"rollout": after}, weights)


def with_stable(before: Deployment, traffic: list[dict[str, int]]) -> Deployment:
    """The deployment with new stable traffic; the one before joins the trail."""
    entry = {"traffic": _stable_traffic(before), "revision": before["revision"]}
    return _next(before) | {"traffic": traffic, "rollout": None, "trail": [*before["trail"], entry][-TRAIL:]}


def rolled_back(before: Deployment) -> Deployment:
    """The deployment with the stable traffic before: out of its rollout, or one further back along its trail.

    Before the first version nothing was served, and taking the first one back leads there. Once an older version serves
    again it does not: in an incident people press twice, and that must not end in an outage.
    """
    if before["rollout"] is not None:
        return _next(before) | {"traffic": _stable_traffic(before), "rollout": None}
    if not before["traffic"]:
        raise InputError(
            f"Deployment {before['name']!r} is not in service: there is nothing to roll back.",
            hint=f"Bring a version into service: bascule deploy {before['name']} VERSION",
        )
    if not before["trail"]:
        raise InputError(
            f"Deployment {before['name']!r} has nothing to roll back to: "
            f"{shown(before['traffic'])} is the first that served.",
            hint="Deploy another version instead.",
        )
    *trail, last = before["trail"]
    if last["traffic"]:
        trail = [entry for entry in trail if entry["traffic"]]
    return _next(before) | {"traffic": last["traffic"], "trail": trail}


def without_needless_wait(deployment: Deployment) -> Deployment:
    """The deployment without the mark of a version that waits, when that version has traffic now or there is none."""
    if "waits" not in deployment:
        return deployment
    waits = deployment["waits"]
    if waits is not None and all(entry["version"] != waits for entry in deployment["traffic"]):
        return deployment
    return {key: value for key, value in deployment.items() if key != "waits"}


def in_service(deployment: Deployment) -> bool:
    """Tell whether any version has traffic."""
    return bool(deployment.get("traffic"))


def needed(deployment: Deployment) -> set[int]:
    """Return the versions that have to be there for a deployment to answer, and for its rollout to go on."""
    rollout = deployment.get("rollout") or {}
    found = {int(rollout[arm]) for arm in ("stable", "canary") if arm in rollout}
    found |= {int(version) for version in rollout.get("others", ())}
    return found | {int(entry["version"]) for entry in deployment.get("traffic") or ()}


def where_in_service(workspace: Workspace, model: str, version: int) -> list[tuple[str, str]]:
    """Return where a version answers or is in a rollout: branches, each with a deployment."""
    history, prefix = workspace.history, "deployments/"
    return [
        (branch.name, path.removeprefix(prefix))
        for branch in history.branches()
        for path, one in history.entries(branch.head, prefix)
        if one["model"] == model and version in needed(one)
    ]


def out_of_service(before: Deployment) -> Deployment:
    """The deployment without traffic; what it served joins the trail."""
    return {name: value for name, value in with_stable(before, []).items() if name != "waits"}


def gone_back(before: Deployment, known: Container[int]) -> Deployment | None:
    """The deployment with the newest stable traffic before of which all versions are known; None when there is none."""
    trail = before.get("trail") or []
    earlier = [_stable_traffic(before), *(entry["traffic"] for entry in reversed(trail))]
    for back, traffic in enumerate(earlier):
        if traffic and all(entry["version"] in known for entry in traffic):
            return _next(before) | {"traffic": traffic, "rollout": None, "trail": trail[: len(trail) - back]}
    return None


def checked_steps(steps: Sequence[int]) -> list[int]:
    """Return the steps of a rollout, or raise `InputError`."""
    found = list(steps)
    whole = all(isinstance(step, int) and not isinstance(step, bool) and 1 <= step <= 100 for step in found)
    if len(found) < 2 or not whole or found != sorted(set(found)) or found[-1] != 100:
        raise InputError(
            f"The steps of a rollout cannot be {found!r}.",
            hint="Write rising percentages that end with 100: [10, 50, 100]",
        )
    return found


def checked_traffic(weights: Mapping[int, int]) -> list[dict[str, int]]:
    """Return traffic from weights by version, or raise `InputError`."""
    whole = all(isinstance(w, int) and not isinstance(w, bool) and 0 <= w <= 100 for w in weights.values())
    if not whole or sum(weights.values()) != 100:
        why = f": that sums to {sum(weights.values())}" if whole else ""
        raise InputError(
            f"Traffic cannot be {', '.join(f'version {v} at {w}' for v, w in weights.items()) or 'nothing'}{why}.",
            hint="Give each version a whole percentage; they sum to 100.",
        )
    return [{"version": int(version), "weight": weight} for version, weight in sorted(weights.items()) if weight]


def told_unseen(deployment: Mapping[str, Any]) -> str:
    """The version that a shadow asks unseen, to stand behind the traffic, where it is not; empty for others."""
    version = deployment["rollout"]["canary"]
    return "" if any(one["version"] == version for one in deployment["traffic"]) else f", version {version} unseen"


def shown(traffic: Sequence[Mapping[str, int]]) -> str:
    """Traffic as a person reads it."""
    return ", ".join(f"version {entry['version']} at {entry['weight']} %" for entry in traffic) or "not in service"


def _next(before: Deployment) -> Deployment:
    return before | {"revision": before["revision"] + 1}


def _stable_traffic(deployment: Deployment) -> list[dict[str, int]]:
    rollout = deployment["rollout"]
    traffic: list[dict[str, int]] = deployment["traffic"]
    return [{"version": rollout["stable"], "weight": 100}] if rollout else traffic


def _split(rollout: Mapping[str, Any]) -> list[dict[str, int]]:
    share = rollout["steps"][rollout["step"]]
    shares = {"stable": 100 - share, "canary": share}
    return [{"version": rollout[arm], "weight": weight} for arm, weight in shares.items() if weight]


def _shared(after: Deployment, weights: Mapping[int, int]) -> Deployment:
    """The deployment with weights of several new versions, kept by revision: the evidence is judged by them."""
    rollout = after["rollout"]
    kept = rollout["weights"] | {str(after["revision"]): {str(version): weight for version, weight in weights.items()}}
    steps = [100 - weights.get(rollout["stable"], 0), 100]
    entries = [{"version": version, "weight": weight} for version, weight in weights.items() if weight]
    return after | {"rollout": rollout | {"weights": kept, "steps": steps}, "traffic": entries}
