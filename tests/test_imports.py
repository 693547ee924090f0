"""The import budget: what must stay light stays light, and says so before a user notices."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"numpy", "pandas", "duckdb", "pyarrow", "sqlalchemy", "starlette", "lightgbm", "sklearn", "scipy", "lmdb"}


def loaded(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
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


def test_every_command_has_help_and_its_options_too() -> None:
    from bascule.cli.commands import COMMANDS
    from bascule.cli.main import application

    app = application()
    for name in COMMANDS:
        command = app[name]
        assert command.help, f"{name} has no help"
