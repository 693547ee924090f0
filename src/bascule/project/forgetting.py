"""Forgetting a subject everywhere: every state of the table, training sets, the online store, the logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import delete, insert, select, update

from bascule.catalog import actor, audit, new_id
from bascule.catalog.schema import settings, training_sets
from bascule.errors import EnvironmentProblem, InputError
from bascule.features import open_online
from bascule.history import Workspace, holding, holds
from bascule.lake import ForgetReport, Forgotten, forget, forget_rows, records
from bascule.lake.forgetting import AFTER, BEFORE, Hook, Request, resolved
from bascule.lake.forgetting.looking import rows_of, shared_values
from bascule.lake.iceberg.types import literal, quoted
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
from bascule.project.erasing.policy import SCHEDULE, carried_out, due_at, refuse_unjustified
from bascule.project.erasing.quarantine import QUARANTINE, from_quarantine
from bascule.project.erasing.streams import from_streams
from bascule.project.erasing.unlinked import unlinked
from bascule.project.erasing.values import Shared, distinctive, needles
from bascule.project.erasing.values import holds as holds_bytes
from bascule.project.querying import query
from bascule.project.remembering import let_go
from bascule.project.sections import Forget
from bascule.project.withdrawing import AT_ONCE, bundles_with, put_down, settle, told
from bascule.registry.withdrawals import JUSTIFY
from bascule.serving.log import GROUND_TRUTH, PREDICTIONS, move_segments
from bascule.serving.log.vectors import SERVED_FEATURES
from bascule.store import digest_of

OLD = "forgetting-blob"  # the setting that names a training set's old file until it is deleted


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
    asked = Subject(table, {column: str(value) for column, value in subject.items()})
    if not asked.key:
        raise InputError("Whom to forget is not said.", hint="Give COLUMN=VALUE.")
    subjects, patterns = followed(workspace, asked, policy.link)
    subjects = [_marked(workspace, one) for one in subjects]
    belongs = files_of(workspace, subjects, patterns)
    if not dry_run and not despite_hold.strip():
        _refuse_held(workspace, subjects, belongs, policy.copies)
    sets = {name for one in subjects for name, _ in _sets_with(workspace, one.key)}
    bundles = bundles_with(workspace, [needle for one in subjects for needle in needles(one.key)])
    models, cause = tuple(sorted({*_models_from(workspace, sets), *chain(*bundles.values())})), ""
    if not dry_run:
        _refuse_undecided(bundles, policy, withdraw)
        if models:
            refuse_unjustified(policy, reason)
        models, cause = _noted(workspace, _note_of(table, subject), models)
    elsewhere: Counter[str] = Counter()
    removed = remove_files(workspace, belongs, _in_contents(workspace, subjects, policy.copies), dry_run=dry_run)
    elsewhere.update({f"files/{name}": count for name, count in removed.files.items()})
    elsewhere.update({f"{VALUES}files/{name}": count for name, count in removed.changed.items()})
    copied = partial(from_copies, workspace, subjects, policy.copies, dry_run=dry_run, despite_hold=despite_hold)
    for copy in copied():
        elsewhere.update({place.place: place.rows for place in copy.places()})
    unread: dict[str, str] = {}
    report = _from_tables(workspace, subjects, dry_run, despite_hold, elsewhere, policy.copies, unread)
    for copy in copied(logs=True) if not dry_run else ():  # what no row of them told by its own columns
        elsewhere.update({place.place: place.rows for place in copy.places()})
    # What a dry run would clean is there still; of what is left it can tell all the same.
    stays: tuple[Hook, ...] = (not_brought_in,) if dry_run else (kept, not_brought_in)
    stays += (_in_file_sets,) if policy.copies == LEAVE or not dry_run else ()
    kept_places = tuple(Forgotten(p, n) for p, n in _summed(workspace, subjects, stays).items())
    kept_places += tuple(Forgotten(f"{path} (not looked into: {why})", 1) for path, why in sorted(unread.items()))
    kept_places += tuple(unlinked(workspace, subjects)) if policy.copies == LEAVE else ()
    report = replace(report, elsewhere=tuple(Forgotten(place, rows) for place, rows in elsewhere.items()))
    action: dict[str, Any] = {}
    gone: tuple[str, ...] = ()
    waiting: list[dict[str, Any]] = [{"models": models, "policy": policy.policy} for models in bundles.values()]
    if not dry_run:
        action = carried_out(workspace, policy, models, cause, reason)
        gone, waiting = _bundles(workspace, bundles, policy, withdraw, cause, reason, action.get("due"))
        detail = {
            "id": report.id,
            "reason": reason,
            "models": list(models),
            "training_sets": sorted(sets),
            "elsewhere": dict(elsewhere),
            "action": action,
            "withdrawn": list(gone),
            "waiting": waiting,
        }
        with workspace.catalog.write() as conn:
            conn.execute(delete(settings).where(settings.c.key == _note_of(table, subject)))
            audit.append(conn, actor=actor(), action="forget", subject=f"tables/{table}", detail=detail)
        for one in subjects:
            sweep_pages(workspace.catalog, one.key)
    return Forgetting(report, models, tuple(sorted(sets)), action, kept_places, gone, tuple(waiting))


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
        for hook in (*resolved(BEFORE), _online_by_rows, *contents):
            elsewhere.update({place.place: place.rows for place in hook(request)})
        hooks = (
            _training_sets,
            _online,
            from_streams,
            _logged,
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
        planned = forget(workspace, one.table, one.key, dry_run=True, hooks=(_logged, from_quarantine))
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


def _training_sets(request: Request) -> list[Forgotten]:
    """Write the training sets without the subject's rows; the set keeps its id, and so the models theirs."""
    removed = 0
    if not request.dry_run:
        _drop_old(request.workspace)
    for name, rows in _sets_with(request.workspace, dict(request.key)):
        removed += rows
        if not request.dry_run:
            _rewrite(request.workspace, name, dict(request.key))
    return [Forgotten("training sets", removed)] if removed else []


def _rewrite(workspace: Workspace, name: str, subject: dict[str, Any]) -> None:
    with workspace.catalog.read() as conn:
        old = conn.execute(select(training_sets.c.blob).where(training_sets.c.id == name)).scalar_one()
    table = pq.read_table(pa.BufferReader(workspace.store.get(old)))
    stays = table.filter(pc.invert(_belongs(table, subject)))
    sink = pa.BufferOutputStream()
    pq.write_table(stays, sink, compression="zstd")
    fresh = workspace.store.put(sink.getvalue().to_pybytes())
    with workspace.catalog.write() as conn:
        conn.execute(update(training_sets).where(training_sets.c.id == name).values(blob=fresh, rows=stays.num_rows))
        conn.execute(delete(settings).where(settings.c.key == OLD))
        conn.execute(insert(settings).values(key=OLD, value=old))
    _drop_old(workspace)


def _drop_old(workspace: Workspace) -> None:
    """Delete the file of a training set that was rewritten, also when that was cut short."""
    with workspace.catalog.read() as conn:
        old = conn.execute(select(settings.c.value).where(settings.c.key == OLD)).scalar()
    if old is not None:
        workspace.store.delete(old)
        with workspace.catalog.write() as conn:
            conn.execute(delete(settings).where(settings.c.key == OLD))


def _sets_with(workspace: Workspace, subject: dict[str, Any]) -> list[tuple[str, int]]:
    """The training sets that hold rows of a subject, with how many."""
    found = []
    with workspace.catalog.read() as conn:
        sets = conn.execute(select(training_sets.c.id, training_sets.c.blob)).all()
    for row in sets:
        try:
            file = pq.ParquetFile(pa.BufferReader(workspace.store.get(row.blob)))
            table = file.read(columns=[*subject, *_texts(file.schema_arrow)])
        except pa.ArrowException as error:
            raise EnvironmentProblem(
                f"The training set {row.id} cannot be read, so it cannot be said whether it holds the subject: {error}",
                hint="`bascule doctor` tells what is damaged.",
            ) from None
        count = pc.sum(_belongs(table, subject)).as_py() or 0
        if count:
            found.append((row.id, int(count)))
    return found


def _texts(schema: pa.Schema) -> list[str]:
    return [one.name for one in schema if pa.types.is_string(one.type) or pa.types.is_large_string(one.type)]


def _belongs(table: pa.Table, subject: dict[str, Any]) -> pa.Array:
    """Tell which rows have the key, or a distinctive value of it in a text of another name."""
    mask = pa.array([False] * table.num_rows)
    if set(subject) <= set(table.column_names):
        keyed = pa.array([True] * table.num_rows)
        for column, value in subject.items():
            cells = pc.cast(table.column(column).combine_chunks(), pa.string())
            keyed = pc.and_(keyed, pc.fill_null(pc.equal(cells, str(value)), False))
        mask = keyed
    values = pa.array(Sought(subject).values, pa.string())
    for name in _texts(table.schema) if len(values) else ():
        mask = pc.or_(mask, pc.is_in(pc.cast(table.column(name).combine_chunks(), pa.string()), values))
    return mask


def _online(request: Request) -> list[Forgotten]:
    """Take the subject's timelines, of all branches, out of the online store: of entities that its columns name."""
    if not request.workspace.has_online:
        return []
    folder = request.workspace.online_folder
    store, wanted = open_online(request.workspace.online), needles(request.key)
    # A value that is the subject's alone names an entity also where the rest of the key is no part of the entity's.
    alone = [{column: value} for column, value in request.key.items() if not isinstance(value, Shared)]
    subjects = [dict(request.key), *(alone if len(request.key) > 1 else ())]
    if request.dry_run:
        removed = max(store.count(one) for one in subjects)
    else:
        has_old_pages = any(holds_bytes(file, wanted) for file in folder.rglob("*.mdb"))
        removed = sum(store.forget(one, rewrite=has_old_pages) for one in subjects)
    return [Forgotten("online stores", removed)] if removed else []


def _online_by_rows(request: Request) -> list[Forgotten]:
    """Take timelines out of entities that another column of the subject's rows names: an email, of who is `id=7`."""
    if not request.workspace.has_online:
        return []
    store, removed = open_online(request.workspace.online), 0
    rows = rows_of(request.workspace, request.table, request.key)
    known = {column.casefold() for column in request.key}
    cells = {(column, value) for row in rows for column, value in row.items() if isinstance(value, str | int)}
    for column, value in sorted(cells, key=str):
        if column in known or not distinctive(str(value)) or not store.count({column: value}):
            continue
        named = {**request.key, column: value}
        if column not in shared_values(request.workspace, request.table, named):
            removed += store.count({column: value}) if request.dry_run else store.forget({column: value})
    return [Forgotten("online stores", removed)] if removed else []


def _logged(request: Request) -> list[Forgotten]:
    """Take the answers about the subject, and the truth about them, out of the logs."""
    workspace = request.workspace
    move_segments(workspace, sealing=True)
    known = records.names(workspace)
    if PREDICTIONS not in known and SERVED_FEATURES not in known:
        return []
    terms = [f"json_extract_string(inputs, '$.{quoted(c)}') = {literal(str(v))}" for c, v in request.key.items()]
    where = " AND ".join(terms)
    for value in Sought(request.key).values:  # also where an input is called otherwise
        where += f" OR contains(inputs::VARCHAR, {literal(value)}) OR contains(features::VARCHAR, {literal(value)})"
    said = f"SELECT prediction_id FROM predictions WHERE {where}"
    ids = [row["prediction_id"] for row in query(workspace, said)] if PREDICTIONS in known else []
    asked: dict[str, Any] = {"dry_run": request.dry_run, "author": actor(), "despite_hold": request.despite_hold}
    found = 0
    if ids and GROUND_TRUTH in known:  # first, as only the predictions know whose truths they are
        listed = ", ".join(literal(name) for name in ids)
        told = f"prediction_id IN ({listed})"
        found += forget_rows(workspace, GROUND_TRUTH, told, **asked).rows
    if SERVED_FEATURES in known:
        same = [f"json_extract_string(keys, '$.{quoted(c)}') = {literal(str(v))}" for c, v in request.key.items()]
        found += forget_rows(workspace, SERVED_FEATURES, " AND ".join(same), **asked).rows
    # Also when no answer is seen: one that was killed may have left a file behind.
    if PREDICTIONS in known:
        found += forget_rows(workspace, PREDICTIONS, where, **asked).rows
    if not found:
        return []
    return [Forgotten("logs", found)]


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
