"""A deleted version, and what it came from, is freed once no rule keeps a state that had it; until then it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select, update

from bascule.catalog.schema import commits, ref_log, refs, runs
from bascule.durations import DAY
from bascule.errors import Expired
from bascule.history import Workspace, holding
from bascule.lake import doctor
from bascule.lake.maintenance import retention
from bascule.project.collecting import collect
from bascule.registry import external
from bascule.registry.deletions import without
from bascule.tracking import remote
from bascule.tracking.artifacts import Artifacts
from bascule.tracking.tracker import Tracker

MODEL = "models/m"


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    with closing(Workspace.create(tmp_path)) as workspace:
        yield workspace


def registered(ws: Workspace) -> str:
    """Register a version with a file, and return its run."""
    run = remote.create_run(Tracker(ws), 0, user="ana", name="n", started_at=1, tags={})

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 1000

    asyncio.run(Artifacts(ws).write(f"0/{run}/artifacts/model/a.bin", chunks()))
    about = {"source": f"runs:/{run}/model", "run_id": run}
    external.create_version(ws, "main", "m", about, artifact=f"mlflow-artifacts:/0/{run}/artifacts/model", author="ana")
    return run


def deleted(ws: Workspace, number: str, run: str) -> None:
    """Take a version from the branch, as an undone registration does, and delete its run."""
    external.change_model(
        ws, "main", "m", lambda found: without(found, [int(number)]), author="ana", message="Take it out"
    )
    remote.set_run_lifecycle(Tracker(ws), run, "deleted")


def wait(ws: Workspace, span: int) -> None:
    """Let time go by: whatever happened was so much earlier."""
    with ws.catalog.write() as conn:
        conn.execute(update(commits).values(created_at=commits.c.created_at - span))
        conn.execute(update(ref_log).values(at=ref_log.c.at - span))
        conn.execute(update(refs).values(updated_at=refs.c.updated_at - span))
        conn.execute(update(runs).where(runs.c.deleted_at.is_not(None)).values(deleted_at=runs.c.deleted_at - span))


def present(ws: Workspace) -> set[str]:
    """Return the runs whose files are there."""
    with ws.catalog.read() as conn:
        ids = list(conn.execute(select(runs.c.id)).scalars())
    return {one for one in ids if Artifacts(ws).place(f"0/{one}/artifacts/model/a.bin").is_file()}


def test_a_deleted_version_is_freed_when_no_rule_keeps_a_state_that_had_it(ws: Workspace) -> None:
    external.create_model(ws, "main", "m", author="ana")
    first, second = registered(ws), registered(ws)
    had = ws.history.resolve("main")
    deleted(ws, "1", first)
    wait(ws, 40 * DAY)
    assert collect(ws).tracking["kept"] == 1  # without a rule every state is kept, and may come back
    retention.change(ws.catalog, "main", keep="60d")
    assert collect(ws).tracking["kept"] == 1
    retention.change(ws.catalog, "main", keep="30d")
    told = collect(ws, dry_run=True)
    assert (told.tracking["runs"], told.tracking["kept"], told.bytes) == (1, 0, 1000)
    assert present(ws) == {first, second}
    done = collect(ws)
    assert (done.tracking, done.bytes) == (told.tracking, 1000)
    assert (done.expired_commits, done.expired_objects) == (told.expired_commits, told.expired_objects) == (2, 2)
    assert present(ws) == {second}
    with pytest.raises(Expired, match="main keeps"):
        ws.history.restore("main", had, [MODEL], message="Back")
    with pytest.raises(Expired):
        ws.history.tag("old", had)
    assert collect(ws).tracking["runs"] == 0
    assert doctor.check(ws).expired == 0  # no table's


@pytest.mark.parametrize("kind", ["branch", "tag", "hold", "restored"])
def test_a_deleted_version_stays_while_anything_has_it(ws: Workspace, kind: str) -> None:
    external.create_model(ws, "main", "m", author="ana")
    first, second = registered(ws), registered(ws)
    if kind == "branch":
        ws.history.create_branch("dev", "main")
    elif kind == "tag":
        ws.history.tag("v1", "main")
    elif kind == "hold":
        holding.hold(ws, MODEL, "case 4711")
    deleted(ws, "1", first)
    retention.change(ws.catalog, "main", last=1)
    wait(ws, 40 * DAY)
    if kind == "restored":
        remote.set_run_lifecycle(Tracker(ws), first, "active")
    done = collect(ws)
    assert (done.tracking["runs"], present(ws)) == (0, {first, second})
