"""Damaged tables: what is told of them, and the way back to the last state that is whole."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from bascule.errors import EnvironmentProblem
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.project.caring import examine
from bascule.project.publishing import restore
from bascule.project.querying import ask, query


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
