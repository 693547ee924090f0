"""Damaged tables: what is told of them, and the way back to the last state that is whole."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import insert

from bascule.catalog.schema import run_io
from bascule.errors import EnvironmentProblem
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.filesets import FileSet
from bascule.project.caring import examine
from bascule.project.publishing import restore
from bascule.project.querying import ask, query
from bascule.registry import get_version
from bascule.tracking import remote
from bascule.tracking.tracker import Tracker
from tests.project.test_deleting import add


@pytest.fixture
def lake(local_workspace: Workspace) -> Lake:
    """Table `t` with a whole state on main, one commit before the newest, whose only file is changed by the test."""
    made = Lake(local_workspace)
    made.append("t", pa.table({"id": range(50_000)}))
    made.append("other", pa.table({"id": [1]}))
    local_workspace.history.create_branch("before")
    made.delete("t", "id < 10")
    return made


def newest(lake: Lake) -> Path:
    (file,) = lake.files(lake.workspace.history.get("main", "tables/t"))
    return Path(str(file.path))


def told(workspace: Workspace, *, deep: bool = False) -> list[tuple[str, str]]:
    return [(found.level, found.message) for found in examine(workspace, deep) if found.subject == "tables"]


@pytest.mark.slow
def test_a_byte_that_the_disk_changed_is_found_with_the_way_back(lake: Lake) -> None:
    data = bytearray(newest(lake).read_bytes())
    data[1000] ^= 1
    newest(lake).write_bytes(bytes(data))
    assert [level for level, _ in told(lake.workspace)] == ["ok"]
    (damage, way) = told(lake.workspace, deep=True)
    assert damage[0] == "damage"
    assert newest(lake).name in damage[1]
    whole = lake.workspace.history.resolve("main~2").short
    wanted = (
        f"tables/t on main was whole at {whole}; go back with: bascule restore tables/t --from {whole} --branch main"
    )
    assert way == ("note", wanted)
    restore(lake.workspace, ["tables/t"], whole, "main")
    assert query(lake.workspace, "SELECT count(*) AS n FROM t") == [{"n": 50_000}]
    assert [level for level, _ in told(lake.workspace, deep=True)] == ["damage"]  # the past stays damaged, and told


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["short", "gone"])
def test_a_query_over_a_damaged_file_is_no_mistake_of_the_user(lake: Lake, damage: str) -> None:
    newest(lake).write_bytes(b"PAR1") if damage == "short" else newest(lake).unlink()
    for run in (query, lambda *asked: ask(*asked, ref="main", limit=5)):
        with pytest.raises(EnvironmentProblem, match=newest(lake).name) as error:
            run(lake.workspace, "SELECT sum(id) FROM t")
        assert "bascule doctor" in error.value.hint
    assert query(lake.workspace, "SELECT count(*) AS n FROM t@before") == [{"n": 50_000}]


def test_without_a_whole_state_that_is_told(lake: Lake) -> None:
    for path in lake.folder.glob("t-*/metadata/*.metadata.json"):
        Path(str(path)).write_text("{")
    found = told(lake.workspace)
    assert [level for level, _ in found].count("damage") == 2
    for branch in ("before", "main"):
        assert ("note", f"no state of tables/t on {branch} is whole: bring it in again from where it came") in found


def test_a_damaged_blob_is_told_with_all_that_needs_it_and_what_to_do(local_workspace: Workspace) -> None:
    ws = local_workspace
    digest = add(ws, b"first")
    add(ws, b"first", model="twin")
    card = get_version(ws, "main", "twin", 1).card or ""
    (ws.folder.parent / "photos").mkdir()
    (ws.folder.parent / "photos" / "a.bin").write_bytes(bytes(range(256)) * 300)
    FileSet(ws, "photos", "main").add(ws.folder.parent / "photos")
    run = remote.create_run(Tracker(ws), 0, user="ada", name="fit", started_at=1, tags={})
    with ws.catalog.write() as conn:
        conn.execute(insert(run_io).values(run_id=run, direction="out", path="model", version=digest))
    file = max(ws.store.digests(), key=ws.store.size)
    for one in (digest, card, file):
        place = Path(ws.store.url) / one[:2] / one
        place.chmod(0o600)
        place.write_bytes(b"x" + place.read_bytes()[1:])
    found = [one.message for one in examine(ws, deep=True) if (one.subject, one.level) == ("blobs", "damage")]
    told_of = {one: next(text for text in found if text.startswith(one[:16])) for one in (digest, card, file)}
    assert len(found) == 3
    assert (
        "; models/delays@1, models/twin@1" in told_of[digest] or "; models/twin@1, models/delays@1" in told_of[digest]
    )
    assert f"run {run} need it; put a whole copy in its place; or " in told_of[digest]
    assert "bascule model delete delays@1" in told_of[digest]
    assert "the card of models/twin@1 needs it; put a whole copy in its place" in told_of[card]
    assert "files/photos at " in told_of[file]
    assert "bascule files add photos" in told_of[file]
