"""What nobody expected: a bug of ours, a machine that gives no more, a Ctrl-C. Each is a sentence and an exit code."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bascule.cli import history, interruption, main
from bascule.cli.commands import SERVERS
from bascule.cli.interruption import stopping_queries
from bascule.cli.options import COMMON, Common
from bascule.history import Workspace

Bascule = Callable[..., Any]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make `bascule status` raise."""

    def call(error: BaseException) -> None:
        def fail(*, common: Common = COMMON) -> None:
            raise error

        monkeypatch.setattr(history, "status", fail)

    return call


def test_a_bug_is_one_sentence_and_a_file(folder: Path, bascule: Bascule, broken: Callable[..., None]) -> None:
    Workspace.create(folder).close()
    broken(KeyError("rows"))
    said = bascule("status")
    assert said.code == 70
    assert said.out == ""
    assert said.err.startswith("bascule: This is a bug in Bascule: KeyError: 'rows'; the full traceback is in ")
    assert "BASCULE_DEBUG=1" in said.err
    (report,) = (folder / ".bascule" / "tmp").glob("bascule-bug-*.txt")
    assert str(report) in said.err
    text = report.read_text()
    assert "bascule status" in text
    assert "Traceback (most recent call last)" in text
    assert "KeyError: 'rows'" in text
    assert report.stat().st_mode & 0o077 == 0


def test_with_json_a_bug_is_one_document(folder: Path, bascule: Bascule, broken: Callable[..., None]) -> None:
    Workspace.create(folder).close()
    broken(ZeroDivisionError("division by zero"))
    said = bascule("status", "--json")
    document = said.json()
    assert (said.code, document["kind"]) == (70, "Bug")
    assert Path(document["report"]).is_file()


@pytest.mark.parametrize("arguments", [(), ("--workspace", "elsewhere"), ("--workspace=elsewhere",)])
def test_outside_a_workspace_the_system_keeps_the_traceback(
    folder: Path,
    bascule: Bascule,
    broken: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    (folder / "system").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder / "system"))
    broken(RuntimeError("no"))
    assert bascule("status", *arguments).code == 70
    place = folder / "elsewhere" / ".bascule" / "tmp" if arguments else folder / "system"
    assert len(list(place.glob("bascule-bug-*.txt"))) == 1


def test_a_traceback_is_shown_when_asked_for(
    folder: Path,
    capfd: pytest.CaptureFixture[str],
    broken: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bascule.cli.main import run

    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("BASCULE_DEBUG", "1")
    broken(KeyError("rows"))
    assert run(["status"]) == 70
    said = capfd.readouterr()
    assert "Traceback (most recent call last)" in said.err
    assert "This is a bug in Bascule: KeyError: 'rows'" in said.err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.db"), 3, ("Cannot write x.db: the disk is full", "Free")),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), 3, ("Cannot write: the disk is full",)),
        (PermissionError(errno.EACCES, "Permission denied", "x.db"), 3, ("Cannot use x.db: Permission denied",)),
        (OSError(errno.EMFILE, "Too many open files"), 3, ("The machine refuses: Too many open files",)),
        (MemoryError(), 3, ("no memory left",)),
        (KeyboardInterrupt(), 130, ("Interrupted.", "the same command continues")),
        (RuntimeError("Query interrupted"), 130, ("Interrupted.",)),
    ],
)
def test_the_machine_and_the_user_are_no_bugs(
    folder: Path, bascule: Bascule, broken: Callable[..., None], error: BaseException, code: int, words: tuple[str, ...]
) -> None:
    Workspace.create(folder).close()
    broken(error)
    said = bascule("status")
    assert said.code == code
    for word in words:
        assert word in said.err
    assert not list((folder / ".bascule").rglob("bascule-bug-*"))
    assert bascule("status", "--json").json()["error"]


def test_an_argument_that_is_no_utf_8_is_the_user_s(folder: Path, bascule: Bascule) -> None:
    Workspace.create(folder).close()
    for words in (("runs", "--text", "\udcff"), ("run", "show", "\udcff"), ("runs", "--filter", "tags.a = '\udcff'")):
        said = bascule(*words)
        assert said.code == 2, words
        assert "Write it in UTF-8" in said.err
    assert not list((folder / ".bascule").rglob("bascule-bug-*"))


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_is_stopped_before_it_is_up_says_so(
    name: str, folder: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    Workspace.create(folder).close()

    def fail(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Workspace, "open", fail)
    said = bascule(name, "--json")
    assert said.code == 130
    assert said.err == "bascule: Interrupted before the server was up; nothing is left running.\n"
    assert said.json()["kind"] == "Interrupted"


def test_a_ctrl_c_while_the_lake_is_imported_ends_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "bascule.lake.engine", ModuleType("bascule.lake.engine"))
    failed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    with pytest.raises(KeyboardInterrupt), stopping_queries():
        signal.raise_signal(signal.SIGINT)
    assert failed == []


def test_a_query_that_does_not_stop_is_told_again_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[threading.Thread] = []
    engine = ModuleType("bascule.lake.engine")
    engine.interrupt = lambda: told.append(threading.current_thread())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bascule.lake.engine", engine)
    monkeypatch.setattr(interruption, "AGAIN_S", 0.01)
    stop = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    stop.start()
    with pytest.raises(KeyboardInterrupt), stopping_queries():
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000)  # as a query: long, in C, without a look at signals
    last = told.pop()
    assert last is threading.main_thread()  # before Python raises it: somebody in C may have asked for it
    assert len(told) > 5
    assert threading.main_thread() not in told


def test_garbage_is_looked_for_late_once_and_then_as_always() -> None:
    usual, watching = gc.get_threshold(), list(gc.callbacks)
    main._collect_late()
    assert gc.get_threshold() == (main.FIRST_LOOK, *usual[1:])
    gc.collect()
    assert (gc.get_threshold(), gc.callbacks) == (usual, watching)


@pytest.mark.slow
def test_streams_that_are_closed_full_or_left_are_no_bugs(folder: Path) -> None:
    Workspace.create(folder).close()
    bascule = f"{sys.executable} -m bascule"

    def shell(line: str) -> tuple[int, str]:
        done = subprocess.run(["sh", "-c", line], cwd=folder, stderr=subprocess.PIPE, text=True)
        return done.returncode, done.stderr

    assert shell(f"{bascule} branch one >&- 2>&- <&-") == (0, "")
    workspace = Workspace.open(folder)
    assert "one" in [ref.name for ref in workspace.history.branches()]
    workspace.close()
    assert shell(f"{bascule} --help | true") == (0, "")
    code, said = shell(f"{bascule} --help > /dev/full")
    assert code == 3
    assert "the disk is full" in said
