"""A git repository for a new project, where it has none: the branches of the data follow git's."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

MAIN = "main"


def begin_repository(folder: Path, files: Iterable[Path]) -> str:
    """Make a project's folder a git repository and commit its files, unless it lies in a repository or git is missing.

    Args:
        files: what to commit, relative to the folder.

    Returns:
        What was done, as a sentence; empty when nothing was.
    """
    if _git(folder, "rev-parse", "--is-inside-work-tree") is not None:
        return ""
    if _git(folder, "init", "--quiet", f"--initial-branch={MAIN}") is None:
        return ""
    made = f"a git repository was made here, on branch {MAIN}"
    added = _git(folder, "add", "--", *(path.as_posix() for path in files))
    # Without a name and an address git commits nothing; the files wait for whoever has one.
    if added is None or _git(folder, "-c", "commit.gpgsign=false", "commit", "--quiet", "-m", "Begin") is None:
        return f"{made}, with nothing committed yet"
    return f"{made}, and the files were committed"


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, or None when there is no git or it says no."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
