"""Commands that prove and take care: audit, doctor, migrate, forget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from bascule.cli.options import COMMON, Common, Limit
from bascule.cli.output import answer, columns, moment
from bascule.counting import counted

if TYPE_CHECKING:
    from bascule.lake import Forgotten

# Why something that names a forgotten subject stays, by its place.
UNREAD = " (not looked into: "
WHY_KEPT = {
    "journals of scripts": "they run on; repeat this when they have ended",
    "file sets": "files whose contents name the subject; change or remove them, and repeat this",
}

audit = App(name="audit", help="The audit log: who changed what, and that nobody changed the log.")


@audit.command
def verify(*, common: Common = COMMON) -> int:
    """Walk the hash chain of the audit log; ends with 1 when an entry is not the one that was written."""
    report = common.open().verify_audit()
    document = {"entries": report.entries, "ok": report.ok, "first_bad": report.first_bad, "head": report.head}
    text = (
        f"The audit log is whole: {counted(report.entries, 'entry')}, head {report.head[:16]}."
        if report.ok
        else f"Entry {report.first_bad} of {report.entries} is not what was written; what follows it proves nothing."
    )
    answer(common, document, text)
    return 0 if report.ok else 1


@audit.command(name="log")
def audit_log(*, limit: Limit = 30, common: Common = COMMON) -> None:
    """Show the last entries of the audit log."""
    rows = common.open().audit_log(limit)
    lines = [(r["seq"], moment(r["at"]), r["actor"], r["action"], r["subject"]) for r in rows]
    answer(common, rows, columns(lines, ("entry", "when", "who", "what", "subject")))


def doctor(
    *,
    deep: Annotated[bool, Parameter(help="Also read every blob and data file, and compare.", negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Look whether everything that the workspace promises holds; ends with 1 when something is damaged."""
    from dataclasses import asdict

    found = common.open().doctor(deep=deep)
    mark = {"ok": "✓", "note": "·", "damage": "✗"}
    text = columns([(mark[f.level], f.subject, f.message) for f in found])
    damaged = any(f.level == "damage" for f in found)
    answer(common, {"ok": not damaged, "findings": [asdict(f) for f in found]}, text)
    return 1 if damaged else 0


def migrate(
    *,
    to_catalog: Annotated[str | None, Parameter(help="A database's URL, or sqlite for the workspace's own.")] = None,
    to_storage: Annotated[str | None, Parameter(help="s3://bucket/prefix, a folder, or disk: the workspace's.")] = None,
    dry_run: Annotated[bool, Parameter(help="Say what would be moved, and whether it can be.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Move the workspace to another catalog and another storage, either way, with every id kept.

    The old copy is only read, and proven to be the same before the workspace is switched. Killed before that, nothing
    has happened, and the same command goes on.
    """
    from bascule.cli.progress import moving
    from bascule.errors import InputError

    if to_catalog is None and to_storage is None:
        raise InputError(
            "Where to is not said.",
            hint="For example: bascule migrate --to-catalog postgresql://user@host/name --to-storage s3://bucket/prefix",
        )
    with moving(quiet=common.json) as progress:
        done = common.open().migrate(to_catalog=to_catalog, to_storage=to_storage, dry_run=dry_run, progress=progress)
    if not done.moved:
        answer(common, done.as_dict(), "The workspace is there already.")
        return
    verb = "would go" if dry_run else "went"
    lines = []
    if done.catalog != done.former_catalog:
        lines.append(f"{counted(sum(done.rows.values()), 'row')} {verb} from {done.former_catalog} to {done.catalog}.")
    if done.storage != done.former_storage:
        size = (done.blob_bytes + done.file_bytes) / 1e6
        what = f"{counted(done.blobs, 'blob')} and {counted(done.files, 'file')} of tables ({size:,.1f} MB)"
        lines.append(f"{what} {verb} from {done.former_storage} to {done.storage}.")
    lines.append(
        f"{counted(done.commits, 'commit')}, {counted(done.branches, 'branch or tag', 'branches and tags')}, "
        f"{counted(done.audit_entries, 'audit entry')} to "
        f"{done.audit_head[:16]}: {'as they are' if dry_run else 'proven to be the same'}."
    )
    if done.left:
        lines.append(f"The old copy is still in {' and '.join(done.left)}: remove it when you are content.")
        lines.append("Forgetting a subject does not reach it.")
    answer(common, done.as_dict(), "\n".join(lines))


def forget(
    table: str,
    /,
    *subject: Annotated[str, Parameter(help="Who: COLUMN=VALUE, as many as name the subject.")],
    dry_run: Annotated[bool, Parameter(help="Say what would be removed, and remove nothing.", negative="")] = False,
    reason: Annotated[str, Parameter(name=["--reason", "-m"], help="Why; kept with the proof.")] = "",
    despite_hold: Annotated[str, Parameter(help="Why it is done although a legal hold stands against it.")] = "",
    policy: Annotated[
        Literal["retrain", "schedule", "justify"] | None,
        Parameter(help="What happens to models that learned from it, if not what [forget] says."),
    ] = None,
    withdraw: Annotated[
        bool, Parameter(help="Delete bundles of models that hold its values as soon as none is served.", negative="")
    ] = False,
    common: Common = COMMON,
) -> None:
    """Remove a subject from every state of a table and all places beside it; leave a proof.

    Its files, training rows, online features, answers, quarantined lines and samples in reports go too, and what
    [forget.link.*] leads to. The models that learned from it are named, and [forget] policy is carried out.

    Args:
        table: the table.
    """
    from bascule.errors import InputError

    pairs = [part.partition("=") for part in subject]
    if not pairs or not all(column and equals for column, equals, _ in pairs):
        raise InputError("Whom to forget is not said.", hint=f"For example: bascule forget {table} tailnum=N14228")
    values = {column: value for column, _, value in pairs}
    done = common.open().forget(
        table,
        values,
        dry_run=dry_run,
        reason=reason,
        despite_hold=despite_hold,
        policy=policy,
        withdraw=withdraw,
    )
    report = done.report
    lines = [
        f"{counted(report.rows, 'row')} in {counted(len(report.files), 'file')} of {table} "
        f"{_verb(report.rows, dry_run)} removed, from {counted(len(report.commits), 'commit')}.",
        *(_removed(place, dry_run) for place in report.elsewhere),
        *(f"  {name} learned from them" for name in done.models),
        *(
            f"  {place.place}: it may hold the subject; look into it yourself"
            if UNREAD in place.place
            else f"  the {place.place}: {counted(place.rows, 'entry')} with the subject, kept: {_why_kept(place.place)}"
            for place in done.kept
        ),
        *_followed(done.action),
        *(f"  The bundle of {name} held the subject's values and is gone." for name in done.withdrawn),
        *(_waits(one) for one in done.waiting),
    ]
    if report.id:
        lines.append(f"Proof: {report.id} in the audit log.")
    answer(common, done.as_dict(), "\n".join(lines))


def _removed(place: Forgotten, dry_run: bool) -> str:
    rows = counted(place.rows, "row or key", "rows or keys")
    if place.place.startswith("values in "):
        where = place.place.removeprefix("values in ")
        what = counted(place.rows, "file" if where.startswith("files/") else "row")
        return f"  {what} of {where} {_verb(place.rows, dry_run)} kept, without the subject's values"
    return f"  {rows} of {place.place} {_verb(place.rows, dry_run)} removed"


def _waits(one: Mapping[str, Any]) -> str:
    """A bundle that holds the subject's values, in words."""
    names = ", ".join(one["models"])
    if "why" not in one:  # a dry run
        said = one["policy"]
        what = f"[forget] policy = {said!r} decides" if said else "say what becomes of it: --policy or --withdraw"
        return f"  The bundle of {names} holds the subject's values: {what}."
    end = "." if one["policy"] == "justify" else "; bascule gc deletes it when it may go."
    return f"  The bundle of {names} holds the subject's values: {one['why']}{end}"


def _why_kept(place: str) -> str:
    if place.startswith("rows of "):
        return "[forget] copies leaves them; change them, or name the link and repeat this"
    return WHY_KEPT.get(place, "it proves what happened")


def _verb(count: int, dry_run: bool) -> str:
    return "would be" if dry_run else "was" if count == 1 else "were"


def _followed(action: Mapping[str, Any]) -> list[str]:
    """What the policy made of the models, in words."""
    if not action:
        return []
    if action["policy"] == "justify":
        return [f"  They stay: {action['reason']}"]
    when = f"is due on {moment(action['due'])}" if "due" in action else "waits"
    return [f"  A retraining {when}: {job}" for job in action["jobs"]]
