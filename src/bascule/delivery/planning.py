"""What a deployment says of how versions come into service, as an object to be written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bascule.delivery import traffic
from bascule.delivery.environments import KEYS
from bascule.delivery.guardrails import read_guardrails
from bascule.delivery.strategies import read_plan
from bascule.delivery.traffic import Deployment
from bascule.registry import ModelVersion

DEFAULT_STEPS = (10, 100)
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
        fresh = rules_of(steps, shadow is not False, guardrails, plan, strategy) | gated
        return traffic.planned(name, model, strategy, fresh) | asked
    held = {key: value for key, value in before["rules"].items() if key not in ("plan", *KEYS)}
    rules = held | rules_of(steps, held.get("shadow", True) if shadow is None else shadow, guardrails, plan, strategy)
    rules |= gated
    kept = {key: value for key, value in before.items() if key not in ("requests", "log", "service", "fills")}
    return kept | {"strategy": strategy, "rules": rules} | asked


def rules_of(
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


def limits_of(rules: Mapping[str, Any], chosen: ModelVersion) -> dict[str, Any]:
    """The guardrails of one rollout, whole: what was not given is as fits the version's answers."""
    task = chosen.signature.get("output", {}).get("task")
    found: dict[str, Any] = msgspec.to_builtins(read_guardrails(rules["guardrails"], task, chosen.metrics))
    return found
