"""Runs that are told from outside, call by call: made, written to, closed, deleted and restored."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import Connection, insert, select, update

from bascule.catalog import now
from bascule.catalog.schema import experiments, runs
from bascule.errors import InputError, NotFound
from bascule.tracking import experiments as kept
from bascule.tracking.keeping import add_params, delete_tag, set_tags, tags_of
from bascule.tracking.points import Context, Point, add_points, context_numbers
from bascule.tracking.search.pieces import Sql, asked
from bascule.tracking.search.runs import COLUMNS, Found
from bascule.tracking.status import ENDED
from bascule.tracking.subjects import new_subject, number_of, touch
from bascule.tracking.tracker import Tracker

NAME_TAG = "mlflow.runName"
HISTORY_TAG = "mlflow.log-model.history"
ADJECTIVES = "able bold calm deft early fair glad high keen late mild neat open plain quick rare sharp tidy wise young"
NOUNS = "ash bay crane dune elm fern gull hare iris jay kite lark moth newt oak pike quail reed swift tern vole wren"
_RUN = insert(runs)
_ONE = f"SELECT {COLUMNS} FROM runs WHERE runs.id = ?"


@dataclass(frozen=True)
class Batch:
    """What one call says of a run. Nothing of it is kept unless all of it is.

    Attributes:
        contexts: what the points with the same place in `points` were measured on, where that is said.
    """

    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    contexts: Mapping[int, Context] = field(default_factory=dict)


def random_name() -> str:
    """Return a name for a run that was given none, such as `keen-lark-417`."""
    parts = secrets.choice(ADJECTIVES.split()), secrets.choice(NOUNS.split()), str(secrets.randbelow(1000))
    return "-".join(parts)


def add_run(
    tracker: Tracker,
    experiment: int,
    *,
    user: str,
    name: str,
    started_at: int,
    tags: Mapping[str, str],
    branch: str | None = None,
    run_id: str | None = None,
) -> dict[str, Any]:
    """Make a run in an active experiment, and return its row.

    Args:
        started_at: microseconds since 1970 UTC.
        branch: the branch that it works on.
        run_id: its id, when it comes from elsewhere with one.

    Raises:
        NotFound: there is no such experiment.
        InputError: it is deleted.
    """
    run = run_id or uuid4().hex
    told = {**tags, NAME_TAG: name}
    numbers = tracker.names.numbers(told)

    def work(conn: Connection) -> dict[str, Any]:
        place = kept.demand_place(conn, experiment)
        number = new_subject(conn, run)
        row = {
            "id": run,
            "name": name,
            "kind": "track",
            "status": "running",
            "branch": branch,
            "code_commit": tags.get("mlflow.source.git.commit"),
            "user_name": user,
            "started_at": started_at,
            "environment_json": "{}",
            "number": number,
            "experiment_id": experiment,
            "lifecycle": kept.ACTIVE,
            "artifact_uri": f"{place.rstrip('/')}/{run}/artifacts",
        }
        conn.execute(_RUN, row)
        set_tags(conn, number, told, numbers)
        return row

    return tracker.write(work)


def create_run(
    tracker: Tracker,
    experiment: int,
    *,
    user: str,
    name: str,
    started_at: int,
    tags: Mapping[str, str],
    branch: str | None = None,
    run_id: str | None = None,
) -> str:
    """Make a run as `add_run`, and return its id."""
    told = {"user": user, "name": name, "started_at": started_at, "tags": tags, "branch": branch, "run_id": run_id}
    found: str = add_run(tracker, experiment, **told)["id"]  # type: ignore[arg-type]
    return found


def demand_run(conn: Connection, run: str, *, active: bool = False) -> Found:
    """Return a run's row inside a transaction.

    Raises:
        NotFound: there is none.
        InputError: it is deleted, and must be active.
    """
    rows = asked(conn, Sql(_ONE, (run,)))
    if not rows:
        raise NotFound("run", run, hint="Search the runs for what there is.")
    row = Found._make(rows[0])
    if active and row.lifecycle != kept.ACTIVE:
        raise InputError(
            f"The run {run} must be in the 'active' state. Current state is {row.lifecycle}.", hint="Restore it first."
        )
    return row


def numbered(conn: Connection, row: Found) -> int:
    """Return the number of a run, which gets one if it has none yet."""
    if row.number is not None:
        return row.number
    number = number_of(conn, row.id)
    if number is None:
        number = new_subject(conn, row.id)
        conn.execute(update(runs).where(runs.c.id == row.id).values(number=number))
    return number


def log_batch(tracker: Tracker, run: str, batch: Batch) -> None:
    """Keep parameters, tags and points of an active run, all or nothing; saying it again changes nothing.

    Raises:
        NotFound, InputError: as `demand_run`, and for a parameter whose value would change.
    """
    points, contexts = batch.points, batch.contexts
    numbers = tracker.names.numbers({*batch.params, *batch.tags, *(point.name for point in points)})

    def work(conn: Connection) -> None:
        row = demand_run(conn, run, active=True)
        number = numbered(conn, row)
        add_params(conn, number, batch.params, numbers, strict=True)
        set_tags(conn, number, batch.tags, numbers)
        renamed = batch.tags.get(NAME_TAG)
        if renamed:
            conn.execute(update(runs).where(runs.c.id == run).values(name=renamed))
        add_points(conn, number, _placed(conn, points, contexts), numbers)
        for model in {one.other_id for one in contexts.values() if one.other_id}:
            subject = number_of(conn, model)
            if subject is not None:
                mine = {i: one._replace(other_id=run) for i, one in contexts.items() if one.other_id == model}
                add_points(conn, subject, [p for i, p in enumerate(_placed(conn, points, mine)) if i in mine], numbers)
                touch(conn, subject)
        touch(conn, number)

    tracker.write(work)


def _placed(conn: Connection, points: Sequence[Point], contexts: Mapping[int, Context]) -> Sequence[Point]:
    """Give points the numbers of what they were measured on."""
    if not contexts:
        return points
    found = context_numbers(conn, set(contexts.values()))
    return [point._replace(context=found[contexts[i]]) if i in contexts else point for i, point in enumerate(points)]


def update_run(
    tracker: Tracker, run: str, *, status: str | None = None, ended_at: int | None = None, name: str | None = None
) -> None:
    """Change how an active run stands, when it ended, or its name. No change of the status is refused.

    Raises:
        NotFound, InputError: as `demand_run`.
    """
    numbers = tracker.names.numbers([NAME_TAG])

    def work(conn: Connection) -> None:
        row = demand_run(conn, run, active=True)
        values: dict[str, Any] = {}
        if status:
            values["status"] = status
            if status in ENDED and ended_at is None and row.finished_at is None:
                values["finished_at"] = now()
            if status not in ENDED:
                values["finished_at"] = None
        if ended_at is not None:
            values["finished_at"] = ended_at
        number = numbered(conn, row)
        if name:
            values["name"] = name
            set_tags(conn, number, {NAME_TAG: name}, numbers)
        if values:
            conn.execute(update(runs).where(runs.c.id == run).values(**values))
        touch(conn, number)

    tracker.write(work)


def set_run_lifecycle(tracker: Tracker, run: str, lifecycle: str) -> None:
    """Delete or restore a run; it may be said again.

    Raises:
        NotFound: there is none.
    """

    def work(conn: Connection) -> None:
        if demand_run(conn, run).lifecycle != lifecycle:
            at = now() if lifecycle == kept.DELETED else None
            conn.execute(update(runs).where(runs.c.id == run).values(lifecycle=lifecycle, deleted_at=at))

    tracker.write(work)


def remove_tag(tracker: Tracker, run: str, key: str) -> None:
    """Take a tag of an active run away.

    Raises:
        NotFound: no such run, or it has no such tag.
        InputError: it is deleted.
    """

    def work(conn: Connection) -> None:
        row = demand_run(conn, run, active=True)
        number = numbered(conn, row)
        if not delete_tag(conn, number, key):
            raise NotFound(f"tag of the run {run}", key, hint="No tag of that key was set.")
        touch(conn, number)

    tracker.write(work)


def experiment_of(conn: Connection, run: str) -> Any:
    """Return the row of the experiment that a run is in."""
    query = select(experiments).join(runs, runs.c.experiment_id == experiments.c.id).where(runs.c.id == run)
    return conn.execute(query).first()


def note_model(tracker: Tracker, run: str, model: Mapping[str, Any]) -> None:
    """Add a model to the list of those that an active run says it logged, as clients before version 3 do.

    Raises:
        NotFound, InputError: as `demand_run`.
    """
    numbers = tracker.names.numbers([HISTORY_TAG])

    def work(conn: Connection) -> None:
        number = numbered(conn, demand_run(conn, run, active=True))
        held = msgspec.json.decode(tags_of(conn, number).get(HISTORY_TAG, "[]"))
        set_tags(conn, number, {HISTORY_TAG: msgspec.json.encode([*held, model]).decode()}, numbers)
        touch(conn, number)

    tracker.write(work)
