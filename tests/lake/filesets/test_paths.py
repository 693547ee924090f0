"""Hostile paths are refused where a folder is added, and where a manifest says them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.lake.filesets.conftest import fill, tree

from bascule.errors import BasculeError, InputError
from bascule.history import Workspace
from bascule.lake.filesets import Entry, FileSet, manifest_of
from bascule.lake.filesets.manifest import ManifestWriter
from bascule.store import digest_of

Photos = Callable[..., FileSet]
NFD = "cafe\u0301"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (NFD, "normal Unicode"),
        ("a\\b", "has '\\\\\\\\' in it"),
        ("line\nbreak", "in it"),
        (f"{'x' * 240}/" * 18 + "y", "longer than 4096"),
    ],
)
def test_names_that_are_refused_when_added(photos: Photos, folder: Path, path: str, why: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        for part in path.split("/")[:-1]:  # longer than one path can say
            os.mkdir(part, dir_fd=handle)
            handle, before = os.open(part, os.O_RDONLY, dir_fd=handle), handle
            os.close(before)
        os.close(os.open(path.split("/")[-1], os.O_CREAT | os.O_WRONLY, dir_fd=handle))
    finally:
        os.close(handle)
    with pytest.raises(InputError, match=why) as told:
        photos().add(folder)
    assert ".basculeignore" in told.value.hint


def test_what_is_no_file_is_refused(photos: Photos, folder: Path) -> None:
    fill(folder, {"a": b""})
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError, match=r"'pipe' in .* is refused: it is a pipe"):
        photos().add(folder)
    (folder / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(folder)
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
        with pytest.raises(InputError, match="it is a socket"):
            photos().add(folder)
    fill(folder, {".basculeignore": b"socket\n"})
    assert photos().add(folder).files == 2


def test_names_that_differ_only_in_case_are_refused(photos: Photos, folder: Path) -> None:
    fill(folder, {"Cats/1": b"", "cats/2": b""})
    with pytest.raises(InputError, match="only upper and lower case"):
        photos().add(folder)


def test_a_name_that_is_not_text_is_refused(photos: Photos, folder: Path) -> None:
    with open(os.fsencode(folder) + b"/\xff.jpg", "wb"):
        pass
    with pytest.raises(InputError, match="not UTF-8"):
        photos().add(folder)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "sub/../../x", "../x", "a//b"])
def test_links_that_may_lead_out_are_refused(photos: Photos, folder: Path, target: str) -> None:
    fill(folder, {"a": b"", "sub/b": b""})
    (folder / "link").symlink_to(target)
    with pytest.raises(InputError, match="a link to"):
        photos().add(folder)


def hostile(
    workspace: Workspace, *paths: str, mode: int = 0, content: bytes = b"evil", digest: bytes | None = None
) -> None:
    """Commit a manifest with such paths, as somebody could who writes to the store."""
    pack = bytes.fromhex(workspace.store.put(content))
    size, digest = len(content), bytes.fromhex(digest_of(content))
    entries = [Entry(path, mode, size, digest, 0, pack, 0, size) for path in sorted(paths)]
    value = ManifestWriter(manifest_of(workspace.store, None)).write((one.path, one) for one in entries)
    workspace.history.commit("main", {"files/photos": value}, message="hostile")


@pytest.mark.parametrize(
    "paths",
    [
        ("../evil",),
        ("/tmp/evil-bascule",),
        ("a/../../evil",),
        ("a//b",),
        ("./a",),
        ("",),
        ("a\0b",),
        (".git/hooks/post-checkout",),
        ("sub/.GIT/config",),
        (".bascule/workspace.toml",),
        ("a\\..\\..\\evil",),
        ("x" * 300,),
        ("x/" * 5000 + "y",),
        (NFD,),
        ("A", "a"),
        ("Dir/1", "dir/2"),
        ("a", "a/b"),
        (".bascule-staging-x/y",),
    ],
    ids=lambda paths: "+".join(paths)[:20],
)
def test_a_hostile_manifest_writes_nothing(
    local_workspace: Workspace, photos: Photos, tmp_path: Path, paths: tuple[str, ...]
) -> None:
    hostile(local_workspace, "good", *paths)
    before = tree(tmp_path)
    with pytest.raises(BasculeError, match="refused") as told:
        photos().checkout(tmp_path / "out")
    assert len(told.value.message) < 500
    assert tree(tmp_path).keys() - before.keys() <= {p for p in tree(tmp_path) if p.startswith("project/")}
    assert not Path("/tmp/evil-bascule").exists()


@pytest.mark.parametrize("target", [b"/etc", b"../..", b"d/../../x"])
def test_a_hostile_link_is_not_made(local_workspace: Workspace, photos: Photos, tmp_path: Path, target: bytes) -> None:
    hostile(local_workspace, "link", mode=2, content=target)
    with pytest.raises(InputError, match="lead out of the set"):
        photos().checkout(tmp_path / "out")
    assert not (tmp_path / "out" / "link").is_symlink()


def test_a_manifest_out_of_order_is_refused(local_workspace: Workspace, photos: Photos, tmp_path: Path) -> None:
    entry = Entry("b", 0, 0, bytes.fromhex(digest_of(b"")))
    again = Entry("b", 0, 0, bytes.fromhex(digest_of(b"")))
    value = ManifestWriter(manifest_of(local_workspace.store, None)).write(iter([("b", entry), ("b", again)]))
    local_workspace.history.commit("main", {"files/photos": value}, message="hostile")
    with pytest.raises(BasculeError, match="order of the manifest"):
        photos().checkout(tmp_path / "out")
