"""Journals into the catalog, exactly once: what a batch tells and how far it goes are written in one transaction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from bascule.catalog import upsert
from bascule.catalog.schema import journal_parts, journals, ref_log, run_io, runs
from bascule.errors import AlreadyExists, BasculeError, NotFound
from bascule.history import Workspace
from bascule.store import BlobStore
from bascule.tracking.ambient.findings import write_findings
from bascule.tracking.ambient.gathering import Batch
from bascule.tracking.ambient.session import Header
from bascule.tracking.ambient.told import WARNINGS, Begun, Finished, Told
from bascule.tracking.artifacts import Artifacts
from bascule.tracking.code import Code
from bascule.tracking.experiments import DEFAULT, create_experiment, find_experiment
from bascule.tracking.keeping import add_params, set_tags, tags_of
from bascule.tracking.points import Point, add_points
from bascule.tracking.subjects import new_subject, number_of, touch
from bascule.tracking.tracker import Tracker

MAIN = "main"
RUNNING = "running"
# What is known of an environment only at the end; of the rest the first interpreter says it.
LATER = ("trace", "sources")
# Of several processes that write one run, one that failed says how it ended.
RANKS = ("failed", "cancelled", "done")


class Overtaken(Exception):
    """Someone else has brought in this piece meanwhile."""


class CatalogTarget:
    """A workspace's catalog as the place where journals are brought. One thread uses it."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._tracker = Tracker(workspace)
        self._artifacts = Artifacts(workspace)
        self._experiments: dict[str, int] = {}

    def begin(self, header: Header, code: Code | None, environment: dict[str, Any]) -> dict[str, int]:
        """Have the session's run in the records, and return how far each of its journals is there already."""
        branch, commit = self._state(header)
        row = {
            "branch": branch,
            "commit_id": commit,
            "code_commit": code.commit if code else None,
            "code_dirty": code.dirty if code else None,
            "code_snapshot": code.snapshot if code else None,
            "user_name": header.user or header.login,
            "environment_json": msgspec.json.encode(environment).decode(),
        }
        begun = Begun(header.name, header.parent, header.started_at, header.resumes, header.experiment)
        words = msgspec.json.encode(header.command).decode()
        tags = {"command": " ".join(header.command), "argv": words}
        tags |= {key: str(value) for key, value in header.tags.items()}
        told = Told(header.run)
        told.tags(tags)
        told.params(header.params)
        experiment = self.experiment(header.experiment)
        numbers = self._tracker.names.numbers({*told.tags_told, *told.params_told})
        with self.workspace.catalog.write() as conn:
            number = _run(conn, header.run, begun, experiment, row)
            mine = {"id": header.session, "run_id": header.run, "status": RUNNING, "at": header.started_at}
            fresh = conn.execute(
                upsert(conn, journals).values(**mine).on_conflict_do_nothing().returning(journals.c.id)
            ).first()
            if fresh is not None:
                set_tags(conn, number, told.tags_told, numbers)
                add_params(conn, number, told.params_told, numbers, strict=False)
                _stand(conn, header.run)
        return self.taken(header.session)

    def taken(self, session: str) -> dict[str, int]:
        """Return how far each journal of a session is in the records."""
        with self.workspace.catalog.read() as conn:
            columns = journal_parts.c
            found = conn.execute(select(columns.part, columns.taken).where(columns.journal == session))
            return {row.part: row.taken for row in found}

    def is_finished(self, session: str) -> bool:
        """Tell whether the end of a session is in the records."""
        with self.workspace.catalog.read() as conn:
            status = conn.execute(select(journals.c.status).where(journals.c.id == session)).scalar()
        return status is not None and status != RUNNING

    def take(self, header: Header, batch: Batch, finished: Finished | None = None) -> None:
        """Write a batch, all or nothing.

        Args:
            finished: how the session ended, when this is its last batch.

        Raises:
            Overtaken: when a part of it is in the records already.
            BasculeError: when the catalog or the store cannot take it.
        """
        for told in batch.told.values():
            self._keep(header, told)
        experiments = {run: self.experiment(_named(told, header)) for run, told in batch.told.items() if told.begun}
        names = {
            name
            for told in batch.told.values()
            for name in (
                *told.params_told,
                *told.tags_told,
                *(point[0] for point in told.points),
                *told.findings.names(),
            )
        }
        numbers = self._tracker.names.numbers(names)
        with self.workspace.catalog.write() as conn:
            _advance(conn, header.session, batch)
            for run, told in batch.told.items():
                _write(conn, header, told, experiments.get(run, DEFAULT), numbers)
            if finished is not None:
                ended = {"status": finished.status, "error": finished.error, "at": finished.at}
                conn.execute(update(journals).where(journals.c.id == header.session).values(**ended))
                _stand(conn, header.run)
                _close_below(conn, header.run, finished)

    def keep_code(self, store: BlobStore, code: Code) -> None:
        """Take the blobs of a code snapshot over from a session's own store."""
        mine = self.workspace.store
        listing: dict[str, str] = msgspec.json.decode(store.get(code.snapshot))
        for digest in {*listing.values(), code.snapshot}:
            if not mine.has(digest):
                mine.put(store.get(digest))

    def _keep(self, header: Header, told: Told) -> None:
        """Bring files to where they stay. They are there before anything names them; again is the same."""
        for path in told.blobs.values():
            if Path(path).is_file():
                self.workspace.store.put_file(Path(path))
        if told.artifacts:
            with self.workspace.catalog.read() as conn:
                query = select(runs.c.artifact_uri, runs.c.experiment_id).where(runs.c.id == told.id)
                row = conn.execute(query).first()
            experiment = row.experiment_id if row else self.experiment(_named(told, header))
            for name, path in told.artifacts.items():
                if Path(path).is_file():
                    self._artifacts.keep(f"{experiment}/{told.id}/artifacts/{name}", Path(path))

    def experiment(self, name: str | None) -> int:
        """Return the number of an experiment, which is made when it is new."""
        if not name:
            return DEFAULT
        if name not in self._experiments:
            try:
                found = find_experiment(self._tracker, name)
            except NotFound:
                try:
                    found = create_experiment(self._tracker, name)
                except AlreadyExists:  # another process made it meanwhile
                    found = find_experiment(self._tracker, name)
            self._experiments[name] = found.id
        return self._experiments[name]

    def _state(self, header: Header) -> tuple[str | None, str | None]:
        """Return the branch that a session works on, and its commit when the session began."""
        history = self.workspace.history
        if not header.branch:
            return None, None
        if header.branch not in {ref.name for ref in history.branches()}:
            try:
                history.create_branch(header.branch, MAIN)
            except BasculeError:
                return header.branch, None
        with self.workspace.catalog.read() as conn:
            moves = ref_log.c.ref == header.branch, ref_log.c.at > header.started_at, ref_log.c.before.is_not(None)
            later = conn.execute(select(ref_log.c.before).where(*moves).order_by(ref_log.c.seq).limit(1)).scalar()
        return header.branch, later or history.resolve(header.branch).id


def _named(told: Told, header: Header) -> str | None:
    return (told.begun.experiment if told.begun else None) or header.experiment


def _run(conn: Connection, run: str, begun: Begun, experiment: int, row: dict[str, Any]) -> int:
    """Return the number of a run, which is made when it is not there."""
    found = conn.execute(select(runs.c.number, runs.c.name).where(runs.c.id == run)).first()
    number = number_of(conn, run)
    if number is None:
        number = new_subject(conn, run)
    if found is None:
        made = {
            "id": run,
            "number": number,
            "name": begun.name,
            "kind": begun.kind,
            "status": RUNNING,
            "parent_id": begun.parent,
            "started_at": begun.at,
            "experiment_id": experiment,
            **row,
        }
        conn.execute(insert(runs).values(**made))
    elif found.number is None:
        conn.execute(update(runs).where(runs.c.id == run).values(number=number))
    elif found.name == run and begun.name != run:  # another process spoke of it before the one that began it
        conn.execute(update(runs).where(runs.c.id == run).values(name=begun.name, parent_id=begun.parent))
    return number


def _advance(conn: Connection, session: str, batch: Batch) -> None:
    """Move the mark of each journal from where the batch begins to where it ends."""
    columns = journal_parts.c
    for part, end in batch.ends.items():
        begin = batch.begins[part]
        if begin == 0:
            row = {"journal": session, "part": part, "taken": end}
            made = upsert(conn, journal_parts).values(**row).on_conflict_do_nothing()
            done = conn.execute(made.returning(columns.taken)).first()
        else:
            where = (columns.journal == session) & (columns.part == part) & (columns.taken == begin)
            moved = update(journal_parts).where(where).values(taken=end)
            done = conn.execute(moved.returning(columns.taken)).first()
        if done is None:
            raise Overtaken(part)


def _write(conn: Connection, header: Header, told: Told, experiment: int, numbers: dict[str, int]) -> None:
    begun = told.begun or Begun(told.id, header.run, header.started_at)
    above = conn.execute(select(runs).where(runs.c.id == header.run)).first()
    shared = ("branch", "commit_id", "code_commit", "code_dirty", "code_snapshot", "user_name")
    inherited = {key: getattr(above, key) for key in shared} if above else {"user_name": header.login}
    number = _run(conn, told.id, begun, experiment, inherited)
    add_params(conn, number, told.params_told, numbers, strict=False)
    tags = told.tags_told
    if WARNINGS in tags:  # what an earlier batch, or another process, has told stays
        before = Told(told.id)
        for line in (tags_of(conn, number).get(WARNINGS, "") + "\n" + tags[WARNINGS]).split("\n"):
            before.warn(line)
        tags = {**tags, **before.tags_told}
    set_tags(conn, number, tags, numbers)
    add_points(conn, number, (Point(name, value, at, step) for name, value, at, step in told.points), numbers)
    rows = [
        {"run_id": told.id, "direction": d, "path": path, "version": version, "rows": rows, "bytes": size}
        for d, path, version, rows, size in map(msgspec.structs.astuple, told.touched)
    ]
    if rows:
        conn.execute(upsert(conn, run_io).on_conflict_do_nothing(), rows)
    write_findings(conn, told.id, told.findings, numbers)
    if told.environment:
        _add_environment(conn, told)
    if told.finished is not None and told.id != header.run:
        _finish(conn, told.id, told.finished)
    touch(conn, number)


def _add_environment(conn: Connection, told: Told) -> None:
    text = conn.execute(select(runs.c.environment_json).where(runs.c.id == told.id)).scalar_one()
    held = msgspec.json.decode(text)
    new = {key: value for key, value in told.environment.items() if key in LATER or "argv" not in held}
    if new:
        merged = msgspec.json.encode({**held, **new}).decode()
        conn.execute(update(runs).where(runs.c.id == told.id).values(environment_json=merged))


def _finish(conn: Connection, run: str, finished: Finished) -> None:
    values = {"status": finished.status, "error": finished.error, "finished_at": finished.at}
    conn.execute(update(runs).where(runs.c.id == run).values(**values))


def _stand(conn: Connection, run: str) -> None:
    """Say how a run stands by its journals: it runs while one of them does, and failed if one of them failed."""
    columns = journals.c
    found = conn.execute(select(columns.status, columns.error, columns.at).where(columns.run_id == run)).all()
    if any(row.status == RUNNING for row in found):
        conn.execute(update(runs).where(runs.c.id == run).values(status=RUNNING, finished_at=None, error=None))
        return
    worst = min(found, key=lambda row: RANKS.index(row.status))
    _finish(conn, run, Finished(worst.status, worst.error, max(row.at for row in found)))


def _close_below(conn: Connection, run: str, finished: Finished) -> None:
    """Close what was begun below a run that has ended, and was never closed: its process was killed."""
    below = (runs.c.parent_id == run) & (runs.c.status == RUNNING) & (runs.c.kind == "track")
    open_ones = conn.execute(select(runs.c.id).where(below)).scalars().all()
    for one in open_ones:
        own = conn.execute(select(journals.c.id).where(journals.c.run_id == one).limit(1)).first()
        if own is None:
            _finish(conn, one, Finished("failed", "Its process ended before it was closed.", finished.at))
