"""A process is known by more than its number, which the system gives to others later."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bascule.catalog import has_ended, this_process
from bascule.history import Workspace

NAME = "import bascule.catalog; print(bascule.catalog.this_process(), flush=True); input()"
HOST = socket.gethostname()


@pytest.fixture
def other() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_process_has_ended_when_it_has(other: subprocess.Popen[str]) -> None:
    assert other.stdout is not None
    name = other.stdout.readline().strip()
    assert name.split(":")[:2] == [HOST, str(other.pid)]
    assert not has_ended(name)
    other.kill()
    other.wait()
    assert has_ended(name)
    assert not has_ended(this_process())


@pytest.mark.slow
def test_a_command_leaves_nothing_beside_the_catalog(tmp_path: Path) -> None:
    Workspace.create(tmp_path).close()
    for command in (["runs"], ["track", sys.executable, "-c", "1"]):
        subprocess.run([sys.executable, "-m", "bascule", *command], cwd=tmp_path, check=True, capture_output=True)
        assert [one.name for one in (tmp_path / ".bascule").glob("catalog.db*")] == ["catalog.db"]


def test_of_another_machine_nobody_knows() -> None:
    assert not has_ended("elsewhere:1:2-3")
    assert not has_ended("")


def test_a_name_without_a_beginning_is_judged_by_its_number(other: subprocess.Popen[str]) -> None:
    assert not has_ended(f"{HOST}:{other.pid}")
    other.kill()
    other.wait()
    assert has_ended(f"{HOST}:{other.pid}")
    assert has_ended(f"{HOST}:0")
    assert has_ended(f"{HOST}:None")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not say when a process began")
def test_a_later_process_of_the_same_number_is_another_one() -> None:
    host, number, began = this_process().split(":")
    ticks, boot = began.split("-")
    assert (host, number) == (HOST, str(os.getpid()))
    assert has_ended(f"{host}:{number}:{int(ticks) - 1}-{boot}")
    assert has_ended(f"{host}:{number}:{ticks}-00000000")
