"""What was deleted can be restored until retention is over, and then its bytes are gone; what models need stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import String, Table, func, insert, select

from bascule.catalog import now
from bascule.catalog.schema import metric_points, run_params, runs, subjects, trace_facts, traces
from bascule.errors import NotFound
from bascule.history import Workspace
from bascule.project.deleting import delete
from bascule.registry import external
from bascule.tracking import experiments, logged, purging, remote
from bascule.tracking.artifacts import Artifacts
from bascule.tracking.points import Point
from bascule.tracking.tracker import Tracker


@pytest.fixture(params=["sqlite", "postgresql"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tracker]:
    url = request.getfixturevalue("migrated_database") if request.param == "postgresql" else ""
    with closing(Workspace.create(tmp_path, catalog=url)) as ws:
        yield Tracker(ws)


def made(tracker: Tracker, experiment: int = 0) -> str:
    run = remote.create_run(tracker, experiment, user="ana", name="n", started_at=1, tags={"a": "b"})
    points = tuple(Point("loss", 0.5, at, at) for at in range(10))
    remote.log_batch(tracker, run, remote.Batch(params={"depth": "3"}, points=points))

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 1000

    for name in ("model/a.bin", "b.txt"):
        asyncio.run(Artifacts(tracker.workspace).write(f"{experiment}/{run}/artifacts/{name}", chunks()))
    return run


def count(tracker: Tracker, table: object) -> int:
    with tracker.workspace.catalog.read() as conn:
        return conn.execute(select(func.count()).select_from(table)).scalar_one()  # type: ignore[arg-type]


def given(table: Table, **values: object) -> dict[str, object]:
    """Return a row with something in every column that must have it."""
    needed = {c.name: "x" if isinstance(c.type, String) else 1 for c in table.c if not c.nullable}
    return needed | {key: value for key, value in values.items() if key in table.c}


@pytest.mark.slow
def test_a_deleted_run_is_restored_until_it_is_let_go_with_all_its_bytes(tracker: Tracker) -> None:
    ws, stays, goes = tracker.workspace, made(tracker), made(tracker)
    remote.set_run_lifecycle(tracker, goes, "deleted")
    assert purging.purge(ws, now() - 10**9).runs == 0  # not long enough
    remote.set_run_lifecycle(tracker, goes, "active")
    assert purging.purge(ws, now()).runs == 0  # restored
    remote.set_run_lifecycle(tracker, goes, "deleted")
    told = purging.purge(ws, now() + 1, dry_run=True)
    assert (told.runs, told.points, told.files, told.bytes) == (1, 10, 2, 2000)
    assert (count(tracker, runs), count(tracker, metric_points)) == (2, 20)
    assert purging.purge(ws, now() + 1) == told
    assert (count(tracker, runs), count(tracker, metric_points), count(tracker, run_params)) == (1, 10, 1)
    assert count(tracker, subjects) == 1
    assert Artifacts(ws).list("0") == Artifacts(ws).list("0")[:1]
    assert [one.path for one in Artifacts(ws).list("0")] == [stays]
    with pytest.raises(NotFound):
        remote.set_run_lifecycle(tracker, goes, "active")
    assert purging.purge(ws, now() + 1) == purging.Purged()


@pytest.mark.slow
def test_an_experiment_goes_with_its_runs_and_its_name_is_free(tracker: Tracker) -> None:
    ws = tracker.workspace
    number = experiments.create_experiment(tracker, "old", tags={"k": "v"}).id
    made(tracker, number)
    model = logged.create_logged_model(tracker, number, name="m")
    facts = {"trace_id": "t", "key": "k", "value": "v", "kind": "tag", "number": 1}
    with ws.catalog.write() as conn:
        conn.execute(insert(traces).values(**given(traces, id="t", experiment_id=number)))
        conn.execute(insert(trace_facts).values(**given(trace_facts, **facts)))
    experiments.set_lifecycle(tracker, number, "deleted")
    experiments.set_lifecycle(tracker, 0, "deleted")  # the default one stays, or nothing could be logged any more
    done = purging.purge(ws, now() + 1)
    assert (done.runs, done.models, done.experiments) == (1, 1, 1)
    assert (count(tracker, traces), count(tracker, trace_facts)) == (0, 0)
    with pytest.raises(NotFound):
        logged.read_logged_model(tracker, model)
    assert experiments.create_experiment(tracker, "old").id != number
    with ws.catalog.read() as conn:
        assert experiments.demand(conn, 0).lifecycle == "deleted"


@pytest.mark.slow
def test_what_a_version_came_from_stays_also_when_the_model_left_the_branch(tracker: Tracker) -> None:
    ws, run, other = tracker.workspace, made(tracker), made(tracker)
    external.create_model(ws, "main", "m", author="ana")
    about = {"source": f"runs:/{run}/model", "run_id": run}
    place = f"mlflow-artifacts:/0/{run}/artifacts/model"
    external.create_version(ws, "main", "m", about, artifact=place, author="ana")
    for one in (run, other):
        remote.set_run_lifecycle(tracker, one, "deleted")
    delete(ws, "main", "m", reason="x", who="ana")
    done = purging.purge(ws, now() + 1)
    assert (done.runs, done.kept) == (1, 1)
    assert Artifacts(ws).file(f"0/{run}/artifacts/model/a.bin").stat().st_size == 1000


@pytest.mark.slow
def test_a_purge_that_is_killed_before_the_files_are_gone_is_ended_by_the_next(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, run = tracker.workspace, made(tracker)
    remote.set_run_lifecycle(tracker, run, "deleted")
    with monkeypatch.context() as patch:
        patch.setattr(Artifacts, "delete", lambda self, path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            purging.purge(ws, now() + 1)
    assert Artifacts(ws).list("0")
    assert purging.purge(ws, 0).runs == 0
    assert not Artifacts(ws).list("0")
