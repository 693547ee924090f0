"""Commands over the history: status, log, branch, switch, revert, tag."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, columns

if TYPE_CHECKING:
    from bascule.history import Commit, History


def log(
    ref: str | None = None,
    /,
    *,
    path: Annotated[str | None, Parameter(help="Only commits that changed this path, such as tables/flights.")] = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="At most so many.")] = 20,
    common: Common = COMMON,
) -> None:
    """Show the commits of a branch, youngest first, with what each changed.

    Args:
        ref: a branch, a tag or a commit; the current branch when not given.
    """
    place = common.place()
    history = place.workspace.history
    commits = history.log(ref or place.branch, limit=limit, path=path)
    document = [{**commit.as_dict(), "changes": _changes(history, commit)} for commit in commits]
    names = _names(history)
    blocks = []
    for commit, row in zip(commits, document, strict=True):
        refs = f" ({', '.join(names[commit.id])})" if commit.id in names else ""
        what = _summary(row["changes"])
        head = f"{commit.short}{refs}  {commit.time:%Y-%m-%d %H:%M:%S}  {commit.author}"
        blocks.append(f"{head}\n    {commit.message}" + (f"\n    {what}" if what else ""))
    answer(common, document, "\n\n".join(blocks))


def branch(
    name: str | None = None,
    /,
    *,
    at: Annotated[str | None, Parameter(help="The state to begin at; the current branch when not given.")] = None,
    delete: Annotated[bool, Parameter(help="Remove the branch's name.", negative="")] = False,
    force: Annotated[bool, Parameter(help="With --delete: even if main does not have all of it.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """List branches, or make one. It costs no copy, whatever the data.

    Args:
        name: the branch to make (or to delete); all are listed when not given.
    """
    place = common.place()
    history = place.workspace.history
    if name is None:
        current = place.branch
        rows = [
            {"name": b.name, "head": b.head, "protected": b.protected, "current": b.name == current}
            for b in history.branches()
        ]
        lines = [("*" if r["current"] else " ", r["name"], str(r["head"])[:10]) for r in rows]
        answer(common, rows, columns(lines, gap=1))
    elif delete:
        if name == place.branch:
            from bascule.errors import InputError

            hint = "Switch to another one first: bascule switch main"
            raise InputError(f"{name!r} is the current branch.", hint=hint)
        history.delete_branch(name, force=force)
        answer(common, {"deleted": name}, f"Deleted branch {name}.")
    else:
        made = history.create_branch(name, at or place.branch)
        answer(common, {"name": name, "head": made.head}, f"Branch {name} at {made.head[:10]}.")


def switch(
    name: str,
    /,
    *,
    create: Annotated[bool, Parameter(name=["--create", "-c"], help="Make the branch first.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Make a branch the current one; in a git repository this is `git switch`, which Bascule follows.

    Args:
        name: the branch.
    """
    place = common.place()
    before = place.branch
    if create and name not in {ref.name for ref in place.workspace.history.branches()}:
        place.workspace.history.create_branch(name, before)
    place.workspace.history.resolve(name)
    if place.follows_git:
        _git_switch(str(place.folder), name, create)
    else:
        place.switch(name)
    answer(common, {"branch": name}, f"On branch {name}.")


def revert(
    ref: str,
    /,
    *,
    message: Annotated[str | None, Parameter(name=["--message", "-m"], help="The new commit's message.")] = None,
    common: Common = COMMON,
) -> None:
    """Undo one commit on the current branch by a new commit.

    Args:
        ref: the commit to undo.
        message: the new commit's message.
    """
    place = common.place()
    made = place.workspace.history.revert(ref, on=place.branch, message=message)
    answer(common, made.as_dict(), f"{made.short}  {made.message}")


def tag(name: str | None = None, at: str | None = None, /, *, common: Common = COMMON) -> None:
    """List tags, or name a state for good.

    Args:
        name: the tag to make; all are listed when not given.
        at: the state to name; the current branch when not given.
    """
    place = common.place()
    history = place.workspace.history
    if name is None:
        rows = [{"name": t.name, "commit": t.head} for t in history.tags()]
        answer(common, rows, columns([(r["name"], r["commit"][:10]) for r in rows], none="No tags yet."))
    else:
        made = history.tag(name, at or place.branch)
        answer(common, {"name": name, "commit": made.head}, f"Tag {name} at {made.head[:10]}.")


def status(*, common: Common = COMMON) -> None:
    """Show the current branch, what it holds, what it has that main has not, and what is served."""
    place = common.place()
    history, current = place.workspace.history, place.branch
    head = history.resolve(current)
    kinds: dict[str, int] = {}
    for path in history.digests(head):
        kinds[path.partition("/")[0]] = kinds.get(path.partition("/")[0], 0) + 1
    changes = history.diff("main", head) if current != "main" else []
    deployed = {path.partition("/")[2]: obj["traffic"] for path, obj in history.entries(head, "deployments/")}
    document = {
        "branch": current,
        "commit": head.as_dict(),
        "objects": kinds,
        "ahead_of_main": [{"path": c.path, "kind": c.kind} for c in changes],
        "deployments": deployed,
        "follows_git": place.follows_git,
    }
    held = ", ".join(f"{n} {_kind(kind, n)}" for kind, n in sorted(kinds.items()))
    lines = [
        f"On branch {current}{' (following git)' if place.follows_git else ''}, at {head.short}: {head.message}",
        f"  {held or 'nothing in it yet; try: bascule run'}",
    ]
    for name, traffic in deployed.items():
        serves = ", ".join(f"version {t['version']} ({t['weight']} %)" for t in traffic)
        lines.append(f"  {name} serves {serves}" if serves else f"  {name} is not in service on this branch")
    if changes:
        lines += ["", "Against main:", *(f"  {c.kind:8}{c.path}" for c in changes)]
    answer(common, document, "\n".join(lines))


def _kind(name: str, count: int) -> str:
    """Return what objects below a folder of the history are called, one or many."""
    return name if count != 1 else {"entities": "entity"}.get(name, name.removesuffix("s"))


def _changes(history: History, commit: Commit) -> list[dict[str, str]]:
    if not commit.parents:
        return []
    return [{"path": c.path, "kind": c.kind} for c in history.diff(commit.parents[0], commit.id)]


def _summary(changes: list[dict[str, str]]) -> str:
    shown = ", ".join(f"{c['kind']} {c['path']}" for c in changes[:4])
    return shown + (f" and {len(changes) - 4} more" if len(changes) > 4 else "")


def _names(history: History) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for ref in (*history.branches(), *history.tags()):
        found.setdefault(ref.head, []).append(f"tag {ref.name}" if ref.kind == "tag" else ref.name)
    return found


def _git_switch(folder: str, name: str, create: bool) -> None:
    from bascule.errors import InputError

    flags: list[Any] = ["--create"] if create else []
    done = subprocess.run(
        ["git", "-C", folder, "switch", "--quiet", *flags, name], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise InputError(
            f"git does not switch to {name!r}: {done.stderr.strip()}",
            hint=f"Make git's branch too with: bascule switch --create {name}",
        )
