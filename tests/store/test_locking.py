from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bascule.store.locking import FileLock, Locked

HOLD = """
import sys
from pathlib import Path
from bascule.store.locking import FileLock
with FileLock(Path(sys.argv[1]), note="the other"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with holder(path) as other:
        with pytest.raises(Locked) as error, FileLock(path):
            pass
        assert error.value.note == "the other"
        other.communicate("")
    with FileLock(path):
        pass


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with holder(path) as other:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    with FileLock(path), pytest.raises(Locked), FileLock(path):
        pass


def test_on_a_full_disk_it_is_held_without_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "a.lock"
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with FileLock(path, "me"), pytest.raises(Locked) as error, FileLock(path):
            pass
    assert error.value.note == ""
    with FileLock(path, "me"):
        assert path.read_text() == "me"
    assert path.read_text() == ""
