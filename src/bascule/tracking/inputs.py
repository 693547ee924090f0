"""What runs read and made: datasets by name and digest, and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from bascule.catalog import upsert
from bascule.catalog.schema import dataset_uses, datasets, model_uses, runs
from bascule.tracking.remote import demand_run, numbered
from bascule.tracking.subjects import touch
from bascule.tracking.tracker import Tracker

CONTEXT = "mlflow.data.context"
MOST_SUMMARIES = 1000


@dataclass(frozen=True)
class Dataset:
    """A dataset that a run used."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def log_inputs(tracker: Tracker, run: str, used: Sequence[Dataset], models: Sequence[str] = ()) -> None:
    """Note what an active run read; what is noted already stays as it is.

    Raises:
        NotFound, InputError: as `demand_run`.
    """

    def work(conn: Connection) -> None:
        row = demand_run(conn, run, active=True)
        number = numbered(conn, row)
        add_datasets(conn, number, row.experiment_id, used)
        _link(conn, number, "in", [(model, 0) for model in models])
        touch(conn, number)

    tracker.write(work)


def add_datasets(conn: Connection, number: int, experiment: int, used: Sequence[Dataset]) -> None:
    """Note datasets of a run inside a transaction; what is noted already stays as it is.

    Args:
        number: the run's.
    """
    for one in used:
        use = {
            "subject": number,
            "dataset": keep_dataset(conn, experiment, one),
            "tags_json": msgspec.json.encode(dict(one.tags)).decode(),
            "context": one.tags.get(CONTEXT),
        }
        conn.execute(upsert(conn, dataset_uses).values(**use).on_conflict_do_nothing())


def log_outputs(tracker: Tracker, run: str, models: Sequence[tuple[str, int]]) -> None:
    """Note the models that an active run made, each with its step.

    Raises:
        NotFound, InputError: as `demand_run`.
    """

    def work(conn: Connection) -> None:
        number = numbered(conn, demand_run(conn, run, active=True))
        _link(conn, number, "out", models)
        touch(conn, number)

    tracker.write(work)


def dataset_summaries(tracker: Tracker, experiments: Sequence[int]) -> list[dict[str, Any]]:
    """Return the datasets of some experiments, each once for each context."""
    query = (
        select(runs.c.experiment_id, datasets.c.name, datasets.c.digest, dataset_uses.c.context)
        .join(dataset_uses, dataset_uses.c.dataset == datasets.c.id)
        .join(runs, runs.c.number == dataset_uses.c.subject)
        .where(runs.c.experiment_id.in_(list(experiments)), runs.c.lifecycle == "active")
        .distinct()
        .limit(MOST_SUMMARIES)
    )
    with tracker.workspace.catalog.read() as conn:
        return [
            {"experiment_id": str(row.experiment_id), "name": row.name, "digest": row.digest}
            | ({"context": row.context} if row.context is not None else {})
            for row in conn.execute(query)
        ]


def keep_dataset(conn: Connection, experiment: int, one: Dataset) -> int:
    """Keep a dataset of an experiment inside a transaction, once, and return its number."""
    row = {
        "experiment_id": experiment,
        **{key: getattr(one, key) for key in ("name", "digest", "source_type", "source", "schema", "profile")},
    }
    conn.execute(upsert(conn, datasets).values(**row).on_conflict_do_nothing())
    d = datasets.c
    query = select(d.id).where(d.experiment_id == experiment, d.name == one.name, d.digest == one.digest)
    found: int = conn.execute(query).scalar_one()
    return found


def _link(conn: Connection, number: int, direction: str, models: Sequence[tuple[str, int]]) -> None:
    rows = [{"subject": number, "model_id": m, "direction": direction, "step": step} for m, step in models]
    if rows:
        conn.execute(upsert(conn, model_uses).on_conflict_do_nothing(), rows)
