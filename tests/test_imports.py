"""The import budget: what must stay light stays light, and says so before a user notices."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

from bascule.delivery import planned
from bascule.history import Workspace

SOURCE = Path(__file__).parents[1] / "src" / "bascule"
HEAVY = {
    "numpy",
    "pandas",
    "duckdb",
    "pyarrow",
    "sqlalchemy",
    "sqlglot",
    "starlette",
    "lightgbm",
    "sklearn",
    "scipy",
    "lmdb",
}


def loaded(code: str, folder: Path | None = None) -> set[str]:
    program = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=folder)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "code",
    [
        "import bascule",
        "from bascule.cli.main import run\nrun(['--help'])",
        "from bascule.cli.main import run\nrun(['run', '--help'])",
        "from bascule.cli.main import run\nrun(['--version'])",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    assert loaded(code) & HEAVY == set()


@pytest.mark.parametrize(
    ("module", "spared"),
    [
        ("bascule.training.attempts", {"sqlalchemy", "duckdb", "pyarrow", "sqlglot"}),
        ("bascule.contracts.alone", {"sqlalchemy", "lmdb", "sqlglot"}),
        ("bascule.serving.workers.child", {"sqlalchemy", "duckdb", "sqlglot"}),
    ],
)
def test_a_process_for_one_thing_reads_no_other_room(module: str, spared: set[str]) -> None:
    """One is started for each model's file that is tried, each Python check, each served version."""
    assert loaded(f"import {module}") & spared == set()


def test_who_answers_begins_without_the_lake() -> None:
    code = "import bascule.protocols.openinference.worker\nassert 'bascule.lake' not in sys.modules"
    assert loaded(code) & {"duckdb", "sqlglot"} == set()


def test_what_rooms_offer_is_there_whatever_was_imported_before() -> None:
    """A module of the name that a room offers would take its place."""
    for room in ("contracts", "serving", "training", "delivery", "features"):
        offered = import_module(f"bascule.{room}").__all__
        modules = {found.name for found in iter_modules([str(SOURCE / room)])}
        assert set(offered) & modules == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["status"], ["branch"], ["log"], ["rollback", "delays", "--yes"], ["models"], ["runs"]]
)
def test_simple_commands_wait_for_nothing_that_learns_or_scans(arguments: list[str], tmp_path: Path) -> None:
    """A rollback in an incident must not first import what trains."""
    workspace = Workspace.create(tmp_path)
    plan = planned(None, "delays", "delays")
    serving = plan | {"traffic": [{"version": 1, "weight": 100}], "trail": [{"traffic": [], "revision": 0}]}
    workspace.history.commit("main", {"deployments/delays": serving}, message="Serve")
    workspace.close()
    code = f"from bascule.cli.main import run\nassert run({[*arguments, '--workspace', str(tmp_path)]}) == 0"
    assert loaded(code, tmp_path) & (HEAVY - {"sqlalchemy"}) == set()


def test_help_and_version_do_not_import_the_library_that_parses() -> None:
    code = "from bascule.cli.main import run\nrun(['--help'])\nrun(['--version'])\nrun([])"
    assert loaded(code) & {"cyclopts", "rich", "msgspec"} == set()


def test_every_command_has_help_and_is_listed() -> None:
    from bascule.cli.commands import COMMANDS, overview
    from bascule.cli.main import application

    app, text = application(), overview()
    for name, command in COMMANDS.items():
        assert app[name].help, f"{name} has no help"
        assert f"  {name} " in text
        assert " ".join(command.text.split()[:3]) in text
