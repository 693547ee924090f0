"""Experiments: names under which runs are kept together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from bascule.catalog import now, upsert
from bascule.catalog.schema import experiment_tags, experiments, runs, settings
from bascule.errors import AlreadyExists, InputError, NotFound
from bascule.tracking.tracker import Tracker

ACTIVE, DELETED = "active", "deleted"
DEFAULT = 0
LOCATION = "mlflow-artifacts:/"
PURGED = "purge.experiments"  # the greatest number of an experiment that is gone; no other one gets it
_ONE = select(experiments).where(experiments.c.id == bindparam("number"))


@dataclass(frozen=True)
class Experiment:
    """An experiment. Times are microseconds since 1970 UTC.

    Attributes:
        artifact_location: where its runs' artifacts lie: an address of this server, unless it was made with another.
    """

    id: int
    name: str
    artifact_location: str
    lifecycle: str
    created_at: int
    updated_at: int
    deleted_at: int | None = None
    tags: dict[str, str] = field(default_factory=dict)


def create_experiment(
    tracker: Tracker, name: str, *, location: str = "", tags: Mapping[str, str] | None = None
) -> Experiment:
    """Make an experiment.

    Raises:
        AlreadyExists: when there is one of that name, active or deleted.
    """

    def work(conn: Connection) -> int:
        at = now()
        row: dict[str, Any] = {
            "name": name,
            "artifact_location": location,
            "lifecycle": ACTIVE,
            "created_at": at,
            "updated_at": at,
        }
        if conn.dialect.name == "sqlite":  # which would give the number of the last one again when that is gone
            row["id"] = max(_last_purged(conn), conn.execute(select(func.max(experiments.c.id))).scalar() or 0) + 1
        try:
            number: int = conn.execute(insert(experiments).values(**row).returning(experiments.c.id)).scalar_one()
        except IntegrityError:
            raise AlreadyExists("experiment", name, hint="Use it as it is, restore it, or take another name.") from None
        if not location:
            place = f"{LOCATION}{number}"
            conn.execute(update(experiments).where(experiments.c.id == number).values(artifact_location=place))
        if tags:
            rows = [{"experiment_id": number, "key": key, "value": value} for key, value in tags.items()]
            conn.execute(insert(experiment_tags), rows)
        return number

    return get_experiment(tracker, tracker.write(work))


def get_experiment(tracker: Tracker, number: int) -> Experiment:
    """Return an experiment, deleted ones too.

    Raises:
        NotFound: when there is none.
    """
    with tracker.workspace.catalog.read() as conn:
        return demand(conn, number)


def find_experiment(tracker: Tracker, name: str) -> Experiment:
    """Return an experiment by its name, deleted ones too.

    Raises:
        NotFound: with the nearest name.
    """
    with tracker.workspace.catalog.read() as conn:
        number = conn.execute(select(experiments.c.id).where(experiments.c.name == name)).scalar()
        if number is None:
            known = conn.execute(select(experiments.c.name).limit(1000)).scalars().all()
            raise NotFound("experiment", name, known)
        return demand(conn, number)


def _last_purged(conn: Connection) -> int:
    return int(conn.execute(select(settings.c.value).where(settings.c.key == PURGED)).scalar() or 0)


def demand(conn: Connection, number: int, *, active: bool = False) -> Experiment:
    """Return an experiment inside a transaction.

    Args:
        active: refuse a deleted one.

    Raises:
        NotFound, InputError.
    """
    row = _demanded(conn, number, active)
    return Experiment(**row._mapping, tags=tags_of(conn, [number]).get(number, {}))


def demand_place(conn: Connection, number: int) -> str:
    """Return where the artifacts of an active experiment lie; errors as `demand`."""
    found: str = _demanded(conn, number, True).artifact_location
    return found


def _demanded(conn: Connection, number: int, active: bool) -> Any:
    row = conn.execute(_ONE, {"number": number}).first()
    if row is None:
        raise NotFound("experiment", str(number), hint="Search the experiments for what there is.")
    if active and row.lifecycle != ACTIVE:
        raise InputError(
            f"The experiment {number} must be in the 'active' state. Current state is {row.lifecycle}.",
            hint="Restore it first.",
        )
    return row


def tags_of(conn: Connection, numbers: list[int]) -> dict[int, dict[str, str]]:
    """Return the tags of some experiments."""
    found: dict[int, dict[str, str]] = {}
    columns = experiment_tags.c
    for row in conn.execute(select(experiment_tags).where(columns.experiment_id.in_(numbers)).order_by(columns.key)):
        found.setdefault(row.experiment_id, {})[row.key] = row.value
    return found


def rename_experiment(tracker: Tracker, number: int, name: str) -> None:
    """Give an active experiment another name.

    Raises:
        NotFound, InputError: as `demand`.
        AlreadyExists: when another one has it.
    """

    def work(conn: Connection) -> None:
        demand(conn, number, active=True)
        try:
            conn.execute(update(experiments).where(experiments.c.id == number).values(name=name, updated_at=now()))
        except IntegrityError:
            raise AlreadyExists("experiment", name, hint="Take another name.") from None

    tracker.write(work)


def set_lifecycle(tracker: Tracker, number: int, lifecycle: str) -> None:
    """Delete or restore an experiment with all its runs.

    Raises:
        NotFound: when there is none in the other state.
    """

    def work(conn: Connection) -> None:
        found = demand(conn, number)
        if found.lifecycle == lifecycle:
            state = "deleted" if lifecycle == DELETED else "active"
            raise NotFound("experiment", str(number), hint=f"It is {state} already.")
        values: dict[str, Any] = {"lifecycle": lifecycle, "deleted_at": now() if lifecycle == DELETED else None}
        conn.execute(update(experiments).where(experiments.c.id == number).values(updated_at=now(), **values))
        conn.execute(update(runs).where(runs.c.experiment_id == number).values(**values))

    tracker.write(work)


def set_experiment_tag(tracker: Tracker, number: int, key: str, value: str) -> None:
    """Set a tag of an active experiment."""

    def work(conn: Connection) -> None:
        demand(conn, number, active=True)
        row = upsert(conn, experiment_tags).values(experiment_id=number, key=key, value=value)
        conn.execute(row.on_conflict_do_update(index_elements=["experiment_id", "key"], set_={"value": value}))
        conn.execute(update(experiments).where(experiments.c.id == number).values(updated_at=now()))

    tracker.write(work)


def delete_experiment_tag(tracker: Tracker, number: int, key: str) -> None:
    """Take a tag of an experiment away.

    Raises:
        NotFound: when it has none of that key.
    """

    def work(conn: Connection) -> None:
        found = demand(conn, number, active=True)
        if key not in found.tags:
            raise NotFound(f"tag of experiment {number}", key, found.tags)
        where = (experiment_tags.c.experiment_id == number) & (experiment_tags.c.key == key)
        conn.execute(delete(experiment_tags).where(where))

    tracker.write(work)


def count_on(tracker: Tracker) -> None:
    """Let new experiments be counted on from the greatest number there is, after one was made with a number given.

    SQLite does that by itself.
    """

    def work(conn: Connection) -> None:
        if conn.dialect.name == "postgresql":
            conn.exec_driver_sql("SELECT setval('experiments_id_seq', (SELECT max(id) FROM experiments))")

    tracker.write(work)


def count_experiments(conn: Connection) -> int:
    """Return how many experiments there are."""
    return conn.execute(select(func.count()).select_from(experiments)).scalar_one()
