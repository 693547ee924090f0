"""Environments that foreign programs have of their own, made once and kept in pytest's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest


def python_with(config: pytest.Config, name: str, *installs: Sequence[str]) -> Path:
    """Return the Python of the environment `name`, which is made when it is not there; skip when it cannot be.

    Args:
        installs: the words of each `uv pip install`, one after the other; other words are another environment.
    """
    assert config.cache is not None
    folder = config.cache.mkdir("environments") / name
    found, done = folder / "bin" / "python", folder / "done"
    wanted = repr(installs)
    if done.exists() and done.read_text() == wanted:
        return found
    shutil.rmtree(folder, ignore_errors=True)
    pip = ["pip", "install", "--python", str(found)]
    for words in [["venv", "--python", sys.executable, str(folder)], *([*pip, *words] for words in installs)]:
        command = [sys.executable, "-m", "uv", "--quiet", *words]
        made = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
        if made.returncode:
            pytest.skip(f"{name} cannot be installed: {made.stderr[-300:]}")
    done.write_text(wanted)
    return found


def variables(**more: str) -> dict[str, str]:
    """Return the variables of a program there, which does not see this project and keeps the bytecode it makes."""
    left = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    return {**{name: value for name, value in os.environ.items() if name not in left}, **more}
