"""`kill -9` while rows are brought in: the branch has all of a batch or nothing, and the next call goes on."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bascule.history import Workspace
from bascule.lake import Lake, doctor
from bascule.lake.engine import opened
from bascule.lake.quarantined import NAME, SCHEMA
from bascule.lake.records import RecordTable

ROWS = 40_000
# Small segments, so that several are whole when the kill comes.
SCRIPT = """
import sys
from pathlib import Path
from bascule.history import Workspace
from bascule.lake.origins import Options, databases, sqlite
from bascule.project.batches import bring_in
databases.SEGMENT_ROWS, sqlite.ROWS_AT_ONCE = 4_000, 1_000
folder = Path(sys.argv[1])
ws = Workspace.open(folder)
print("ready", flush=True)
bring_in(ws, "events", f"sqlite:///{folder}/events.db", "main", options=Options("select * from events", "n"))
bring_in(ws, "lines", folder / "lines.csv", "main", tolerate=0.01)
print("done", flush=True)
"""


def notes(folder: Path) -> int:
    """Return how many whole segments lie in the spool."""
    return len(list((folder / ".bascule" / "tmp").rglob("segment-*.note")))


@pytest.mark.slow
def test_killed_again_and_again_every_row_comes_once(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    Workspace.create(folder).close()
    with sqlite3.connect(folder / "events.db") as made:
        made.execute("create table events (n integer, word text)")
        made.executemany("insert into events values (?, ?)", ((n, f"w{n}") for n in range(ROWS)))
    made.close()
    lines = [f"{n},w{n}" if n % 1000 else f"x{n},bad" for n in range(1, ROWS)]
    (folder / "lines.csv").write_text("n,word\n" + "\n".join(lines) + "\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    chance, kills, went_on = random.Random(7), 0, 0
    for _ in range(30):
        left = notes(folder)
        command = [sys.executable, "-c", SCRIPT, str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        went_on += left > 0
        if kills < 2:  # in the middle of what can be gone on with
            while process.poll() is None and notes(folder) < left + 3:
                time.sleep(0.002)
        elif kills < 4:
            time.sleep(chance.random() * 0.6)
        if kills < 4:
            process.send_signal(signal.SIGKILL)
        said = process.stdout.read()
        process.wait()
        process.stdout.close()
        if said == "done\n":
            break
        kills += process.returncode == -signal.SIGKILL
    else:
        raise AssertionError("it never came to its end")
    assert kills >= 2
    assert went_on >= 1
    ws = Workspace.open(folder)
    lake = Lake(ws)
    with opened() as connection:
        counts = [
            connection.execute(
                f"select count(*), count(distinct n) from {lake.scan(ws.history.get('main', f'tables/{name}'))}"
            ).fetchall()[0]
            for name in ("events", "lines")
        ]
        bad = connection.execute(f"select count(*), count(distinct line) from {RecordTable(ws, NAME, SCHEMA).scan()}")
        assert counts == [(ROWS, ROWS), (ROWS - ROWS // 1000, ROWS - ROWS // 1000)]
        assert bad.fetchall() == [(ROWS // 1000 - 1, ROWS // 1000 - 1)]
    assert not doctor.check(ws).problems
    ws.close()
