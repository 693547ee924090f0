"""Folders go in and come out; what did not change is neither read nor written."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.lake.filesets.conftest import fill, tree

from bascule.errors import Busy, Conflict, EnvironmentProblem, InputError, NotFound
from bascule.history import Workspace
from bascule.lake import Session, filesets
from bascule.lake.filesets import FileSet, readers
from bascule.store import LocalStore

Photos = Callable[..., FileSet]

FILES = {"a.txt": b"a", "cats/1.jpg": b"one", "cats/2.jpg": b"two", "cats/deep/er/3.jpg": b"", "dogs-1.jpg": b"one"}


def test_a_folder_goes_in_and_comes_out(photos: Photos, folder: Path, tmp_path: Path) -> None:
    fill(folder, FILES)
    (folder / "run.sh").write_bytes(b"#!")
    (folder / "run.sh").chmod(0o755)
    (folder / "cats" / "latest").symlink_to("../a.txt")
    (folder / "empty").mkdir()
    done = photos().add(folder)
    assert (done.diff.added, done.files) == (7, 7)
    out = photos().checkout(tmp_path / "out")
    assert (out.written, out.kept) == (7, 0)
    assert tree(tmp_path / "out") == tree(folder)
    assert os.access(tmp_path / "out" / "run.sh", os.X_OK)
    assert not os.access(tmp_path / "out" / "a.txt", os.X_OK)
    assert not (tmp_path / "out" / "empty").exists()
    assert photos().checkout(tmp_path / "out").kept == 7
    assert photos().status(tmp_path / "out").diff.empty


def test_what_is_known_is_not_read_again(photos: Photos, folder: Path) -> None:
    fill(folder, FILES)
    time.sleep(0.05)  # older than a tick of the disk's clock
    first = photos().add(folder)
    again = photos().add(folder)
    assert (first.read, again.read, again.changed) == (5, 0, False)
    assert again.commit.id == first.commit.id
    (folder / "cats" / "1.jpg").write_bytes(b"eno")
    assert photos().status(folder).diff.counts() == {"added": 0, "removed": 0, "changed": 1, "renamed": 0}
    assert photos().add(folder).read <= 1


@pytest.mark.slow
def test_a_change_in_the_same_tick_is_seen(photos: Photos, folder: Path) -> None:
    """The racy case: equal size, and a time that the disk's clock cannot tell from the one before."""
    for number in range(30):
        (folder / "f").write_bytes(b"%04d" % number)
        photos().add(folder)
        (folder / "f").write_bytes(b"%04d" % (number + 5000))
        assert photos().status(folder).diff.changed == 1, number


def test_a_change_right_after_a_checkout_is_seen(photos: Photos, folder: Path, tmp_path: Path) -> None:
    photos().add(fill(folder, {f"f{n}": b"%04d" % n for n in range(200)}))
    photos().checkout(tmp_path / "out")
    (tmp_path / "out" / "f199").write_bytes(b"9910")
    assert [one.path for one in photos().status(tmp_path / "out").diff.sample] == ["f199"]


def test_a_file_with_its_old_times_put_back_is_seen(photos: Photos, folder: Path) -> None:
    fill(folder, FILES)
    time.sleep(0.05)
    photos().add(folder)
    place = folder / "cats" / "1.jpg"
    stat = place.stat()
    place.write_bytes(b"eno")
    os.utime(place, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert photos().status(folder).diff.changed == 1


def test_files_are_read_without_a_checkout(photos: Photos, folder: Path) -> None:
    photos().add(fill(folder, FILES))
    photo = photos()
    assert photo.read("cats/2.jpg") == b"two"
    with photo.open("cats/1.jpg") as file:
        assert file.read(2) == b"on"
    assert list(photo.glob("cats/*.jpg")) == ["cats/1.jpg", "cats/2.jpg"]
    assert list(photo.glob("*.jpg")) == ["cats/1.jpg", "cats/2.jpg", "cats/deep/er/3.jpg", "dogs-1.jpg"]
    assert list(photo.glob("cats")) == ["cats/1.jpg", "cats/2.jpg", "cats/deep/er/3.jpg"]
    assert list(photo.glob("cats/**/[3-9].jpg")) == ["cats/deep/er/3.jpg"]
    assert dict(photo.read_many("cats")) == {path: data for path, data in FILES.items() if path.startswith("cats")}
    with pytest.raises(NotFound, match=r"cats/1\.jpeg") as told:
        photo.read("cats/1.jpeg")
    assert "cats/1.jpg" in told.value.hint
    with pytest.raises(NotFound) as told:
        photo.read("nowhere/2.jpg")  # a folder that is not there: what is there is named
    assert "cats/2.jpg" in told.value.hint


def test_states_are_compared(photos: Photos, folder: Path, local_workspace: Workspace) -> None:
    photos().add(fill(folder, FILES))
    local_workspace.history.tag("v1")
    (folder / "cats" / "1.jpg").rename(folder / "cats" / "first.jpg")
    (folder / "cats" / "2.jpg").write_bytes(b"changed")
    (folder / "a.txt").unlink()
    fill(folder, {"new.txt": b"new"})
    photos().add(folder)
    found = photos().diff("v1")
    assert found.counts() == {"added": 1, "removed": 1, "changed": 1, "renamed": 1}
    assert [(one.kind, one.before, one.path) for one in found.sample] == [
        ("removed", "", "a.txt"),
        ("changed", "", "cats/2.jpg"),
        ("renamed", "cats/1.jpg", "cats/first.jpg"),
        ("added", "", "new.txt"),
    ]
    assert photos(at="v1").read("a.txt") == b"a"
    assert photos().diff("v1", "main", "cats").counts()["added"] == 0


def test_a_folder_goes_back_and_forth_between_versions(
    photos: Photos, folder: Path, local_workspace: Workspace
) -> None:
    photos().add(fill(folder, {**FILES, "x": b"file"}))
    local_workspace.history.tag("v1")
    before = tree(folder)
    (folder / "x").unlink()
    shutil.rmtree(folder / "cats")
    fill(folder, {"x/y": b"now a folder", "a.txt": b"b"})
    photos().add(folder)
    after = tree(folder)
    for ref, wanted in (("v1", before), ("main", after), ("v1", before)):
        photos(at=ref).checkout(folder)
        assert tree(folder) == wanted
    assert not list(folder.glob(".bascule*"))


def test_what_somebody_changed_is_not_overwritten(photos: Photos, folder: Path, tmp_path: Path) -> None:
    photos().add(fill(folder, FILES))
    out = tmp_path / "out"
    photos().checkout(out)
    (out / "a.txt").write_bytes(b"mine")
    (out / "own.txt").write_bytes(b"not of the set")
    photos().add(fill(folder, {"a.txt": b"theirs", "own.txt": b"now of the set", "cats/1.jpg": b"2"}))
    before = tree(out)
    with pytest.raises(Conflict, match=r"2 in all: a\.txt \(changed here\); own\.txt \(not of this set\)"):
        photos().checkout(out)
    assert tree(out) == before
    photos().checkout(out, force=True)
    assert tree(out) == tree(folder)


def test_what_is_in_the_way_is_not_overwritten(photos: Photos, folder: Path, tmp_path: Path) -> None:
    photos().add(fill(folder, {"a/b": b"1", "c": b"2"}))
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    fill(out, {"c/mine": b"mine"})
    (out / "a").symlink_to(elsewhere)
    with pytest.raises(Conflict, match="in the way"):
        photos().checkout(out)
    assert list(elsewhere.iterdir()) == []
    photos().checkout(out, force=True)
    assert tree(out) == {"a/b": b"1", "c": b"2"}
    assert list(elsewhere.iterdir()) == []


def test_a_partial_checkout_removes_nothing_when_it_is_added(photos: Photos, folder: Path, tmp_path: Path) -> None:
    photos().add(fill(folder, FILES))
    out = tmp_path / "out"
    assert photos().checkout(out, only=["cats/*.jpg"]).written == 2
    assert sorted(tree(out)) == ["cats/1.jpg", "cats/2.jpg"]
    (out / "cats" / "1.jpg").unlink()
    fill(out, {"cats/4.jpg": b"four"})
    assert photos().status(out).diff.counts() == {"added": 1, "removed": 1, "changed": 0, "renamed": 0}
    done = photos().add(out)
    assert (done.diff.added, done.diff.removed, done.files) == (1, 1, 5)
    photos().checkout(out, only=["a.txt"])
    assert sorted(tree(out)) == ["a.txt", "cats/2.jpg", "cats/4.jpg"]
    assert photos().status(out).diff.empty


def test_a_part_of_another_version_is_a_change(
    photos: Photos, folder: Path, tmp_path: Path, local_workspace: Workspace
) -> None:
    photos().add(fill(folder, FILES))
    local_workspace.history.tag("v1")
    photos().add(fill(folder, dict.fromkeys(FILES, b"v2")))
    out = tmp_path / "out"
    photos().checkout(out)
    photos(at="v1").checkout(out, only=["cats/1.jpg"])
    assert [one.path for one in photos().status(out).diff.sample] == ["cats/1.jpg"]
    assert photos().add(out).diff.counts() == {"added": 0, "removed": 0, "changed": 1, "renamed": 0}
    assert photos().read("cats/1.jpg") == b"one"


def test_two_checkouts_into_one_folder_take_turns(photos: Photos, folder: Path, tmp_path: Path) -> None:
    photos().add(fill(folder, FILES))
    with photos()._locked(tmp_path / "out"), pytest.raises(Busy, match="Another checkout"):
        photos().checkout(tmp_path / "out")
    assert photos().checkout(tmp_path / "out").written == 5


def test_an_older_checkout_does_not_undo_what_came_since(photos: Photos, folder: Path, tmp_path: Path) -> None:
    photos().add(fill(folder, FILES))
    out = tmp_path / "out"
    photos().checkout(out)
    photos().add(fill(folder, {"theirs.txt": b"theirs"}))
    fill(out, {"mine.txt": b"mine"})
    assert photos().status(out).behind
    done = photos().add(out)
    assert done.merged
    assert {*photos().glob()} == {*FILES, "mine.txt", "theirs.txt"}
    photos().checkout(out)
    assert (out / "theirs.txt").exists()
    fill(out, {"a.txt": b"out"})
    photos().add(fill(folder, {"a.txt": b"folder"}))
    with pytest.raises(Conflict, match=r"a\.txt \(ours changed it: 6 bytes"):
        photos().add(out)


def test_files_are_kept_and_removed_by_word(photos: Photos, folder: Path, tmp_path: Path) -> None:
    photos().add(fill(folder, FILES))
    batch = fill(tmp_path / "batch", {"new/1.jpg": b"n"})
    assert photos().add(batch, keep=True).files == 6
    commit, count = photos().remove("cats", "new/1.jpg")
    assert count == 4
    assert commit.message == "Remove cats, new/1.jpg from files/photos"
    assert list(photos().glob()) == ["a.txt", "dogs-1.jpg"]
    with pytest.raises(NotFound, match="nothing"):
        photos().remove("nothing")
    photos().remove()
    with pytest.raises(NotFound, match="photos"):
        photos().read("a.txt")
    assert photos(at="main~1").read("a.txt") == b"a"


def test_ignored_files_stay_out(photos: Photos, folder: Path) -> None:
    fill(folder, FILES)
    fill(
        folder,
        {
            ".basculeignore": b"*.tmp\n!keep.tmp\n/build/\n",
            "x.tmp": b"",
            "cats/keep.tmp": b"",
            "build/x": b"",
            "cats/.basculeignore": b"2.jpg\n",
            "cats/sub/x.tmp": b"",
            ".git/config": b"",
        },
    )
    photos().add(folder)
    assert {*photos().glob()} - {".basculeignore", "cats/.basculeignore"} == {*FILES, "cats/keep.tmp"} - {"cats/2.jpg"}


@pytest.mark.slow
def test_middling_and_large_files(
    photos: Photos, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_workspace: Workspace
) -> None:
    monkeypatch.setattr(readers, "SMALL", 1 << 16)
    monkeypatch.setattr(readers, "LARGE", 1 << 20)
    data = random.Random(5).randbytes(9_000_000)
    fill(folder, {"middling": data[:500_000], "large": data, "small": b"s"})
    time.sleep(0.05)
    photos().add(folder)
    store = local_workspace.store
    stored = lambda: sum(store.size(name) for name in store.digests())  # noqa: E731
    before = stored()
    with photos().open("large") as file:
        file.seek(5_000_000)
        assert file.read(100_000) == data[5_000_000:5_100_000]
    fill(folder, {"large": data[:4_000_000] + b"!" + data[4_000_000:]})
    time.sleep(0.05)
    photos().add(folder)
    assert 0 < stored() - before < 2_500_000
    (folder / "large").rename(folder / "larger")
    before = stored()
    photos().add(folder)
    assert stored() - before < 10_000
    photos().checkout(tmp_path / "out")
    assert tree(tmp_path / "out") == tree(folder)
    linked = photos().checkout(tmp_path / "linked", link=True)
    assert linked.linked == 1
    assert not (tmp_path / "linked" / "middling").stat().st_mode & 0o222
    assert tree(tmp_path / "linked") == tree(folder)
    assert photos().status(tmp_path / "linked").diff.empty
    needed = set(filesets.references(store, local_workspace.history.get("main", "files/photos")))
    for name in set(store.digests()) - needed:
        store.delete(name)
    assert dict(photos().read_many()) == tree(folder)


def test_a_set_is_a_table(photos: Photos, folder: Path, local_workspace: Workspace) -> None:
    photos().add(fill(folder, FILES))
    local_workspace.history.tag("v1")
    photos().remove("cats")
    with Session(local_workspace) as session:
        counts = "SELECT count(*) AS n, sum(bytes)::INT AS b FROM"
        query = f'{counts} files.photos UNION ALL {counts} files."photos@v1"'
        assert session.arrow(query).to_pylist() == [{"n": 2, "b": 4}, {"n": 5, "b": 10}]


def test_a_missing_or_damaged_blob_is_named_with_the_way_back(
    photos: Photos, folder: Path, tmp_path: Path, local_workspace: Workspace
) -> None:
    photos().add(fill(folder, FILES))
    entry = photos().manifest.find("cats/1.jpg")
    assert entry is not None
    assert isinstance(local_workspace.store, LocalStore)
    place = local_workspace.store.local_path(entry.pack.hex())
    assert place is not None
    good = place.read_bytes()
    place.write_bytes(good.replace(b"two", b"owt"))
    with pytest.raises(EnvironmentProblem, match=rf"'cats/2\.jpg' in files/photos is damaged.*{entry.pack.hex()[:16]}"):
        photos().checkout(tmp_path / "out")
    assert tree(tmp_path / "out").keys() <= {p for p in tree(tmp_path / "out") if p.startswith(".bascule-staging")}
    place.unlink()
    with pytest.raises(EnvironmentProblem, match="is not in") as told:
        photos().read("cats/1.jpg")
    assert "add the files again" in told.value.hint
    report = filesets.check(local_workspace)
    assert len(report.problems) == 1
    assert "4 files need it, first a.txt" in report.problems[0]
    # The way back: the same files, added again, bring the blob back.
    (local_workspace.folder / "files" / "known.db").unlink()
    photos().remove()
    photos().add(folder)
    assert filesets.check(local_workspace, deep=True).problems == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", "x" * 101, "ü"])
def test_odd_names_of_sets_are_refused(local_workspace: Workspace, name: str) -> None:
    with pytest.raises(InputError, match="cannot name a file set"):
        FileSet(local_workspace, name)


def test_odd_folders_are_refused(photos: Photos, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        photos().add(tmp_path / "nowhere")
    with pytest.raises(InputError, match="has no files"):
        photos().add(folder)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="is no folder"):
        photos().add(tmp_path / "file")
    with pytest.raises(InputError, match="is not said"):
        photos().add()
    photos().add(fill(folder, FILES))
    assert not photos().add().changed
    with pytest.raises(InputError, match="is no folder"):
        photos().checkout(tmp_path / "file")


@pytest.mark.slow
def test_a_full_disk_leaves_the_target_as_it_was(
    photos: Photos, folder: Path, tmp_path: Path, local_workspace: Workspace
) -> None:
    photos().add(fill(folder, {"big": bytes(300_000), "small": b"s"}))
    code = """
import resource, signal, sys
from bascule.errors import EnvironmentProblem
from bascule.history import Workspace
from bascule.lake.filesets import FileSet
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
workspace = Workspace.open(sys.argv[1])
workspace.history.resolve("main")
resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, resource.RLIM_INFINITY))
try:
    getattr(FileSet(workspace, "photos"), sys.argv[2])(sys.argv[3])
except EnvironmentProblem as error:
    print(error.message)
"""

    def limited(verb: str, where: Path) -> str:
        command = [sys.executable, "-c", code, str(local_workspace.folder), verb, str(where)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    out = tmp_path / "out"
    assert "Cannot write to" in limited("checkout", out)
    assert [path for path in tree(out) if not path.startswith(".bascule-staging")] == []
    photos().checkout(out)
    assert tree(out) == tree(folder)
    fill(folder, {"big": random.Random(1).randbytes(400_000)})
    head = local_workspace.history.resolve("main").id
    assert "Cannot write to" in limited("add", folder)
    assert local_workspace.history.resolve("main").id == head
    assert photos().add(folder).changed
