"""Folders of images, texts or sound: a file set, and a table that says what each file is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.engine import opened
from bascule.lake.filesets import FileSet
from bascule.lake.origins import Options
from bascule.project.batches import Batch, bring_in


def make(folder: Path, *paths: str) -> Path:
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode() * 3)
    return folder


def bring(ws: Workspace, folder: Path, labels: str = "", **told: Any) -> Batch:
    options = Options(more={"labels": labels} if labels else {})
    return bring_in(ws, "photos", f"folder://{folder}", "main", options=options, **told)


def rows(ws: Workspace, columns: str = "path, label") -> list[tuple[Any, ...]]:
    with opened() as connection:
        scan = Lake(ws).scan(ws.history.get("main", "tables/photos"))
        return connection.execute(f"select {columns} from {scan} order by path").fetchall()


def test_folders_name_labels(local_workspace: Workspace, tmp_path: Path) -> None:
    folder = make(tmp_path / "in", "cat/1.jpg", "cat/2.jpg", "dog/1.png")
    batch = bring(local_workspace, folder)
    assert rows(local_workspace, "path, label, type, bytes") == [
        ("cat/1.jpg", "cat", "image/jpeg", 27),
        ("cat/2.jpg", "cat", "image/jpeg", 27),
        ("dog/1.png", "dog", "image/png", 27),
    ]
    assert batch.commit is not None
    assert FileSet(local_workspace, "photos").read("dog/1.png") == b"dog/1.png" * 3
    assert bring(local_workspace, folder).commit is None
    make(folder, "dog/2.png")
    (folder / "cat/1.jpg").unlink()
    bring(local_workspace, folder)
    assert [row[0] for row in rows(local_workspace)] == ["cat/2.jpg", "dog/1.png", "dog/2.png"]
    assert [info.path for info in FileSet(local_workspace, "photos").list()] == ["cat/2.jpg", "dog/1.png", "dog/2.png"]
    assert [ref.name for ref in local_workspace.history.branches()] == ["main"]


def test_folders_name_the_split_too(local_workspace: Workspace, tmp_path: Path) -> None:
    bring(local_workspace, make(tmp_path / "in", "train/cat/1.wav", "val/dog/1.wav", "test/dog/2.wav"))
    assert rows(local_workspace, "label, split") == [("dog", "test"), ("cat", "train"), ("dog", "validation")]


def test_a_pattern_over_the_path(local_workspace: Workspace, tmp_path: Path) -> None:
    told: list[str] = []
    folder = make(tmp_path / "in", "cat_1.txt", "dog_22.txt", "README")
    bring(local_workspace, folder, r"(?P<label>[a-z]+)_(?P<number>\d+)\.txt", tell=told.append)
    assert rows(local_workspace, "label, number") == [(None, None), ("cat", "1"), ("dog", "22")]
    assert "1 files have no label" in told


@pytest.mark.slow
def test_a_manifest(local_workspace: Workspace, tmp_path: Path) -> None:
    folder = make(tmp_path / "in", "1.jpg", "2.jpg")
    (folder / "labels.csv").write_text("file_name,label,age\n1.jpg,cat,3\n2.jpg,dog,4\n")
    bring(local_workspace, folder, "labels.csv")
    assert rows(local_workspace, "path, label, age") == [("1.jpg", "cat", 3), ("2.jpg", "dog", 4)]
    (folder / "labels.csv").write_text("file_name,label,age\n1.jpg,cat,3\n2.jpg,dog,4\n3.jpg,cow,1\n")
    with pytest.raises(InputError, match=r"labels\.csv:4: there is no file '3\.jpg'"):
        bring(local_workspace, folder, "labels.csv")
    bring(local_workspace, folder, "labels.csv", tolerate=0.5)
    (folder / "labels.csv").write_text("file_name,label,age\n1.jpg,cat,3\n1.jpg,dog,4\n")
    with pytest.raises(InputError, match="is there twice"):
        bring(local_workspace, folder, "labels.csv")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("nothing.csv", "neither 'folder' nor 'none'"),
        ("(?P<label>[", "no regular expression"),
        ("(?P<path>.*)", "as a column of ours"),
    ],
)
def test_what_cannot_be_meant_is_told(local_workspace: Workspace, tmp_path: Path, labels: str, words: str) -> None:
    folder = make(tmp_path / "in", "1.jpg")
    with pytest.raises(InputError, match=words):
        bring(local_workspace, folder, labels)
    assert local_workspace.history.read("main", "files/photos") is None
    with pytest.raises(NotFound):
        bring(local_workspace, tmp_path / "none")
    with pytest.raises(InputError, match="no option 'label'"):
        bring_in(local_workspace, "photos", f"folder://{folder}", "main", options=Options(more={"label": "x"}))
    with pytest.raises(InputError, match="only from http"):
        bring_in(local_workspace, "photos", f"folder://{folder}", "main", confined=True)
