"""The import itself: conflicts are looked for before anything is written, then one thing after the other is taken.

A run is seen when all of it is here: its files and points come first, its row last. So what a kill left is invisible,
and the same command goes on from there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from bascule.catalog import upsert
from bascule.catalog.schema import dataset_uses, experiment_tags, experiments, logged_models, model_uses, runs
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.protocols.mlflow.importing.files import LEFT, Files
from bascule.protocols.mlflow.importing.records import Experiment, Measured, Model, Run, Source
from bascule.protocols.mlflow.importing.registering import take_registered
from bascule.protocols.mlflow.importing.report import Imported, Progress
from bascule.protocols.mlflow.importing.traced import is_here, take_trace
from bascule.tracking import experiments as kept
from bascule.tracking.artifacts import Artifacts
from bascule.tracking.inputs import CONTEXT, keep_dataset
from bascule.tracking.keeping import add_params, delete_tag, set_tags, tags_of
from bascule.tracking.points import Context, Point, add_points, context_numbers
from bascule.tracking.remote import NAME_TAG
from bascule.tracking.status import OURS
from bascule.tracking.subjects import new_subject, number_of, touch
from bascule.tracking.tracker import Tracker

# What is done with an experiment whose name or number another one has: nothing is taken at all, all but it is taken,
# or it goes on under the number of the one of its name, or under a new one.
CONFLICTS = ("refuse", "skip", "merge")
# Why some of what a source has stays there.
NOT_TAKEN = {
    "webhooks": "no source tells their secrets, and two servers would call the same address: make them anew here",
}
SCHEME = "mlflow-artifacts:"
AT_ONCE = 10_000
MOST_KEY = 250
MOST_ID = 40
_ID = re.compile(r"[a-zA-Z0-9][\w\-]*")


def take(
    workspace: Workspace,
    source: Source,
    branch: str,
    *,
    author: str,
    conflicts: str = "refuse",
    dry_run: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Imported:
    """Bring over all that a source has.

    Args:
        branch: whose `models/` the registered models become, and which the runs say that they worked on.
        conflicts: one of `CONFLICTS`.
        dry_run: say what would be brought; write nothing.

    Raises:
        InputError: an experiment's name or number is another one's here, and `conflicts` is `refuse`.
        NotFound: there is no such branch.
    """
    if conflicts not in CONFLICTS:
        raise InputError(f"{conflicts!r} is no way to treat conflicts.", hint=f"Known: {', '.join(CONFLICTS)}.")
    workspace.history.resolve(branch)
    taking = _Taking(workspace, source, branch, author, dry_run, progress)
    taking.experiments(conflicts)
    taking.models()
    taking.runs()
    taking.traces()
    take_registered(workspace, source, branch, author, taking.report, progress)
    for what, where in source.unread():
        taking.report.leave(what, "they are damaged; mend them and repeat, which brings them too", where)
    for what, count in source.beside().items():
        taking.report.leave(what, NOT_TAKEN.get(what, "they are not taken over"), "", count)
    return taking.report


class _Taking:
    def __init__(
        self, workspace: Workspace, source: Source, branch: str, author: str, dry_run: bool, progress: Progress
    ) -> None:
        self.tracker = Tracker(workspace)
        self.source, self.branch, self.author, self.dry_run, self.progress = source, branch, author, dry_run, progress
        self.report = Imported(source.name, branch, dry_run)
        self.files = Files(Artifacts(workspace), self.report, dry_run)
        self.numbers: dict[int, int] = {}  # the source's numbers of experiments, and those here
        self._taken: list[Experiment] = []

    # Experiments -----------------------------------------------------------------------------------------------------

    def experiments(self, conflicts: str) -> None:
        """Find a number for each experiment, and make those that are not here."""
        found = [replace(one, name=_fit(one.name), tags=_keyed(one.tags)) for one in self.source.experiments()]
        with self.tracker.workspace.catalog.read() as conn:
            rows = conn.execute(select(experiments.c.id, experiments.c.name)).all()
        by_id, by_name = {row.id: row.name for row in rows}, {row.name: row.id for row in rows}
        fresh: list[tuple[Experiment, int | None]] = []
        first: dict[str, Experiment] = {}
        twins = [one for one in found if first.setdefault(one.name, one) is not one]
        for one in found:
            if one in twins:
                told = f"{one.name!r} has the numbers {first[one.name].id} and {one.id} there."
                self.report.conflicts.append(told)
                if conflicts == "skip":
                    self.report.leave("experiments", "their name or number is another one's here", one.name)
            elif by_id.get(one.id) == one.name:
                self._known(one, one.id)
            elif one.name not in by_name and one.id not in by_id and 0 <= one.id < 10**18:
                fresh.append((one, one.id))
            else:
                self._conflict(one, by_id, by_name)
                if conflicts == "merge" and one.name in by_name:
                    self._known(one, by_name[one.name])
                elif conflicts == "merge":
                    fresh.append((one, None))
                elif conflicts == "skip":
                    self.report.leave("experiments", "their name or number is another one's here", one.name)
        if self.report.conflicts and conflicts == "refuse" and not self.dry_run:
            raise InputError(
                "\n  ".join(
                    [f"{len(self.report.conflicts)} experiments cannot keep what they are:", *self.report.conflicts]
                ),
                hint="Leave them out with --conflicts skip, or bring them under the same names with --conflicts merge.",
            )
        for one, number in fresh:
            if self.dry_run:
                self._known(one, number or -one.id)
            else:
                self._known(one, self._make(one, number))
            self.report.experiments += 1
        for one in twins if conflicts == "merge" else ():
            self._known(one, self.numbers[first[one.name].id])

    def _known(self, one: Experiment, number: int) -> None:
        self.numbers[one.id] = number
        self._taken.append(one)

    def _conflict(self, one: Experiment, by_id: Mapping[int, str], by_name: Mapping[str, int]) -> None:
        if one.name in by_name:
            self.report.conflicts.append(f"{one.name!r} has the number {one.id} there and {by_name[one.name]} here.")
        else:
            self.report.conflicts.append(f"{one.name!r} has the number {one.id}, which is {by_id.get(one.id)!r} here.")

    def _make(self, one: Experiment, number: int | None) -> int:
        def work(conn: Connection) -> int:
            row = {
                "name": one.name,
                "lifecycle": one.lifecycle,
                "created_at": one.created_at,
                "updated_at": one.updated_at,
            }
            given = {"id": number} if number is not None else {}
            query = insert(experiments).values(artifact_location="", **row, **given).returning(experiments.c.id)
            found = int(conn.execute(query).scalar_one())
            place = {"artifact_location": f"{kept.LOCATION}{found}"}
            conn.execute(update(experiments).where(experiments.c.id == found).values(**place))
            rows = [{"experiment_id": found, "key": key, "value": value} for key, value in one.tags.items()]
            if rows:
                conn.execute(upsert(conn, experiment_tags).on_conflict_do_nothing(), rows)
            return found

        made = self.tracker.write(work)
        kept.count_on(self.tracker)
        return made

    # Runs and logged models ------------------------------------------------------------------------------------------

    def runs(self) -> None:
        """Take the runs, each whole."""
        done = 0
        for experiment in self._taken:
            for run in self.source.runs(experiment):
                self.progress("runs", done, None)
                done += 1
                named = replace(run, name=_fit(run.name), user=_fit(run.user))
                named = replace(named, params=_keyed(run.params), tags=_keyed(run.tags))
                self._guarded("runs", run.id, partial(self._run, named))

    def models(self) -> None:
        """Take the logged models, each whole."""
        done = 0
        for experiment in self._taken:
            for model in self.source.models(experiment):
                self.progress("logged models", done, None)
                done += 1
                named = replace(model, name=_fit(model.name), params=_keyed(model.params), tags=_keyed(model.tags))
                self._guarded("logged models", model.id, partial(self._model, named))

    def traces(self) -> None:
        """Take the traces, each whole."""
        done = 0
        for experiment in self._taken:
            for info, spans in self.source.traces(experiment):
                self.progress("traces", done, None)
                done += 1
                self._guarded("traces", str(info.get("trace_id", "")), partial(self._trace, experiment, info, spans))

    def _trace(self, experiment: Experiment, info: dict[str, Any], spans: Callable[[], list[dict[str, Any]]]) -> None:
        if is_here(self.tracker, str(info["trace_id"])):
            self.report.here += 1
            return
        self.report.traces += 1
        if not self.dry_run:
            take_trace(self.tracker, self.numbers[experiment.id], info, spans(), self.branch)

    def _guarded(self, what: str, name: str, work: Callable[[], None]) -> None:
        """Take one thing; one that cannot be kept is left, and the others go on."""
        if not _ID.fullmatch(name) or len(name) > MOST_ID:
            self.report.leave(what, "their ids cannot be used here", name[:80])
            return
        try:
            work()
        except InputError as error:
            self.report.leave(what, error.message[:200], name)

    def _run(self, run: Run) -> None:
        experiment = self.numbers[run.experiment]
        with self.tracker.workspace.catalog.read() as conn:
            here = conn.execute(select(runs).where(runs.c.id == run.id)).first()
            lacks = here is not None and LEFT in tags_of(conn, here.number)
        if here is not None and here.experiment_id != experiment:
            self.report.conflicts.append(f"The run {run.id} is in the experiment {here.experiment_id} here.")
            return
        told = (OURS.get(run.status, "running"), run.finished_at, run.lifecycle)
        same = here is not None and (here.status, here.finished_at, here.lifecycle) == told
        if same and not lacks:
            self.report.here += 1
            return
        self.report.runs += here is None
        place = f"{experiment}/{run.id}/artifacts"
        whole = self.files.take(partial(self.source.files, run), place, f"run {run.id}")
        left = {} if whole else {LEFT: "artifacts"}
        if self.dry_run:
            return
        number = here.number if here is not None and same else self._points(run.id, self.source.points(run))
        tags = {**run.tags, NAME_TAG: run.name or run.tags.get(NAME_TAG) or run.id, **left}
        numbers = self.tracker.names.numbers({*tags, *run.params})

        def work(conn: Connection) -> None:
            row = {
                "id": run.id,
                "name": tags[NAME_TAG],
                "kind": "track",
                "status": told[0],
                "branch": tags.get("bascule.branch") or self.branch,
                "code_commit": tags.get("mlflow.source.git.commit", "")[:64] or None,
                "user_name": run.user or self.author,
                "started_at": run.started_at,
                "finished_at": run.finished_at,
                "environment_json": "{}",
                "number": number,
                "experiment_id": experiment,
                "lifecycle": run.lifecycle,
                "artifact_uri": f"{SCHEME}/{place}",
            }
            query = upsert(conn, runs).values(**row)
            changes = {key: row[key] for key in ("status", "finished_at", "lifecycle", "name")}
            conn.execute(query.on_conflict_do_update(index_elements=["id"], set_=changes))
            add_params(conn, number, run.params, numbers, strict=False)
            delete_tag(conn, number, LEFT)
            set_tags(conn, number, tags, numbers)
            _link(conn, number, experiment, run)
            touch(conn, number)

        self.tracker.write(work)

    def _model(self, model: Model) -> None:
        experiment = self.numbers[model.experiment]
        with self.tracker.workspace.catalog.read() as conn:
            here = conn.execute(select(logged_models).where(logged_models.c.id == model.id)).first()
            lacks = here is not None and LEFT in tags_of(conn, here.number)
        same = here is not None and here.updated_at == model.updated_at and not lacks
        if here is not None and (here.experiment_id != experiment or same):
            if here.experiment_id != experiment:
                self.report.conflicts.append(f"The logged model {model.id} is another one here.")
            self.report.here += here.experiment_id == experiment
            return
        self.report.models += here is None
        place = f"{experiment}/models/{model.id}/artifacts"
        whole = self.files.take(partial(self.source.files, model), place, f"logged model {model.id}")
        left = {} if whole else {LEFT: "artifacts"}
        if self.dry_run:
            return
        number = self._points(model.id, self.source.model_points(model))
        tags = {**model.tags, **left}
        numbers = self.tracker.names.numbers({*tags, *model.params})

        def work(conn: Connection) -> None:
            row = {
                "id": model.id,
                "number": number,
                "experiment_id": experiment,
                "name": model.name[:500],
                "status": model.status,
                "model_type": model.kind or None,
                "source_run_id": model.run or None,
                "artifact_uri": f"{SCHEME}/{place}",
                "created_at": model.created_at,
                "updated_at": model.updated_at,
                "lifecycle": model.lifecycle,
            }
            query = upsert(conn, logged_models).values(**row)
            changes = {key: row[key] for key in ("status", "updated_at", "lifecycle")}
            conn.execute(query.on_conflict_do_update(index_elements=["id"], set_=changes))
            add_params(conn, number, model.params, numbers, strict=False)
            delete_tag(conn, number, LEFT)
            set_tags(conn, number, tags, numbers)
            touch(conn, number)

        self.tracker.write(work)

    def _points(self, subject: str, measured: Iterable[Measured]) -> int:
        """Keep the points of a run or a logged model, some thousands in a transaction, and return its number."""

        def numbered(conn: Connection) -> int:
            found = number_of(conn, subject)
            return new_subject(conn, subject) if found is None else found

        number = self.tracker.write(numbered)
        batch: list[Measured] = []
        for one in measured:
            if len(_fit(one[0].name)) > MOST_KEY:
                self.report.leave(
                    "metrics", f"their names have more than {MOST_KEY} characters", _fit(one[0].name)[:80]
                )
                continue
            batch.append((one[0]._replace(name=_fit(one[0].name)), one[1]))
            if len(batch) == AT_ONCE:
                self._batch(number, batch)
                batch = []
        if batch:
            self._batch(number, batch)
        return number

    def _batch(self, subject: int, batch: list[Measured]) -> None:
        numbers = self.tracker.names.numbers({point.name for point, _ in batch})

        def work(conn: Connection) -> None:
            contexts = context_numbers(conn, {_fitting(context) for _, context in batch})
            points: list[Point] = [point._replace(context=contexts[_fitting(context)]) for point, context in batch]
            add_points(conn, subject, points, numbers)

        self.tracker.write(work)
        self.report.points += len(batch)


def _link(conn: Connection, number: int, experiment: int, run: Run) -> None:
    """Note the datasets and the models that a run read and made."""
    for one in run.datasets:
        use = {
            "subject": number,
            "dataset": keep_dataset(conn, experiment, one),
            "tags_json": msgspec.json.encode(dict(one.tags)).decode(),
            "context": one.tags.get(CONTEXT),
        }
        conn.execute(upsert(conn, dataset_uses).values(**use).on_conflict_do_nothing())
    links = [{"model_id": model, "direction": "in", "step": 0} for model in run.reads]
    links += [{"model_id": model, "direction": "out", "step": step} for model, step in run.makes]
    rows = [{"subject": number, **one} for one in links if len(one["model_id"]) <= 64]  # type: ignore[arg-type]
    if rows:
        conn.execute(upsert(conn, model_uses).on_conflict_do_nothing(), rows)


def _keyed(values: Mapping[str, str]) -> dict[str, str]:
    return {_fit(key): _fit(value) for key, value in values.items() if len(_fit(key)) <= MOST_KEY and key != LEFT}


def _fit(text: str) -> str:
    """Return a text that every database can hold: bytes of a file's name that are no text are written as `\\udcff`."""
    return text.replace("\0", "\ufffd").encode(errors="backslashreplace").decode()


def _fitting(context: Context) -> Context:
    return Context(context.other_id[:256], context.dataset_name[:500], context.dataset_digest[:36])
