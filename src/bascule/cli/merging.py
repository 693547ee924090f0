"""The commands that bring something from another state: merge, cherry-pick, restore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer
from bascule.counting import counted
from bascule.errors import InputError

if TYPE_CHECKING:
    from bascule.lake import RowMerge
    from bascule.project.publishing import Published
    from bascule.project.shipping import Shipped


def merge(
    source: str,
    into: str | None = None,
    /,
    *,
    message: Annotated[str | None, Parameter(name=["--message", "-m"], help="The merge commit's message.")] = None,
    ours: Annotated[list[str] | None, Parameter(help="A path in conflict: keep the target's side.")] = None,
    theirs: Annotated[list[str] | None, Parameter(help="A path in conflict: take the source's side.")] = None,
    rows: Annotated[
        list[str] | None,
        Parameter(
            help="Merge tables that both sides changed row by row, by their keys: these, or all of them.",
            consume_multiple=True,
        ),
    ] = None,
    cells: Annotated[
        bool, Parameter(help="With --rows: merge a row of which each side changed other columns.", negative="")
    ] = False,
    conflicts: Annotated[
        Path | None, Parameter(help="With --rows: write every row in conflict to this file, as JSON lines.")
    ] = None,
    ship: Annotated[bool, Parameter(help="Bring new production versions into service.")] = True,
    squash: Annotated[
        bool, Parameter(help="Land as one commit that does not lead to the source's commits.", negative="")
    ] = False,
    with_git: Annotated[
        bool, Parameter(help="Merge git's branch of that name too: both land, or neither.", negative="")
    ] = False,
    allow_breaking: Annotated[
        str | None, Parameter(help="Why it lands although readers of a table break; the audit log keeps it.")
    ] = None,
    common: Common = COMMON,
) -> None:
    """Merge a branch after its checks: contracts on changed tables, gates on changed models. Then ship what is new.

    Args:
        source: the branch (or tag, or commit) to merge.
        into: the branch to merge into: main, or the current branch when that is not the source.
    """
    project = common.open()
    target = into or project.place.target(source)
    if rows is None and (cells or conflicts is not None):
        raise InputError(
            "--cells and --conflicts say how rows are merged, and --rows is not there.", hint="Add --rows."
        )
    done = project.merge(
        source,
        target,
        message=message,
        ours=ours or (),
        theirs=theirs or (),
        rows=rows,
        cells=cells,
        conflicts=conflicts,
        ship=ship,
        squash=squash,
        with_git=with_git,
        allow_breaking=allow_breaking,
    )
    _answer(common, done, f"{target} has everything that {source} has.")


def cherry_pick(
    ref: str,
    /,
    *,
    message: Annotated[str | None, Parameter(name=["--message", "-m"], help="The new commit's message.")] = None,
    ours: Annotated[list[str] | None, Parameter(help="A path in conflict: keep the branch's side.")] = None,
    theirs: Annotated[list[str] | None, Parameter(help="A path in conflict: take the commit's side.")] = None,
    ship: Annotated[bool, Parameter(help="Bring new production versions into service.")] = True,
    allow_breaking: Annotated[
        str | None, Parameter(help="Why it lands although readers of a table break; the audit log keeps it.")
    ] = None,
    common: Common = COMMON,
) -> None:
    """Bring what one commit changed onto the current branch, after the checks of a merge.

    Args:
        ref: the commit; of a merge, what it brought to its branch.
    """
    project = common.open()
    sides = {"ours": ours or (), "theirs": theirs or ()}
    done = project.cherry_pick(ref, message=message, ship=ship, allow_breaking=allow_breaking, **sides)
    _answer(common, done, f"{project.place.branch} has what {ref} changed.")


def restore(
    paths: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    source: Annotated[str, Parameter(name="--from", help="The state to take them from: a branch, a tag, a commit.")],
    message: Annotated[str | None, Parameter(name=["--message", "-m"], help="The new commit's message.")] = None,
    common: Common = COMMON,
) -> None:
    """Bring single paths back on the current branch from another state, after the checks of a merge.

    Of a deployment the rules come back; its traffic is moved by rollback.

    Args:
        paths: such as tables/flights or contracts/flights; what the other state does not have is removed.
    """
    project = common.open()
    done = project.restore(paths, source, message=message)
    _answer(common, done, f"{project.place.branch} has them as {source} has; nothing was changed.")


def _answer(common: Common, done: Published, told: str) -> None:
    lines = [f"{done.commit.short}  {done.commit.message}" if done.changes else told]
    lines += [f"  {c.kind:8}{c.path}" for c in done.changes]
    lines += [f"  {path}: {_merged(one)}" for path, one in done.rows.items()]
    lines += [f"  checked {path}" for path in done.checked]
    lines += [f"  {one.text()}" for one in done.judged if one.change.verdict == "breaking"]
    lines += [_shipped(one) for one in done.shipped]
    lines += [f"  deployments/{w.deployment}: version {w.version} waits until {w.until}" for w in done.waiting]
    lines += [f"  deployments/{name} stays: it is in service here, and traffic is a branch's own" for name in done.kept]
    lines += [f"  git's branch is at {done.git[:10]}"] if done.git else []
    answer(common, done.as_dict(), "\n".join(lines))


def _merged(one: RowMerge) -> str:
    came = one.incoming
    assert came is not None
    words = [f"{counted(came.added, 'row')} added", f"{came.changed:,} changed", f"{came.removed:,} removed"]
    return f"{', '.join(words)}; {counted(one.taken, 'file')} taken as before, {one.rewritten} written again"


def _shipped(one: Shipped) -> str:
    hint = f"\n    {one.hint()}" if one.engine_left else ""
    if one.share == 100:
        return f"  deployments/{one.deployment} serves version {one.version}{hint}"
    return f"  deployments/{one.deployment} rolls out version {one.version}: {one.share} % of the traffic now{hint}"
