"""Python checks in a process of their own: what they are given and say comes through, and their time ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from bascule.contracts.apart import apart
from tests.contracts.test_distribution import Connection, last, ours

OWN = """
import os, subprocess, sys, time
print("printed while it is imported")

def no_bees(rows):
    print(sys.stdin.read(), "printed")
    assert (rows.table, list(rows.columns)) == ("t", ["x"]), rows
    return rows.sql("SELECT * FROM rows WHERE x = 'b'")

def sentence(rows):
    return f"{rows.arrow('x').num_rows} rows"

def wrong_query(rows):
    return rows.sql("nonsense")

def ends(rows):
    os._exit(7)

def sleeps(rows):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    open("child", "w").write(str(child.pid))
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass

def asks(rows):
    return rows.sql("SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE hash(a.range + b.range) = 1")
"""
ROWS = "(SELECT 'a' AS x UNION ALL SELECT 'b')"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "status", "observed"),
    [
        ("no_bees", "failed", "1 rows"),
        ("sentence", "failed", "2 rows"),
        ("wrong_query", "error", "syntax error"),
        ("ends", "error", "own:ends ended its process with code 7 before it answered"),
        ("gone", "error", "not run: There is no function in own.py"),
    ],
)
def test_what_is_said_comes_through(
    connection: Connection, folder: Path, name: str, status: str, observed: str
) -> None:
    found = last(
        connection, ROWS, ours("python", function=f"own:{name}"), functions=lambda name: apart(name, folder, 60)
    )
    assert found.status == status
    assert observed in found.observed
    assert found.sample == (({"x": "b"},) if name == "no_bees" else ())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sleeps", "asks"])
def test_time_is_over(connection: Connection, folder: Path, name: str) -> None:
    found = last(
        connection, ROWS, ours("python", function=f"own:{name}"), functions=lambda name: apart(name, folder, 3)
    )
    assert (found.status, found.blocks) == ("error", True)
    assert found.observed == f"stopped: own:{name} did not answer within 3 s"
    assert connection.sql("SELECT 1").fetchall() == [(1,)]
    if name == "sleeps":
        child = Path(f"/proc/{(folder / 'child').read_text()}/stat")
        assert not child.exists() or child.read_text().split()[2] == "Z"
