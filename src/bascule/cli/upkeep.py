"""Commands that look after what there is: compact, gc, retention, hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, columns, moment, say
from bascule.counting import counted
from bascule.sizes import format_size, parse_size

if TYPE_CHECKING:
    from bascule.lake.maintenance import Collection, Retention

retention = App(name="retention", help="How long states are kept: rules for branches, and for deleted ones.")
hold = App(name="hold", help="Legal holds: what they name is neither collected nor forgotten.")

_ONE = {"runs": "run", "models": "logged model", "experiments": "experiment", "points": "point"}
DRY_RUN = Parameter(help="Say what would be done, and change nothing.", negative="")


def compact(
    *tables: Annotated[str, Parameter(help="The tables; all of the branch when none is named.")],
    target_size: Annotated[str, Parameter(help="About how large a file becomes.")] = "128MB",
    dry_run: Annotated[bool, DRY_RUN] = False,
    common: Common = COMMON,
) -> None:
    """Make small files of tables into large ones, and commit. Rows, their order and what was made of them stay."""
    from bascule.cli.progress import moving

    target = parse_size(target_size, key="--target-size")
    with moving(common.json) as tell:
        done = common.open().compact(*tables, target_size=target, dry_run=dry_run, tell=tell)
    rows = [
        (
            one.table,
            one.skipped
            or (f"{one.files_before:,} → {counted(one.files_after, 'file')}" if one.rewritten_files else "as it was"),
            format_size(one.rewritten_bytes) if one.rewritten_bytes else "",
            one.commit[:10],
        )
        for one in done
    ]
    head = ("table", "would be" if dry_run else "is", "to rewrite" if dry_run else "rewritten", "commit")
    answer(common, [one.as_dict() for one in done], columns(rows, head, none="There is no table on this branch."))


def gc(
    *,
    dry_run: Annotated[bool, DRY_RUN] = False,
    grace: Annotated[
        str, Parameter(help="Leave alone what is younger: what is being written.", allow_leading_hyphen=True)
    ] = "24h",
    common: Common = COMMON,
) -> None:
    """Delete what no kept state, no record and no hold leads to; `bascule retention` says what is kept."""
    from bascule.cli.progress import moving
    from bascule.durations import parse_duration

    span = parse_duration(grace, key="--grace")
    with moving(common.json) as tell:
        done = common.open().gc(dry_run=dry_run, grace=span, tell=tell)
    for table, why in done.skipped.items():
        say(f"Nothing of {table} was deleted: {why}")
    answer(common, done.as_dict(), _collected(done))


def _collected(done: Collection) -> str:
    would = "would be" if done.dry_run else "were"
    was = "would be" if done.dry_run else "was"
    lines = []
    if done.expired_commits:
        verb = was if done.expired_commits == 1 else would
        lines.append(f"{counted(done.expired_commits, 'commit')} {verb} let go: no rule keeps the data.")
    lines += [f"Branch {name} {was} deleted: nobody moved or merged it for long." for name in done.branches]
    if done.versions:
        was_all = "would go" if done.dry_run else "went"
        lines.append(f"For good, as they were deleted long enough ago, {was_all}: {', '.join(done.versions)}.")
    lines += [f"{name} was deleted and stays: {why}." for name, why in done.staying.items()]
    gone = {name: count for name, count in done.tracking.items() if count and name != "kept"}
    if gone:
        told = ", ".join(counted(count, _ONE[name]) for name, count in gone.items())
        lines.append(f"For good, of what was deleted in tracking, {would} let go: {told}.")
    if done.tracking.get("kept"):
        told = counted(done.tracking["kept"], "deleted run or model stays", "deleted runs or models stay")
        lines.append(f"{told}: kept states of models came from there (`bascule retention` says what is kept).")
    rows = [(one.table, one.kind, f"{one.files:,}", format_size(one.bytes)) for one in done.collected]
    if rows:
        rows.append(("", "all", f"{done.files:,}", format_size(done.bytes)))
        lines += [f"These {would} deleted:", columns(rows, ("table", "kind", "files", "size"))]
    else:
        lines.append("There is nothing to delete.")
    if done.waiting_files:
        size = format_size(done.waiting_bytes)
        lines.append(
            f"{counted(done.waiting_files, 'file')} ({size}) that nothing needs "
            f"{'is' if done.waiting_files == 1 else 'are'} still too young (--grace)."
        )
    lines.append(f"Needed: {counted(done.kept_files, 'file')} ({format_size(done.kept_bytes)}).")
    return "\n".join(lines)


@retention.default
def show(*, common: Common = COMMON) -> None:
    """Show the rules."""
    _tell(common, common.open().retention())


@retention.command(name="set")
def set_rule(
    branches: str,
    /,
    *,
    keep: Annotated[
        str | None, Parameter(help="How long after another took its place, such as 90d.", allow_leading_hyphen=True)
    ] = None,
    last: Annotated[int | None, Parameter(help="How many of the newest are kept however old.")] = None,
    idle: Annotated[
        str | None,
        Parameter(help="Delete a branch that nobody moved or merged for so long.", allow_leading_hyphen=True),
    ] = None,
    common: Common = COMMON,
) -> None:
    """Say how long the states of some branches are kept. Without --keep and --last: for ever.

    Args:
        branches: a branch, or a pattern such as 'ingest/*'.
    """
    _tell(common, common.open().set_retention(branches, keep=keep, last=last, idle=idle))


@retention.command(name="remove")
def remove_rule(branches: str, /, *, common: Common = COMMON) -> None:
    """Take a rule away; the branches follow the next one that fits, or keep everything.

    Args:
        branches: the rule's branch or pattern.
    """
    _tell(common, common.open().remove_retention(branches))


@retention.command
def unnamed(span: str, /, *, common: Common = COMMON) -> None:
    """Say how long the states of a branch are kept after the branch was deleted.

    Args:
        span: such as 30d.
    """
    _tell(common, common.open().set_retention(unnamed=span))


def _tell(common: Common, rules: Retention) -> None:
    document = rules.as_dict()
    spans = [rule["keep"] or ("" if rule["last"] else "for ever") for rule in document["rules"]]
    rows = [(r["branches"], span, r["last"], r["idle"]) for r, span in zip(document["rules"], spans, strict=True)]
    if not any(rule.branches == "*" for rule in rules.rules):
        rows.append(("all others" if rows else "all branches", "for ever", None, None))
    text = columns(rows, ("branches", "keep", "last", "deleted when idle"))
    ending = f"States of a deleted branch and deleted versions of models are kept {document['unnamed']}; "
    ending += "tags, holds and registered models for ever."
    answer(common, document, f"{text}\n{ending}")


@hold.command
def add(
    subject: str,
    /,
    *,
    reason: Annotated[str, Parameter(name=["--reason", "-m"], help="Why; kept with the hold.")] = "",
    common: Common = COMMON,
) -> None:
    """Hold a branch with all that it descends from, a tag, a commit, or a path in every state.

    Args:
        subject: a branch, a tag, a commit, or a path such as tables/flights.
    """
    made = common.open().hold(subject, reason=reason)
    answer(common, made.as_dict(), f"{made.id} holds {made}.")


@hold.command(name="list")
def list_holds(
    *,
    released: Annotated[bool, Parameter(name="--all", help="Also those that ended.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """List the holds that last."""
    found = common.open().holds(released=released)
    rows: list[tuple[Any, ...]] = [
        (h.id, h.kind, h.subject, h.reason, h.actor, moment(h.at), moment(h.released_at) if h.released_at else "")
        for h in found
    ]
    head = ("id", "kind", "holds", "why", "who", "since", "until")
    answer(common, [one.as_dict() for one in found], columns(rows, head, none="Nothing is under legal hold."))


@hold.command
def remove(which: str, /, *, common: Common = COMMON) -> None:
    """End a hold. That it was stays on record.

    Args:
        which: its id, or what it holds.
    """
    ended = common.open().release_hold(which)
    answer(common, [one.as_dict() for one in ended], "\n".join(f"{one.id} no longer holds {one}." for one in ended))
