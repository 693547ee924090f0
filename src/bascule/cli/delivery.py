"""Commands that move traffic: deploy, rollback, promote, advance; and the one that watches it: monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, columns

if TYPE_CHECKING:
    from bascule.project.shipping import Moved

# The most important ones; --json has them all.
MOST_ALERTS = 8


def deploy(
    name: str | None = None,
    version: str = "production",
    /,
    *,
    model: Annotated[str | None, Parameter(help="The model, if it is not called as the deployment is.")] = None,
    strategy: Annotated[str | None, Parameter(help="canary or all_at_once; the project's when not given.")] = None,
    reason: Annotated[str, Parameter(name=["--reason", "-m"], help="Why; kept with the change.")] = "",
    common: Common = COMMON,
) -> None:
    """Bring a version into service: the first at once, a later one by canary steps that judge it.

    Args:
        name: the deployment; the project's when not given.
        version: a number or an alias.
    """
    moved = common.open().deploy(name, version, model=model, strategy=strategy, reason=reason)
    _told(common, moved)


def rollback(
    name: str,
    /,
    *,
    reason: Annotated[str, Parameter(name=["--reason", "-m"], help="Why; kept with the change.")] = "",
    common: Common = COMMON,
) -> None:
    """Give a deployment the stable traffic that it had before. Workers follow within a fraction of a second.

    It is the deployment on main that is rolled back, unless --branch says another or the current branch deployed it.

    Args:
        name: the deployment, as delays or deployments/delays.
    """
    _told(common, common.open().rollback(name, reason=reason))


def promote(
    name: str,
    /,
    *,
    reason: Annotated[str, Parameter(name=["--reason", "-m"], help="Why; kept with the change.")] = "",
    common: Common = COMMON,
) -> None:
    """Give a canary all traffic now. The controller does that by itself when the evidence is there.

    Args:
        name: the deployment, as delays or deployments/delays; on main, as for rollback.
    """
    _told(common, common.open().promote(name, reason=reason))


def advance(
    name: str,
    /,
    *,
    reason: Annotated[str, Parameter(name=["--reason", "-m"], help="Why; kept with the change.")] = "",
    common: Common = COMMON,
) -> None:
    """Give a canary its next share of the traffic now; after the last step it has all.

    Args:
        name: the deployment, as delays or deployments/delays; on main, as for rollback.
    """
    _told(common, common.open().advance(name, reason=reason))


def monitor(name: str | None = None, /, *, common: Common = COMMON) -> None:
    """Measure drift and quality of what is served, period by period; open and close alerts; fire triggers.

    Args:
        name: the monitor; all of the branch when not given.
    """
    from bascule.counting import counted

    found = common.open().monitor(name)
    document = [result.as_dict() for result in found]
    lines = [
        (
            r.monitor,
            counted(r.windows, "period"),
            counted(r.predictions, "prediction"),
            counted(len(r.firing), "alert"),
            r.triggered or "",
        )
        for r in found
    ]
    details = []
    for result in found:
        if result.waits:
            details.append(f"  drift of {result.monitor} is not judged yet: it waits for {result.waits}")
        shown = result.firing[:MOST_ALERTS]
        details += [f"  {a.measure} of {a.told}, against {a.threshold or 0:.3g}" for a in shown]
        if len(result.firing) > len(shown):
            details.append(f"  and {len(result.firing) - len(shown)} more alerts")
    answer(common, document, "\n".join([columns(lines, none="Nothing is watched on this branch."), *details]))


def _told(common: Common, moved: Moved) -> None:
    text = f"{moved.commit.short}  {moved.commit.message}, on {moved.branch}"
    if moved.shipped:
        text += f"\n  version {moved.shipped.version}, which waited for it, rolls out: {moved.shipped.share} % now"
    if later := moved.not_shipped:
        where = "" if moved.branch == "main" else f" --branch {moved.branch}"
        text += f"\n  version {later.version}, which waited, is not rolled out; that does:"
        text += f" bascule deploy {later.deployment} {later.version}{where}"
    answer(common, moved.as_dict(), text if moved.changed else "It has all traffic already; nothing was changed.")
