"""Two branches' sets are merged file by file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pytest
from tests.lake.filesets.conftest import fill

from bascule.errors import Conflict, NotFound
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.filesets import FileSet
from bascule.project.comparing import compare
from bascule.project.publishing import publish

Photos = Callable[..., FileSet]
BASE = {f"f{n:04d}": b"%d" % n for n in range(1500)}


@pytest.fixture
def sides(photos: Photos, local_workspace: Workspace, tmp_path: Path) -> Callable[..., None]:
    """Let main and dev each change the set; None removes a file."""

    def change(main: Mapping[str, bytes | None], dev: Mapping[str, bytes | None]) -> None:
        photos().add(fill(tmp_path / "base", BASE))
        local_workspace.history.create_branch("dev")
        for branch, edits in (("main", main), ("dev", dev)):
            folder = tmp_path / branch
            photos(branch).checkout(folder)
            for path, data in edits.items():
                if data is None:
                    (folder / path).unlink()
                else:
                    fill(folder, {path: data})
            photos(branch).add(folder)

    return change


@pytest.mark.slow
def test_what_one_side_changed_is_taken(sides: Callable[..., None], photos: Photos, local_workspace: Workspace) -> None:
    same = {"both": b"alike", "f0003": None}
    main, dev = {"f0001": b"ours", "f0900": None, "a": b"new"}, {"f0002": b"theirs", "f0901": None, "z": b"new"}
    sides(main | same, dev | same)
    publish(local_workspace, "dev", "main")
    merged = {path: data for path, data in BASE.items() if path not in ("f0900", "f0901", "f0003")}
    merged |= {"f0001": b"ours", "f0002": b"theirs", "a": b"new", "z": b"new", "both": b"alike"}
    assert dict(photos().read_many()) == merged


@pytest.mark.slow
def test_a_file_that_both_changed_is_named(
    sides: Callable[..., None], photos: Photos, local_workspace: Workspace
) -> None:
    theirs = {"f0001": b"theirs", "f0002": b"theirs", "n": b"2", "z": b"z"}
    sides({"f0001": b"ours", "f0002": None, "n": b"1"}, theirs)
    with pytest.raises(
        Conflict, match=r"3 files of files/photos: f0001 \(ours changed it: 4 b.*theirs changed"
    ) as told:
        publish(local_workspace, "dev", "main")
    assert told.value.paths == ["files/photos/f0001", "files/photos/f0002", "files/photos/n"]
    assert "f0002 (ours removed it, theirs changed it" in told.value.message
    assert "--ours files/photos/f0001" in told.value.hint
    assert photos().read("f0001") == b"ours"
    choice = ["files/photos/f0001", "files/photos/f0002", "files/photos/n"]
    with pytest.raises(NotFound, match="path in conflict"):
        publish(local_workspace, "dev", "main", ours=choice, theirs=["files/photos/z"])
    publish(
        local_workspace, "dev", "main", ours=["files/photos/f0001"], theirs=["files/photos/f0002", "files/photos/n"]
    )
    assert [photos().read(path) for path in ("f0001", "f0002", "n", "z")] == [b"ours", b"theirs", b"2", b"z"]


def test_every_set_and_table_in_conflict_is_named_at_once(local_workspace: Workspace, tmp_path: Path) -> None:
    history, lake, names = local_workspace.history, Lake(local_workspace), ("labels", "photos")
    lake.append("t", pa.table({"id": [1]}))
    for name in names:
        FileSet(local_workspace, name).add(fill(tmp_path / "base", {"a": b"1"}))
    history.create_branch("dev")
    for branch, data in (("main", b"ours"), ("dev", b"theirs")):
        lake.overwrite("t", pa.table({"id": [len(data)]}), branch=branch)
        for name in names:
            FileSet(local_workspace, name, branch).add(fill(tmp_path / branch, {"a": data}))
    head = history.resolve("main")
    with pytest.raises(Conflict) as told:
        publish(local_workspace, "dev", "main")
    assert told.value.paths == ["tables/t", "files/labels/a", "files/photos/a"]
    for text in ("both changed tables/t", "1 file of files/labels", "1 file of files/photos"):
        assert text in told.value.message
    assert "--ours files/labels/a" in told.value.hint
    assert "--ours files/photos/a" in told.value.hint
    with pytest.raises(Conflict) as fewer:
        publish(local_workspace, "dev", "main", theirs=["tables/t", "files/labels"])
    assert fewer.value.paths == ["files/photos/a"]
    assert history.resolve("main") == head


@pytest.mark.slow
def test_a_whole_side_can_be_kept(sides: Callable[..., None], photos: Photos, local_workspace: Workspace) -> None:
    sides({"f0001": b"ours"}, {"f0001": b"theirs", "z": b"z"})
    publish(local_workspace, "dev", "main", theirs=["files/photos"])
    assert photos().read("f0001") == b"theirs"


@pytest.mark.slow
def test_names_that_do_not_go_together_are_a_conflict(sides: Callable[..., None], local_workspace: Workspace) -> None:
    sides({"Readme": b""}, {"README": b""})
    with pytest.raises(Conflict, match="upper and lower case"):
        publish(local_workspace, "dev", "main")


@pytest.mark.slow
def test_a_difference_is_told_with_the_others(sides: Callable[..., None], local_workspace: Workspace) -> None:
    sides({"f0001": b"ours"}, {"f0002": b"theirs", "f0004": None, "new": b"4"})
    (found,) = compare(local_workspace, "main~1", "dev")
    assert found.summary == "1,500 → 1,500 files, 1 changed, 1 renamed"
    assert found.details == ("~ f0002", "> f0004 → new")
    assert found.data is not None
    assert found.data["renamed"] == 1
    (removed,) = compare(local_workspace, "dev", "dev~2")
    assert removed.change == "removed"
    assert removed.summary.startswith("1,500 → 0 files, 1,500 removed")
