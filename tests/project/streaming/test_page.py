"""The example on the page runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.cli.conftest import bascule, folder, start

from bascule.history import Workspace

__all__ = ["bascule", "folder", "start"]
PAGE = Path(__file__).parents[3] / "docs" / "streams.md"


@pytest.mark.slow
def test_the_example_runs(folder: Path) -> None:
    blocks = dict(re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
    (folder / "bascule.toml").write_text(blocks["toml"])
    (folder / "features").mkdir()
    (folder / "features" / "spending.sql").write_text(blocks["sql"])
    Workspace.create(folder).close()
    exec(compile(blocks["python"], str(PAGE), "exec"), {})
