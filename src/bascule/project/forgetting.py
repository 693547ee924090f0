"""Forgetting a subject everywhere: every state of the table, training sets, the online store, the logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any, Literal

import msgspec
from sqlalchemy import delete, insert, select

from bascule.catalog import actor, audit, new_id
from bascule.catalog.schema import settings
from bascule.errors import InputError
from bascule.history import Workspace, holding, holds
from bascule.lake import ForgetReport, Forgotten, forget
from bascule.lake.forgetting import AFTER, BEFORE, Hook, Request, resolved
from bascule.lake.forgetting.looking import rows_of, shared_values
from bascule.project.erasing.artifacts import from_artifacts
from bascule.project.erasing.blobs import from_blobs, in_file_sets
from bascule.project.erasing.catalogued import from_records, kept, sweep_pages
from bascule.project.erasing.contents import Sought
from bascule.project.erasing.copies import LEAVE, REMOVE, VALUES, from_copies
from bascule.project.erasing.filesets import files_of
from bascule.project.erasing.filesets import remove as remove_files
from bascule.project.erasing.journals import not_brought_in
from bascule.project.erasing.leftovers import from_leftovers
from bascule.project.erasing.links import Subject, followed
from bascule.project.erasing.logs import from_logs
from bascule.project.erasing.online import from_online, from_online_by_rows
from bascule.project.erasing.policy import SCHEDULE, carried_out, due_at, refuse_unjustified
from bascule.project.erasing.quarantine import QUARANTINE, from_quarantine
from bascule.project.erasing.streams import from_streams
from bascule.project.erasing.training_sets import from_training_sets, sets_with
from bascule.project.erasing.unlinked import unlinked
from bascule.project.erasing.values import Shared, distinctive, needles
from bascule.project.remembering import let_go
from bascule.project.sections import Forget
from bascule.project.withdrawing import AT_ONCE, bundles_with, put_down, settle, told
from bascule.registry.withdrawals import JUSTIFY
from bascule.serving.log import GROUND_TRUTH, PREDICTIONS
from bascule.store import digest_of


@dataclass(frozen=True)
class Forgetting:
    """What was removed, or would be.

    Attributes:
        report: what left the table and the places beside it.
        models: versions that learned from the subject's rows, as `delays@3`; they are named, not removed.
        training_sets: the sets that held rows of it.
        action: what the policy made of the models: its name, and the jobs, the due time or the reason.
        withdrawn: versions whose bundle held the subject's values and is gone.
        waiting: bundles that hold them and stay as long as they are needed, each with its versions, its policy and why.
        kept: what else names the subject and stays: journals of scripts that run on, and rows that are to be left.
    """

    report: ForgetReport
    models: tuple[str, ...]
    training_sets: tuple[str, ...] = ()
    action: dict[str, Any] = field(default_factory=dict)
    kept: tuple[Forgotten, ...] = ()
    withdrawn: tuple[str, ...] = ()
    waiting: tuple[dict[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The forgetting as one JSON object."""
        return {
            **self.report.as_dict(),
            "models": list(self.models),
            "training_sets": list(self.training_sets),
            "action": dict(self.action),
            "withdrawn": list(self.withdrawn),
            "waiting": [dict(one) for one in self.waiting],
            "kept": [{"place": one.place, "entries": one.rows} for one in self.kept],
        }


def forget_subject(
    workspace: Workspace,
    table: str,
    subject: dict[str, str],
    *,
    dry_run: bool = False,
    reason: str = "",
    despite_hold: str = "",
    policy: Forget | None = None,
    withdraw: bool = False,
) -> Forgetting:
    """Remove every row of a table that belongs to a subject, from every branch, tag and earlier commit.

    Its rows leave linked tables, file sets, training sets, online stores, the logs of answers, quarantine and samples
    in reports too. The audit log keeps what was removed, from where and why, without the value. Killed half-way, the
    same command finishes the work.

    Args:
        subject: column to value; all of them name the subject.
        dry_run: say what would be removed, and change nothing.
        despite_hold: why it is done although a legal hold stands against it.
        policy: the project's `[forget]`: where else subjects are, and what happens to models that learned from them.
        withdraw: delete the bundles of models that hold the subject's values as soon as no deployment needs them,
            whatever the policy says.

    Raises:
        Held: when rows that are to go are under legal hold, and no reason is given. Nothing was changed.
        NotFound: no state has such a table, or the table never had such a column.
        InputError: the policy is to justify why models stay, and there is no reason; the reason names the subject; or a
            model's bundle holds it, and no policy says what happens to that. Nothing was changed.
    """
    policy = policy or Forget()
    _refuse_naming(subject, reason, despite_hold)
    found = _found(workspace, table, subject, policy)
    models, cause = found.models, ""
    if not dry_run:
        if not despite_hold.strip():
            _refuse_held(workspace, found.subjects, found.belongs, policy.copies)
        _refuse_undecided(found.bundles, policy, withdraw)
        if models:
            refuse_unjustified(policy, reason)
        models, cause = _noted(workspace, _note_of(table, subject), models)
    unread: dict[str, str] = {}
    report = _removed(workspace, found, policy.copies, dry_run, despite_hold, unread)
    stays = _staying(workspace, found.subjects, policy.copies, dry_run, unread)
    waiting = [{"models": names, "policy": policy.policy} for names in found.bundles.values()]
    done = Forgetting(report, models, tuple(sorted(found.sets)), {}, stays, (), tuple(waiting))
    if not dry_run:
        done = replace(done, action=carried_out(workspace, policy, models, cause, reason))
        gone, left = _bundles(workspace, found.bundles, policy, withdraw, cause, reason, done.action.get("due"))
        done = replace(done, withdrawn=gone, waiting=tuple(left))
        _prove(workspace, table, subject, found.subjects, done, reason)
    return done


@dataclass(frozen=True)
class _Found:
    """Whom a forgetting is about, and what knows it.

    Attributes:
        subjects: what names it in each table; the one that was asked for is the last.
        belongs: tells of a file set's name and a file's path in it whether the file is the subject's.
        sets: training sets with rows of it.
        bundles: digests of models' bundles that hold its values, with the versions that they are.
        models: versions that learned from it.
    """

    subjects: list[Subject]
    belongs: Callable[[str, str], bool]
    sets: set[str]
    bundles: dict[str, list[str]]
    models: tuple[str, ...]


def _found(workspace: Workspace, table: str, subject: Mapping[str, str], policy: Forget) -> _Found:
    asked = Subject(table, {column: str(value) for column, value in subject.items()})
    if not asked.key:
        raise InputError("Whom to forget is not said.", hint="Give COLUMN=VALUE.")
    followed_to, patterns = followed(workspace, asked, policy.link)
    subjects = [_marked(workspace, one) for one in followed_to]
    sets = {name for one in subjects for name, _ in sets_with(workspace, one.key)}
    bundles = bundles_with(workspace, [needle for one in subjects for needle in needles(one.key)])
    models = tuple(sorted({*_models_from(workspace, sets), *chain(*bundles.values())}))
    return _Found(subjects, files_of(workspace, subjects, patterns), sets, bundles, models)


def _removed(
    workspace: Workspace, found: _Found, copies: str, dry_run: bool, despite_hold: str, unread: dict[str, str]
) -> ForgetReport:
    """Take the subjects out of files, copies and tables; what could not be looked into is added to `unread`."""
    subjects, elsewhere = found.subjects, Counter[str]()
    files = remove_files(workspace, found.belongs, _in_contents(workspace, subjects, copies), dry_run=dry_run)
    elsewhere.update({f"files/{name}": count for name, count in files.files.items()})
    elsewhere.update({f"{VALUES}files/{name}": count for name, count in files.changed.items()})
    copied = partial(from_copies, workspace, subjects, copies, dry_run=dry_run, despite_hold=despite_hold)
    for copy in copied():
        elsewhere.update({place.place: place.rows for place in copy.places()})
    report = _from_tables(workspace, subjects, dry_run, despite_hold, elsewhere, copies, unread)
    for copy in copied(logs=True) if not dry_run else ():  # what no row of them told by its own columns
        elsewhere.update({place.place: place.rows for place in copy.places()})
    return replace(report, elsewhere=tuple(Forgotten(place, rows) for place, rows in elsewhere.items()))


def _staying(
    workspace: Workspace, subjects: Sequence[Subject], copies: str, dry_run: bool, unread: Mapping[str, str]
) -> tuple[Forgotten, ...]:
    """Return what else names the subjects and is left where it is."""
    # What a dry run would clean is there still; of what is left it can tell all the same.
    counts: tuple[Hook, ...] = (not_brought_in,) if dry_run else (kept, not_brought_in)
    counts += (_in_file_sets,) if copies == LEAVE or not dry_run else ()
    stays = [Forgotten(place, rows) for place, rows in _summed(workspace, subjects, counts).items()]
    stays += [Forgotten(f"{path} (not looked into: {why})", 1) for path, why in sorted(unread.items())]
    return (*stays, *(unlinked(workspace, subjects) if copies == LEAVE else ()))


def _prove(
    workspace: Workspace,
    table: str,
    subject: Iterable[str],
    subjects: Sequence[Subject],
    done: Forgetting,
    reason: str,
) -> None:
    """Write the proof, and end what names the forgetting as one that is under way."""
    detail = {
        "id": done.report.id,
        "reason": reason,
        "models": list(done.models),
        "training_sets": list(done.training_sets),
        "elsewhere": {place.place: place.rows for place in done.report.elsewhere},
        "action": done.action,
        "withdrawn": list(done.withdrawn),
        "waiting": list(done.waiting),
    }
    with workspace.catalog.write() as conn:
        conn.execute(delete(settings).where(settings.c.key == _note_of(table, subject)))
        audit.append(conn, actor=actor(), action="forget", subject=f"tables/{table}", detail=detail)
    for one in subjects:
        sweep_pages(workspace.catalog, one.key)


def with_policy(said: Forget | None, policy: Literal["retrain", "schedule", "justify"] | None) -> Forget:
    """Return what a project says of forgetting, with another policy where one is given."""
    asked = said or Forget()
    return msgspec.structs.replace(asked, policy=policy) if policy is not None else asked


def _refuse_naming(subject: Mapping[str, str], *texts: str) -> None:
    """Refuse a reason that names the subject: it would stay in the proof."""
    values = [str(value) for value in subject.values() if distinctive(str(value))]
    if any(value in text for value in values for text in texts):
        raise InputError(
            "The reason names the subject, and it stays in the proof.", hint="Name the request, such as: ticket 4711."
        )


def _refuse_undecided(bundles: Mapping[str, Sequence[str]], policy: Forget, withdraw: bool) -> None:
    """Refuse when models have the subject's values in themselves, and nobody said what happens to them."""
    if bundles and policy.policy is None and not withdraw:
        names = ", ".join(sorted({name for models in bundles.values() for name in models}))
        raise InputError(
            f"The bundle of {names} holds the subject's values, and nothing says what happens to it.",
            hint='Write policy = "retrain", "schedule" or "justify" under [forget] in bascule.toml; or delete it with '
            "--withdraw as soon as no deployment needs it.",
        )


def _bundles(
    workspace: Workspace,
    bundles: dict[str, list[str]],
    policy: Forget,
    withdraw: bool,
    cause: str,
    reason: str,
    due: int | None,
) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Put down what happens to bundles, and delete those that can go; return the versions that went and what waits."""
    how = AT_ONCE if withdraw else policy.policy or ""
    why = (reason.strip() or policy.reason.strip()) if how == JUSTIFY else ""
    put_down(workspace, bundles, how, cause, why, (due or due_at(policy)) if how == SCHEDULE else None)
    settled = settle(workspace)
    gone = sorted({name for one, _ in settled.gone for name in one.models})
    return tuple(gone), told([one for one in settled.waiting if one.note.digest in bundles])


def _marked(workspace: Workspace, subject: Subject) -> Subject:
    """Mark the values of a subject's key that others have too: they name it only together with the rest."""
    if len(subject.key) == 1:
        return subject
    shared = shared_values(workspace, subject.table, subject.key)
    return Subject(subject.table, {c: Shared(v) if c in shared else v for c, v in subject.key.items()})


def _from_tables(
    workspace: Workspace,
    subjects: Sequence[Subject],
    dry_run: bool,
    despite_hold: str,
    elsewhere: Counter[str],
    copies: str,
    unread: dict[str, str],
) -> ForgetReport:
    """Forget the subjects in their tables, those that links lead to first; return the report of the last."""
    asked: dict[str, Any] = {"dry_run": dry_run, "despite_hold": despite_hold}
    for one in subjects:
        request = Request(workspace, one.table, one.key, dry_run, despite_hold)
        # Contents that say no more than the key are held against the rows, while these are there.
        sought = _sought(request, copies)
        artifacts = partial(from_artifacts, sought=sought, unread=unread)
        contents: tuple[Hook, ...] = (artifacts, partial(from_blobs, sought=sought))
        for hook in (*resolved(BEFORE), from_online_by_rows, *contents):
            elsewhere.update({place.place: place.rows for place in hook(request)})
        hooks = (
            from_training_sets,
            from_online,
            from_streams,
            from_logs,
            _states,
            *(() if dry_run else (from_quarantine,)),
            from_records,
            *resolved(AFTER),
            from_leftovers,
        )
        report = forget(workspace, one.table, one.key, author=actor(), hooks=hooks, **asked)
        for place in report.elsewhere:
            elsewhere[place.place] += place.rows
        if one is not subjects[-1]:
            elsewhere[f"tables/{one.table}"] += report.rows
    if dry_run:  # nothing is gone after the first of several that mean the same line
        requests = [Request(workspace, one.table, one.key, dry_run, despite_hold) for one in subjects]
        elsewhere.update({place.place: place.rows for place in from_quarantine(*requests)})
    return report


def _sought(request: Request, copies: str = LEAVE) -> Sought:
    found = Sought(request.key, removes=copies == REMOVE)
    return found if found.values else replace(found, rows=rows_of(request.workspace, request.table, request.key))


def _in_contents(workspace: Workspace, subjects: Sequence[Subject], copies: str) -> list[Sought]:
    """Return what is taken out of the contents of files: nothing where copies are left."""
    requests = [Request(workspace, one.table, one.key, True) for one in subjects]
    return [] if copies == LEAVE else [_sought(one, copies) for one in requests]


def _in_file_sets(request: Request) -> list[Forgotten]:
    return in_file_sets(request, _sought(request))


def _summed(workspace: Workspace, subjects: Sequence[Subject], counts: Sequence[Hook]) -> Counter[str]:
    found: Counter[str] = Counter()
    for one in subjects:
        for place in (place for count in counts for place in count(Request(workspace, one.table, one.key, True))):
            found[place.place] = max(found[place.place], place.rows)
    return found


def _refuse_held(
    workspace: Workspace, subjects: Sequence[Subject], belongs: Callable[[str, str], bool], copies: str
) -> None:
    """Raise `Held` before anything is changed: also when only the logs or the files that come last are held."""
    with workspace.catalog.read() as conn:
        if not holds.listed(conn):
            return
    files = remove_files(workspace, belongs, _in_contents(workspace, subjects, copies), dry_run=True)
    for name in {**files.files, **files.changed}:
        held = holding.against(workspace, name, files.commits, prefix="files/")
        holding.overrule(workspace, held, name, "", prefix="files/")
    for copy in from_copies(workspace, subjects, copies, dry_run=True):
        held = holding.against(workspace, copy.table, copy.commits)
        holding.overrule(workspace, held, copy.table, "")
    for one in subjects:
        planned = forget(workspace, one.table, one.key, dry_run=True, hooks=(from_logs, from_quarantine))
        found = holding.against(workspace, one.table, planned.commits) if planned.rows else []
        for place in planned.elsewhere:
            logs = (QUARANTINE,) if place.place == QUARANTINE else (PREDICTIONS, GROUND_TRUTH)
            found += [hold for log in logs for hold in holding.against(workspace, log, ())]
        holding.overrule(workspace, found, one.table, "")


def _note_of(table: str, subject: Iterable[str]) -> str:
    """Return what a forgetting that is under way is noted as. It names columns, and no values."""
    return f"forgetting:{digest_of(','.join((table, *sorted(subject))).encode())}"


def _noted(workspace: Workspace, key: str, models: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Note which models learned from the subject, with those that an attempt noted which was killed.

    Later nobody could tell: their training sets are rewritten. Returns them, and the name of the forgetting, which is
    the same for an attempt that goes on with one that was killed.
    """
    with workspace.catalog.write() as conn:
        held = msgspec.json.decode(conn.execute(select(settings.c.value).where(settings.c.key == key)).scalar() or "[]")
        before, cause = (held, "") if isinstance(held, list) else (held["models"], held["id"])
        found, cause = tuple(sorted({*models, *before})), cause or new_id("forgetting")
        conn.execute(delete(settings).where(settings.c.key == key))
        note = {"id": cause, "models": found}
        conn.execute(insert(settings).values(key=key, value=msgspec.json.encode(note).decode()))
    return found, cause


def _states(request: Request) -> list[Forgotten]:
    """Delete what checks keep of data files: extremes and the values around a median may be the subject's."""
    if not request.dry_run:
        with request.workspace.catalog.write() as conn:
            let_go(conn)
    return []


def _models_from(workspace: Workspace, sets: set[str]) -> tuple[str, ...]:
    found = set()
    for branch in workspace.history.branches():
        for path, model in workspace.history.entries(branch.head, "models/"):
            for version in model["versions"].values():
                if version["training_set"] in sets:
                    found.add(f"{path.partition('/')[2]}@{version['version']}")
    return tuple(sorted(found))
