"""Commands that move traffic: deploy, rollback, promote, advance; and the one that watches it: monitor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, columns, say
from bascule.errors import Conflict, InputError

if TYPE_CHECKING:
    from bascule.project.foreseeing import Foreseen
    from bascule.project.releasing import WentBack
    from bascule.project.shipping import Moved
    from bascule.verbs import OpenProject

# The most important ones; --json has them all.
MOST_ALERTS = 8


def deploy(
    name: str | None = None,
    version: str = "production",
    /,
    *,
    also: Annotated[
        list[str] | None,
        Parameter(negative="", help="A further version, which ab or bandit compares at the same time; repeatable."),
    ] = None,
    model: Annotated[str | None, Parameter(help="The model, if it is not called as the deployment is.")] = None,
    strategy: Annotated[
        str | None,
        Parameter(help="canary, all_at_once, blue_green, ab, shadow or bandit: for this version alone."),
    ] = None,
    share: Annotated[
        int | None, Parameter(help="The percentage of the new version: for ab, and first for bandit.")
    ] = None,
    goal: Annotated[
        str | None,
        Parameter(help="What ab or bandit is for: outcome, score or SQL; with lower: before it when less is better."),
    ] = None,
    keep: Annotated[str | None, Parameter(help="How long blue_green keeps the version before warm.")] = None,
    reason: Annotated[str, Parameter(name=["--reason", "-m"], help="Why; kept with the change.")] = "",
    common: Common = COMMON,
) -> None:
    """Bring a version into service: the first at once, a later one by canary steps that judge it.

    Args:
        name: the deployment; the project's when not given.
        version: a number or an alias, or MODEL@VERSION.
    """
    how: dict[str, Any] = {"strategy": strategy, "share": share, "goal": goal, "keep": keep}
    named, _, number = version.rpartition("@")
    if named and model not in (None, named):
        raise InputError(
            f"The version is of model {named!r}, and --model says {model!r}.", hint="Say which one it is once."
        )
    moved = common.open().deploy(name, number, also=also or (), model=named or model, reason=reason, **how)
    _told(common, moved)


def rollback(
    name: str,
    /,
    *,
    dry_run: Annotated[bool, Parameter(help="Say what would go back, and change nothing.", negative="")] = False,
    yes: Annotated[bool, Parameter(help="Also out of service, or further back than another.", negative="")] = False,
    reason: Annotated[str, Parameter(name=["--reason", "-m"], help="Why; kept with the change.")] = "",
    common: Common = COMMON,
) -> None:
    """Give a deployment the traffic that it had before, or the whole branch the state of a release.

    What else goes back with a release, later rules of deployments too, is said before it is done. What would take a
    deployment out of service, as the first version's rollback does, is asked first; and so is what somebody else, or
    the controller, has rolled back within the last minute: it would go one further back.

    Workers follow within a fraction of a second. It is the deployment on main that is rolled back, unless --branch says
    another or the current branch deployed it. A tag or a commit takes data, features, models and deployments back
    together, on main or on --branch; no checks are run, for they were when that state landed first.

    Args:
        name: the deployment, as delays or deployments/delays; or a tag, as v1.2, or a commit.
    """
    from bascule.catalog import actor
    from bascule.project.releasing import WentBack

    opened = common.open()
    foreseen = opened.foresee_rollback(name)
    if dry_run:
        return answer(common, foreseen.as_dict(), foreseen.text())
    if foreseen.release and foreseen.paths and not common.json:
        say(foreseen.text())
    if not yes:
        _demand_meant(foreseen, common, others=actor())
    done = _rolled_back(opened, foreseen, reason, yes, common)
    if not isinstance(done, WentBack):
        return _told(common, done)
    text = f"{done.branch} is as it was at {name} already; nothing was changed."
    if done.changed:
        text = f"{done.commit.short}  {done.commit.message}, on {done.branch}: {done.kinds}"
        text += "".join(f"\n  {one}: {_shares(traffic)}" for one, traffic in done.deployments.items())
        text += "\n  no checks were run: that state has landed before"
    return answer(common, done.as_dict(), text)


def _rolled_back(opened: OpenProject, foreseen: Foreseen, reason: str, yes: bool, common: Common) -> Moved | WentBack:
    """Do what was foreseen. Who was overtaken by a rollback is told of it; any other change is rolled back too."""
    expect = None if foreseen.release else foreseen.state
    while True:
        try:
            return opened.rollback(foreseen.name, reason=reason, expect=expect)
        except Conflict:
            if expect is None:
                raise
            foreseen = opened.foresee_rollback(foreseen.name)
            if not yes:
                _demand_meant(foreseen, common)
            expect = None  # it is looked at once more: a person's rollback wins against what goes on changing


def _demand_meant(foreseen: Foreseen, common: Common, others: str = "") -> None:
    """Ask about what may not be meant, and stop where nobody says yes.

    Args:
        others: who asks: what this person has just rolled back itself may go further back unasked.
    """
    if foreseen.lately and foreseen.lately.by != others:
        _demand_further(foreseen, common)
    elif foreseen.ends:
        _demand_yes(foreseen, common)


def _demand_further(foreseen: Foreseen, common: Common) -> None:
    """Ask whether what somebody else has just rolled back is to go further back, and stop where nobody says yes."""
    from bascule.delivery.traffic import shown

    (turned,) = foreseen.deployments.values()
    told = f"{foreseen.rolled_back()}."
    if _agreed(f"{told} Go further back, to {shown(turned.after)}?", common):
        return
    there = f" --branch {common.branch}" if common.branch else ""
    raise InputError(
        f"{told} Nothing was changed.",
        hint=f"Further back, to {shown(turned.after)}: bascule rollback {foreseen.name} --yes{there}",
    )


def _demand_yes(foreseen: Foreseen, common: Common) -> None:
    """Ask whether a deployment may be out of service, and stop where nobody can be asked or says no."""
    names = ", ".join(f"{one} on {foreseen.branch}" for one in foreseen.ends)
    told = f"This takes {names} out of service: nothing served there before."
    if _agreed(f"{told} Do it?", common):
        return
    there = f" --branch {common.branch}" if common.branch else ""
    raise InputError(
        f"{told} Nothing was changed.",
        hint=f"If that is what you want: bascule rollback {foreseen.name} --yes{there}. "
        f"Another version instead: bascule deploy {foreseen.ends[0]} VERSION{there}",
    )


def _agreed(question: str, common: Common) -> bool:
    """Whether somebody can be asked, and says yes."""
    from bascule.cli.progress import is_interactive

    if common.json or not is_interactive():
        return False
    say(f"{question} [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


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


def _shares(traffic: list[dict[str, int]]) -> str:
    return ", ".join(f"version {one['version']} at {one['weight']} %" for one in traffic) or "not in service"


def _told(common: Common, moved: Moved) -> None:
    text = f"{moved.commit.short}  {moved.commit.message}, on {moved.branch}"
    if moved.shipped:
        text += f"\n  version {moved.shipped.version}, which waited for it, rolls out: {moved.shipped.share} % now"
    for came in (moved.shipped, moved.deployed):
        if came and came.engine_left:
            text += f"\n  {came.hint()}"
    if later := moved.not_shipped:
        where = "" if moved.branch == "main" else f" --branch {moved.branch}"
        text += f"\n  version {later.version}, which waited, is not rolled out; that does:"
        text += f" bascule deploy {later.deployment} {later.version}{where}"
    answer(common, moved.as_dict(), text if moved.changed else "It has all traffic already; nothing was changed.")
