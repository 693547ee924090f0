"""Killed additions and checkouts: nothing is half there, and the next one goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.lake.filesets.conftest import fill, tree

from bascule.history import Workspace
from bascule.lake import filesets
from bascule.lake.filesets import FileSet

pytestmark = pytest.mark.slow
Photos = Callable[..., FileSet]

WORK = """
import sys
from bascule.history import Workspace
from bascule.lake.filesets import FileSet, packs, readers
packs.PACK, readers.SMALL, readers.LARGE = 200_000, 50_000, 1_000_000
workspace = Workspace.open(sys.argv[1])
photos = FileSet(workspace, "photos")
photos.workspace.history.resolve("main")
print("begun", flush=True)
getattr(photos, sys.argv[2])(sys.argv[3])
print("done", flush=True)
"""


def run_and_kill(workspace: Workspace, verb: str, folder: Path, seconds: float) -> bool:
    """Begin a command and kill it; tell whether it had ended before."""
    command = [sys.executable, "-c", WORK, str(workspace.folder), verb, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as work:
        assert work.stdout is not None
        assert work.stdout.readline() == "begun\n"
        time.sleep(seconds)
        os.kill(work.pid, signal.SIGKILL)
        return "done" in work.stdout.read()


def fail(*_: object) -> None:
    raise SystemError


@pytest.fixture
def source(folder: Path) -> Path:
    rng = random.Random(7)
    files = {f"d{n % 40}/f{n:05d}": rng.randbytes(rng.randint(0, 2000)) for n in range(4000)}
    files |= {"large": rng.randbytes(5_000_000), "middling": rng.randbytes(600_000)}
    return fill(folder, files)


def test_a_killed_addition_leaves_nothing_and_goes_on(photos: Photos, local_workspace: Workspace, source: Path) -> None:
    time.sleep(0.05)
    rng, ended = random.Random(1), False
    for _ in range(12):
        ended = run_and_kill(local_workspace, "add", source, rng.uniform(0, 0.7)) or ended
        if local_workspace.history.read("main", "files/photos") is None:
            assert not ended
        else:
            assert dict(photos().read_many()) == tree(source)
        assert filesets.check(local_workspace).problems == []
    done = photos().add(source)
    assert dict(photos().read_many()) == tree(source)
    assert done.files == 4002
    assert filesets.check(local_workspace, deep=True).problems == []


def test_what_a_killed_addition_stored_is_not_read_again(
    photos: Photos, local_workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bascule.lake.filesets import packs

    monkeypatch.setattr(packs, "PACK", 20_000)
    fill(folder, {f"f{n:04d}": b"%06d" % n * 30 for n in range(2000)})
    time.sleep(0.05)
    with monkeypatch.context() as patched:
        patched.setattr(FileSet, "_commit", fail)
        with pytest.raises(SystemError):
            photos().add(folder)
    done = photos().add(folder)
    assert done.read == 0
    assert dict(photos().read_many()) == tree(folder)


def test_a_killed_checkout_leaves_no_half_of_a_file(
    photos: Photos, local_workspace: Workspace, source: Path, tmp_path: Path
) -> None:
    photos().add(source)
    wanted, out, rng = tree(source), tmp_path / "out", random.Random(2)
    for number in range(12):
        run_and_kill(local_workspace, "checkout", out, rng.uniform(0, 0.6))
        for path, data in tree(out).items():
            assert path.startswith(".bascule-staging-") or wanted[path] == data, path
        if number % 4 == 3:  # and over one that has begun to be changed
            photos().checkout(out)
            assert tree(out) == wanted
            for path in rng.sample(sorted(wanted), 500):
                (out / path).unlink(missing_ok=True)
    photos().checkout(out)
    assert tree(out) == wanted
    assert photos().status(out).diff.empty


def test_a_checkout_goes_on_with_what_was_written(photos: Photos, source: Path, tmp_path: Path) -> None:
    from bascule.lake.filesets import checkout

    photos().add(source)
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(checkout, "_publish", fail)
        with pytest.raises(SystemError):
            photos().checkout(out)
    (staging,) = out.glob(".bascule-staging-*")
    inodes = {path.name: path.stat().st_ino for path in staging.rglob("f*") if path.is_file()}
    half = staging / "d7" / "f00007"
    half.write_bytes(b"half")
    photos().checkout(out)
    assert tree(out) == tree(source)
    kept = {path.name: path.stat().st_ino for path in out.rglob("f*") if path.is_file()}
    assert sum(kept[name] == inode for name, inode in inodes.items()) >= len(inodes) - 1
