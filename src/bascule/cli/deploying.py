"""Commands about one deployment: deployment show, traffic, power; and preview."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, columns
from bascule.counting import counted

if TYPE_CHECKING:
    from bascule.project.deploying import Preview

Seeing = Literal["errors", "latency", "quality", "goal"]
deployment = App(name="deployment", help="One deployment: how it stands, its traffic by hand, its power.")


@deployment.command
def show(name: str, /, *, common: Common = COMMON) -> None:
    """Show what a deployment serves, what its rollout has shown, and where it answers.

    Args:
        name: the deployment, as delays or deployments/delays; on main, as for rollback.
    """
    from bascule.delivery.strategies import words

    found = common.open().show_deployment(name)
    held, rollout = found.deployment, found.deployment["rollout"]
    facts = [
        ("deployment", f"{held['name']} on {found.branch}"),
        ("model", held["model"]),
        ("traffic", ", ".join(f"version {one['version']} at {one['weight']} %" for one in held["traffic"]) or "none"),
        ("strategy", held["strategy"]),
        ("revision", str(held["revision"])),
        ("runs in", _place((held.get("service") or {}).get("workers", 0))),
        ("answers at", f"{found.preview.http}/models/{held['name']}/infer"),
    ]
    parts = [columns(facts)]
    if rollout and found.decision:
        new = ", ".join(map(str, (rollout["canary"], *rollout.get("others", ()))))
        kind = words(rollout.get("strategy", "canary")).partition(" ")[2]  # "canary", "A/B test", …
        told = f"{kind[0].upper()}{kind[1:]} of version {new} against {rollout['stable']}: {found.decision['action']}."
        parts.append(f"{told} {found.decision['reason']}")
        parts.append(columns([_finding(one) for one in found.decision["findings"]]))
    if found.incidents:
        parts.append("\n".join(["What broke:", *(f"  {one.told()}" for one in found.incidents)]))
    answer(common, found.as_dict(), "\n\n".join(parts))


def _place(workers: int) -> str:
    if workers:
        return f"{counted(workers, 'process', 'processes')} of its own for each version"
    alone = "a crash takes the other models along; service.workers = 1 is a process of its own"
    return f"the server itself, but for steps and pickles: {alone}"


def _finding(one: Mapping[str, Any]) -> tuple[str, str, str]:
    version = one.get("version")
    return (one["rule"] if version is None else f"{one['rule']} of {version}", one["state"], one["reason"])


@deployment.command
def traffic(
    name: str,
    shares: list[str],
    /,
    *,
    reason: Annotated[str, Parameter(name=["--reason", "-m"], help="Why; kept with the change.")] = "",
    common: Common = COMMON,
) -> None:
    """Share the traffic among versions by hand. It ends a rollout that is under way.

    Args:
        name: the deployment, as delays or deployments/delays; on main, as for rollback.
        shares: VERSION=PERCENT for each, such as 3=50 4=50; they sum to 100.
    """
    done = common.open().set_traffic(name, shares, reason=reason)
    answer(common, done.as_dict(), f"{done.commit.short}  {done.commit.message}, on {done.branch}")


@deployment.command
def power(
    name: str,
    /,
    *,
    effect: Annotated[float, Parameter(help="How much worse it is (of a goal: better), such as 0.01.")],
    rule: Annotated[
        Literal["errors", "latency", "quality", "goal"], Parameter(help="Which rule is to see it.")
    ] = "errors",
    base: Annotated[float | None, Parameter(help="The rate, or the goal's mean, now; measured when not given.")] = None,
    spread: Annotated[float | None, Parameter(help="The standard deviation of one value; measured likewise.")] = None,
    share: Annotated[int | None, Parameter(help="The new version's percentage; as the strategy begins.")] = None,
    probability: Annotated[float, Parameter(help="The chance with which it is to be seen.")] = 0.8,
    common: Common = COMMON,
) -> None:
    """Say how many requests it takes until a rollout sees an effect of some size, however often somebody looks.

    Args:
        name: the deployment, as delays or deployments/delays; on main, as for rollback.
    """
    found = common.open().deployment_power(
        name, rule=rule, effect=effect, base=base, spread=spread, share=share, probability=probability
    )
    what = {"goal": "units", "quality": "labelled requests"}.get(rule, "requests")
    size = f"{effect:g} {'better' if rule == 'goal' else 'more' if rule in ('errors', 'latency') else 'worse'}"
    if found["requests"] is None:
        text = f"{rule}: {size} is not seen with a chance of {probability:.0%} within what was looked at."
    else:
        text = f"{rule}: {size} (now {found['base']:.4g}) is seen with a chance of {probability:.0%}"
        text += f" after {found['requests']:,} {what}"
        text += f", at {found['share']:.0%} of the traffic." if rule != "quality" else "."
        if found["days"]:
            text += f" That is {found['days']:.1f} days of the present traffic."
    if found["median"] is not None:
        text += f"\nHalf of the time it is seen after {found['median']:,} {what}."
    text += f"\nWithout any effect, {found['false_alarms']:.1%} of rollouts raise it"
    text += " at most." if rule == "goal" else ", by simulation."
    answer(common, found, text)


def preview(
    ref: str | None = None,
    /,
    *,
    url: Annotated[str | None, Parameter(help="Where inference answers; [deployment] url, or this machine.")] = None,
    grpc: Annotated[str | None, Parameter(help="Host and port of gRPC.")] = None,
    common: Common = COMMON,
) -> None:
    """Say where a branch answers, so that it can be tried before it is merged. `bascule up` or `serve` answers there.

    Args:
        ref: the branch; the current one when not given.
    """
    found = common.open().preview(ref, url=url, grpc=grpc)
    answer(common, found.as_dict(), _told(found))


def _told(found: Preview) -> str:
    metadata = ", ".join(f"{key}: {value}" for key, value in found.metadata.items())
    facts = [
        ("HTTP", found.http),
        ("gRPC", found.grpc + (f" with the metadata {metadata}" if metadata else "")),
        ("serves", ", ".join(found.deployments) or "nothing yet: bascule deploy --branch " + found.branch),
    ]
    return columns(facts) + ("\n" + found.curl if found.deployments else "")
