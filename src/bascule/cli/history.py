"""Commands over the history: status, log, branch, switch, revert, tag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from bascule.cli.options import COMMON, Common, Limit
from bascule.cli.output import answer, cell, columns, indented, not_in_service

if TYPE_CHECKING:
    from bascule.project.overview import Entry
    from bascule.verbs import OpenProject


def log(
    ref: str | None = None,
    /,
    *,
    path: Annotated[str | None, Parameter(help="Only commits that changed this path, such as tables/flights.")] = None,
    limit: Limit = 20,
    full_history: Annotated[bool, Parameter(help="Also the commits that merges brought.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Show the commits of a branch, youngest first, with what each changed; a merge stands for what it brought.

    Args:
        ref: a branch, a tag or a commit; the current branch when not given.
    """
    project = common.open()
    entries = project.log(ref, path=path, limit=limit, full_history=full_history)
    names = _names(project)
    blocks = []
    for entry in entries:
        commit, what = entry.commit, _summary(entry)
        refs = f" ({', '.join(names[commit.id])})" if commit.id in names else ""
        head = f"{commit.short}{refs}  {commit.time:%Y-%m-%d %H:%M:%S}  {cell(commit.author)}"
        blocks.append(f"{head}\n    {indented(commit.message, '    ')}" + (f"\n    {what}" if what else ""))
    answer(common, [entry.as_dict() for entry in entries], "\n\n".join(blocks))


def branch(
    name: str | None = None,
    /,
    *,
    at: Annotated[str | None, Parameter(help="The state to begin at; the current branch when not given.")] = None,
    delete: Annotated[bool, Parameter(help="Remove the branch's name.", negative="")] = False,
    force: Annotated[bool, Parameter(help="With --delete: even if main does not have all of it.", negative="")] = False,
    protect: Annotated[
        bool | None,
        Parameter(help="Let required checks hold what lands on it, and nobody delete it; --no-protect lifts that."),
    ] = None,
    common: Common = COMMON,
) -> None:
    """List branches, make one, or protect one. A branch costs no copy, whatever the data.

    Args:
        name: the branch to make (or to delete or protect); all are listed when not given.
    """
    project = common.open()
    if name is None:
        current = project.place.branch
        rows = [
            {"name": b.name, "head": b.head, "protected": b.protected, "current": b.name == current}
            for b in project.branches()
        ]
        lines = [
            ("*" if r["current"] else " ", r["name"], str(r["head"])[:10], "protected" if r["protected"] else "")
            for r in rows
        ]
        answer(common, rows, columns(lines, gap=1))
    elif delete:
        project.delete_branch(name, force=force)
        answer(common, {"deleted": name}, f"Deleted branch {name}.")
    elif protect is not None:
        project.protect(name, protect)
        told = "is protected" if protect else "is not protected any more"
        answer(common, {"name": name, "protected": protect}, f"Branch {name} {told}.")
    else:
        made = project.branch(name, at=at)
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
    common.open().switch(name, create=create)
    answer(common, {"branch": name}, f"On branch {name}.")


def revert(
    ref: str,
    /,
    *,
    message: Annotated[str | None, Parameter(name=["--message", "-m"], help="The new commit's message.")] = None,
    force: Annotated[str | None, Parameter(help="Land it although a check fails; say why, it is kept.")] = None,
    common: Common = COMMON,
) -> None:
    """Undo one commit on the current branch by a new commit.

    On main, a state that never was (an old commit is undone, later ones stay) is checked as a merge's is.

    Args:
        ref: the commit to undo.
        message: the new commit's message.
    """
    project = common.open()
    before = project.workspace.history.resolve(project.place.branch)
    made = project.revert(ref, message=message, force=force)
    text = f"{made.short}  {made.message}"
    if made.id == before.id:
        text = f"{project.place.branch} has nothing of {ref} any more; nothing was changed."
    elif made.meta.get("unchecked"):
        text += f"\n  no checks were run: {made.meta['unchecked']}"
    if "forced" in made.meta:
        text += f"\n\nforced ({made.meta['forced']}) past what a check refused:\n{made.meta['refused']}"
    answer(common, made.as_dict(), text)


def tag(name: str | None = None, at: str | None = None, /, *, common: Common = COMMON) -> None:
    """List tags, or name a state for good.

    Args:
        name: the tag to make; all are listed when not given.
        at: the state to name; the current branch when not given.
    """
    project = common.open()
    if name is None:
        rows = [{"name": t.name, "commit": t.head} for t in project.tags()]
        answer(common, rows, columns([(r["name"], r["commit"][:10]) for r in rows], none="No tags yet."))
    else:
        made = project.tag(name, at)
        answer(common, {"name": name, "commit": made.head}, f"Tag {name} at {made.head[:10]}.")


def status(*, common: Common = COMMON) -> None:
    """Show the current branch, what it holds, what it has that main has not, and what is served."""
    project = common.open()
    found = project.status()
    held = ", ".join(f"{n} {_kind(kind, n)}" for kind, n in found.objects.items())
    follows = " (following git)" if found.follows_git else ""
    lines = [
        f"On branch {found.branch}{follows}{project.place.told}, at {found.commit.short}: {found.commit.message}",
        f"  {held or 'nothing in it yet; try: bascule run'}",
    ]
    for name, traffic in found.deployments.items():
        serves = ", ".join(f"version {t['version']} ({t['weight']} %)" for t in traffic)
        lines.append(f"  {name} serves {serves}" if serves else f"  {not_in_service(name, found.to_deploy.get(name))}")
        lines += [_rollout(name, found.rollouts[name])] if name in found.rollouts else []
        lines += [f"    {one.told()}" for one in found.incidents.get(name, ())]
        lines += [f"    Next: {found.mend[name]}"] if name in found.mend else []
        lines += [f"    version {w.version} waits until {w.until}" for w in found.waiting if w.deployment == name]
    if found.ahead_of_main:
        lines += ["", "Against main:", *(f"  {c.kind:8}{c.path}" for c in found.ahead_of_main)]
    answer(common, found.as_dict(), "\n".join(lines))


def _rollout(name: str, tried: dict[str, Any]) -> str:
    from bascule.delivery.strategies import words

    versions = ", ".join(map(str, tried["versions"]))
    told = f"{words(tried['strategy'])} of version {versions} against {tried['against']} is under way"
    return f"    {told}: bascule deployment show {name}"


def _kind(name: str, count: int) -> str:
    """Return what objects below a folder of the history are called, one or many."""
    if name == "files":
        return "file set" if count == 1 else "file sets"
    return name if count != 1 else {"entities": "entity"}.get(name, name.removesuffix("s"))


def _summary(entry: Entry) -> str:
    shown = ", ".join(f"{c.kind} {c.path}" for c in entry.changes[:4])
    shown += f" and {len(entry.changes) - 4} more" if len(entry.changes) > 4 else ""
    merged = ", ".join(parent[:10] for parent in entry.commit.parents[1:])
    return f"merges {merged}: {shown or 'nothing new'}" if merged else shown


def _names(project: OpenProject) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for ref in (*project.branches(), *project.tags()):
        found.setdefault(ref.head, []).append(f"tag {ref.name}" if ref.kind == "tag" else ref.name)
    return found
