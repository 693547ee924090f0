"""Letting go of deleted runs, logged models and experiments: their rows, their curves and the bytes of their artifacts.

Deleting is a mark, and restoring takes it away, until the time of retention is over. What a version of a model in any
kept state of the history came from, or has its files with, stays whatever its mark says; a state that expired keeps
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, delete, func, insert, or_, select

from bascule.catalog import actor, audit
from bascule.catalog.schema import (
    dataset_uses,
    datasets,
    experiment_tags,
    experiments,
    expirations,
    latest_metrics,
    logged_models,
    metric_points,
    model_uses,
    nodes,
    run_documents,
    run_io,
    run_params,
    run_tags,
    runs,
    settings,
    spans,
    subjects,
    trace_assessments,
    trace_facts,
    trace_runs,
    traces,
)
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.lake.maintenance.references import NOTHING, restorable
from bascule.lake.maintenance.references import Purged as PurgedVersions
from bascule.store import Place
from bascule.tracking.artifacts import Artifacts, confined
from bascule.tracking.experiments import DEFAULT, DELETED, PURGED

SCHEME = "mlflow-artifacts:"
PENDING = "purge.folders"  # folders whose rows are gone, and that are to be deleted; so a kill leaves nothing behind
AT_ONCE = 500
_NAMED = re.compile(rb'"(?:run_id|model_id|artifact|source)":"([^"]{1,4000})"')
_OF_SUBJECTS = (metric_points, latest_metrics, run_params, run_tags, run_documents, dataset_uses, model_uses)


@dataclass(frozen=True)
class Purged:
    """What went, or with a dry run would go.

    Attributes:
        points: of metrics.
        files: of artifacts.
        bytes: of these files.
        kept: deleted runs and models that stay since a version of a model came from them.
    """

    runs: int = 0
    models: int = 0
    experiments: int = 0
    points: int = 0
    files: int = 0
    bytes: int = 0
    kept: int = 0


@dataclass
class _Found:
    """What is to go."""

    runs: list[Any] = field(default_factory=list)
    models: list[Any] = field(default_factory=list)
    experiments: list[int] = field(default_factory=list)
    kept: tuple[str, ...] = ()

    @property
    def numbers(self) -> list[int]:
        return [one.number for one in [*self.runs, *self.models] if one.number is not None]


def purge(
    ws: Workspace,
    before: int,
    *,
    dry_run: bool = False,
    expired: Collection[str] = (),
    versions: PurgedVersions = NOTHING,
) -> Purged:
    """Let go of what was deleted before a time, in microseconds since 1970 UTC, and is needed by no version of a model.

    The rows go in one transaction; then the files. A process that is killed between leaves them to the next call.

    Args:
        expired: digests of models' objects that with a dry run count as expired, too.
        versions: those that were purged and need nothing any more.
    """
    if not dry_run:
        _delete_pending(ws)
    with ws.catalog.read() as conn:
        found = _found(conn, before, versions, expired if dry_run else ())
        points = _points(conn, found.numbers)
    folders = [folder for one in [*found.runs, *found.models] if (folder := _folder(one)) is not None]
    files, size = _weighed(ws, folders)
    done = Purged(len(found.runs), len(found.models), len(found.experiments), points, files, size, len(found.kept))
    if dry_run or not (found.runs or found.models or found.experiments):
        return done
    with ws.catalog.write() as conn:
        found = _found(conn, before, versions)  # again, where nobody can restore what goes
        folders = [folder for one in [*found.runs, *found.models] if (folder := _folder(one)) is not None]
        _delete_rows(conn, found)
        conn.execute(delete(settings).where(settings.c.key == PENDING))
        conn.execute(insert(settings).values(key=PENDING, value=msgspec.json.encode(folders).decode()))
        detail = {"runs": len(found.runs), "models": len(found.models), "experiments": found.experiments, "bytes": size}
        audit.append(conn, actor=actor(), action="purge", subject="tracking", detail=detail)
    _delete_pending(ws)
    return done


def kept(ws: Workspace, before: int, versions: PurgedVersions = NOTHING) -> tuple[str, ...]:
    """Return the ids of what was deleted before a time and stays, as a state of a model came from it."""
    with ws.catalog.read() as conn:
        return _found(conn, before, versions).kept


def came_from(ids: Iterable[str], body: bytes) -> set[str]:
    """Return which of some runs and logged models an object of a model came from, by the object's JSON."""
    named = b"\n".join(_NAMED.findall(body))
    return {one for one in ids if one.encode() in named}


def _found(conn: Connection, before: int, versions: PurgedVersions, expired: Collection[str] = ()) -> _Found:
    e = experiments.c
    old_ones = select(e.id).where(e.lifecycle == DELETED, e.deleted_at < before, e.id != DEFAULT)
    ids = list(conn.execute(old_ones).scalars())
    some_runs = conn.execute(
        select(runs.c.id, runs.c.number, runs.c.artifact_uri, runs.c.experiment_id).where(
            runs.c.lifecycle == DELETED, runs.c.deleted_at < before
        )
    ).all()
    m = logged_models.c
    old = (m.lifecycle == DELETED) & (m.deleted_at < before)
    some_models = conn.execute(
        select(m.id, m.number, m.artifact_uri, m.experiment_id).where(or_(old, m.experiment_id.in_(ids)))
    ).all()
    if not some_runs and not some_models:
        return _Found(experiments=_empty(conn, ids, set(), set()))
    named = _named(conn, frozenset(expired), versions)
    going = [one for one in some_runs if not _is_needed(one, named)]
    models = [one for one in some_models if not _is_needed(one, named)]
    stay = {str(one.id) for one in [*some_runs, *some_models]} - {str(one.id) for one in [*going, *models]}
    empty = _empty(conn, ids, {one.id for one in going}, {one.id for one in models})
    return _Found(going, models, empty, tuple(sorted(stay)))


def _empty(conn: Connection, ids: list[int], going: set[str], models: set[str]) -> list[int]:
    """Return the experiments that would have nothing left."""
    left = {row.experiment_id for row in conn.execute(_in(runs, ids)) if row.id not in going}
    left |= {row.experiment_id for row in conn.execute(_in(logged_models, ids)) if row.id not in models}
    return [one for one in ids if one not in left]


def _in(table: Table, ids: list[int]) -> Any:
    return select(table.c.id, table.c.experiment_id).where(table.c.experiment_id.in_(ids))


def _named(conn: Connection, expired: frozenset[str], versions: PurgedVersions) -> bytes:
    """Return all that states of models that did not expire say of where they came from, as one text to look into.

    What may be restored is among them.
    """
    light = conn.dialect.name == "sqlite"
    place = (
        func.instr(nodes.c.body, b'"versions"')
        if light
        else func.position(_bytes(b'"versions"').op("IN")(nodes.c.body))
    )
    found: set[bytes] = set()
    query = select(nodes.c.hash, nodes.c.body).where(place > 0, nodes.c.hash.not_in(select(expirations.c.name)))
    for name, body in conn.execute(query):
        if name not in expired:
            found.update(_NAMED.findall(versions.without_in(bytes(body))))
    for held in restorable(conn, versions):
        found.update(_NAMED.findall(held.encode()))
    return b"\n".join(found)


def _bytes(value: bytes) -> Any:
    from sqlalchemy import LargeBinary, literal

    return literal(value, LargeBinary)


def _is_needed(one: Any, named: bytes) -> bool:
    return str(one.id).encode() in named


def _folder(one: Any) -> str | None:
    """Return the folder of what goes; it has its id in it, so that nothing else lies there."""
    uri = one.artifact_uri or f"{SCHEME}/{one.experiment_id}/{one.id}/artifacts"
    if not uri.startswith(SCHEME):
        return None
    try:
        path = confined(uri.removeprefix(SCHEME).lstrip("/"))
    except InputError:
        return None
    parts = path.split("/")
    return "/".join(parts[: parts.index(one.id) + 1]) if one.id in parts else None


def _points(conn: Connection, numbers: list[int]) -> int:
    total = 0
    for some in _parts(numbers):
        query = select(func.count()).select_from(metric_points).where(metric_points.c.subject.in_(some))
        total += conn.execute(query).scalar_one()
    return total


def _delete_rows(conn: Connection, found: _Found) -> None:
    for some in _parts(found.numbers):
        for table in _OF_SUBJECTS:
            conn.execute(delete(table).where(table.c.subject.in_(some)))
        conn.execute(delete(subjects).where(subjects.c.number.in_(some)))
    for part in _parts([one.id for one in found.runs]):
        conn.execute(delete(run_io).where(run_io.c.run_id.in_(part)))
        conn.execute(delete(runs).where(runs.c.id.in_(part)))
    for part in _parts([one.id for one in found.models]):
        conn.execute(delete(logged_models).where(logged_models.c.id.in_(part)))
    if found.experiments:
        last = conn.execute(select(settings.c.value).where(settings.c.key == PURGED)).scalar() or 0
        conn.execute(delete(settings).where(settings.c.key == PURGED))
        conn.execute(insert(settings).values(key=PURGED, value=str(max(int(last), *found.experiments))))
    for ids in _parts(found.experiments):
        for table in (trace_facts, trace_runs, trace_assessments, spans):
            held = select(traces.c.id).where(traces.c.experiment_id.in_(ids))
            conn.execute(delete(table).where(table.c.trace_id.in_(held)))
        conn.execute(delete(traces).where(traces.c.experiment_id.in_(ids)))
        conn.execute(delete(datasets).where(datasets.c.experiment_id.in_(ids)))
        conn.execute(delete(experiment_tags).where(experiment_tags.c.experiment_id.in_(ids)))
        conn.execute(delete(experiments).where(experiments.c.id.in_(ids)))


def _delete_pending(ws: Workspace) -> None:
    with ws.catalog.read() as conn:
        told = conn.execute(select(settings.c.value).where(settings.c.key == PENDING)).scalar()
    if told is None:
        return
    artifacts = Artifacts(ws)
    for folder in msgspec.json.decode(told, type=list[str]):
        artifacts.delete(folder)
    with ws.catalog.write() as conn:
        conn.execute(delete(settings).where(settings.c.key == PENDING, settings.c.value == told))


def _weighed(ws: Workspace, folders: Iterable[str]) -> tuple[int, int]:
    artifacts = Artifacts(ws)
    files = size = 0
    for folder in folders:
        for place in _files(artifacts.place(folder)):
            files += 1
            size += place.stat().st_size
    return files, size


def _files(place: Place) -> Iterator[Place]:
    if place.is_dir():
        for one in place.iterdir():
            yield from _files(one)
    elif place.is_file():
        yield place


def _parts(values: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]
