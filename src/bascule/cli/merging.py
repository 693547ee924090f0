"""The command that ships: merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer

if TYPE_CHECKING:
    from bascule.project.shipping import Shipped


def merge(
    source: str,
    into: str | None = None,
    /,
    *,
    message: Annotated[str | None, Parameter(name=["--message", "-m"], help="The merge commit's message.")] = None,
    ours: Annotated[list[str] | None, Parameter(help="A path in conflict: keep the target's side.")] = None,
    theirs: Annotated[list[str] | None, Parameter(help="A path in conflict: take the source's side.")] = None,
    ship: Annotated[bool, Parameter(help="Bring new production versions into service.")] = True,
    common: Common = COMMON,
) -> None:
    """Merge a branch after its checks: contracts on changed tables, gates on changed models. Then ship what is new.

    Args:
        source: the branch (or tag, or commit) to merge.
        into: the branch to merge into: main, or the current branch when that is not the source.
    """
    project = common.open()
    target = into or project.place.target(source)
    done = project.merge(source, target, ours=ours or (), theirs=theirs or (), message=message, ship=ship)
    told = f"{target} has everything that {source} has."
    lines = [f"{done.commit.short}  {done.commit.message}" if done.changes else told]
    lines += [f"  {c.kind:8}{c.path}" for c in done.changes]
    lines += [f"  checked {path}" for path in done.checked]
    lines += [_shipped(one) for one in done.shipped]
    lines += [f"  deployments/{w.deployment}: version {w.version} waits until {w.until}" for w in done.waiting]
    answer(common, done.as_dict(), "\n".join(lines))


def _shipped(one: Shipped) -> str:
    if one.share == 100:
        return f"  deployments/{one.deployment} serves version {one.version}"
    return f"  deployments/{one.deployment} rolls out version {one.version}: {one.share} % of the traffic now"
