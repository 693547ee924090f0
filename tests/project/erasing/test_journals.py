"""A journal that nobody brought in, as its tracker was killed, holds a subject too: it is brought in and cleaned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

import bascule as api
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.project.forgetting import forget_subject
from tests.project.erasing.world import OTHERS, WHO, traces

SCRIPT = f"import time; print({WHO!r}, {OTHERS[0]!r}, flush=True); time.sleep(60)"


@pytest.mark.slow
def test_a_journal_is_brought_in_and_cleaned(tmp_path: Path) -> None:
    (tmp_path / "bascule.toml").write_text('[project]\nname = "mine"\n')
    workspace = Workspace.create(tmp_path)
    Lake(workspace).append("people", pa.table({"email": [WHO, OTHERS[0]]}))
    workspace.close()
    command = [sys.executable, "-m", "bascule", "track", sys.executable, "-c", SCRIPT]
    tracked = subprocess.Popen(
        command, cwd=tmp_path, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    journals = tmp_path / ".bascule" / "journals"
    end = time.monotonic() + 30
    while not any(WHO.encode() in one.read_bytes() for one in journals.rglob("output.0")) and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(tracked.pid, signal.SIGKILL)
    tracked.wait()
    assert traces(journals, WHO)

    project = api.open(tmp_path)
    told = forget_subject(project.workspace, "people", {"email": "nobody@example.org"})
    assert told.kept == ()  # the journal is another's
    left = forget_subject(project.workspace, "people", {"email": WHO}, dry_run=True)
    assert [one.place for one in left.kept] == ["journals of scripts"]
    done = project.forget("people", {"email": WHO})
    assert done.kept == ()
    assert "outputs and code" in {one.place for one in done.report.elsewhere}
    assert [run["status"] for run in project.runs()] == ["failed"]
    project.close()
    assert traces(tmp_path / ".bascule", WHO) == []
    assert traces(tmp_path / ".bascule", OTHERS[0])
