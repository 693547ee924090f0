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
    open("unfinished", "w").write(str(child.pid))
    os.replace("unfinished", "child")
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


def stopped(connection: Connection, folder: Path, name: str, seconds: int) -> None:
    found = last(
        connection, ROWS, ours("python", function=f"own:{name}"), functions=lambda name: apart(name, folder, seconds)
    )
    assert (found.status, found.blocks) == ("error", True)
    assert found.observed == f"stopped: own:{name} did not answer within {seconds} s"
    assert connection.sql("SELECT 1").fetchall() == [(1,)]


@pytest.mark.slow
def test_a_query_ends_when_its_time_is_over(connection: Connection, folder: Path) -> None:
    stopped(connection, folder, "asks", 2)


@pytest.mark.slow
def test_what_it_started_ends_with_it(connection: Connection, folder: Path) -> None:
    for seconds in (2, 8, 32, 128):  # a busy machine may take long until it starts anything
        stopped(connection, folder, "sleeps", seconds)
        if (folder / "child").exists():
            break
    child = Path(f"/proc/{(folder / 'child').read_text()}/stat")
    assert not child.exists() or child.read_text().split()[2] == "Z"
