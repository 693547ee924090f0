"""The code of a run in a folder of its own: git's commit as a worktree, with the kept texts laid over it.

The kept texts are all text of the project as it was when the run began, so the worktree brings what is not text (and
git itself, for scripts that ask it), and the texts bring what was not committed. Either alone is enough where the other
is not needed: texts without a repository, or a commit whose tree had no changes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bascule.errors import EnvironmentProblem, InputError, NotFound
from bascule.store import BlobStore
from bascule.tracking.code import LARGEST, SUFFIXES


@contextmanager
def restored(
    row: dict[str, Any], store: BlobStore, project: Path, into: Path, keep: bool, notes: list[str]
) -> Iterator[Path]:
    """Write the code of a run below a folder; yield the project's own folder in it. Gone afterwards, unless kept.

    Args:
        row: the run's.
        project: the project's folder as it is now, to find its repository.

    Raises:
        InputError: the code is gone.
    """
    texts = _kept(row, store)
    commit = row["code_commit"]
    prefix = _git(project, "rev-parse", "--show-prefix")
    there = commit and prefix is not None and _git(project, "cat-file", "-e", f"{commit}^{{commit}}") is not None
    if texts is None and not (there and row["code_dirty"] is False):
        raise _gone(row, bool(there))
    if texts is None:
        notes.append(f"The kept texts of the code are gone; they are taken from git's commit {commit[:10]}.")
    if commit and not there:
        notes.append(f"git's commit {commit[:10]} is not in {project}: only the project's kept texts are restored.")
    try:
        folder = into
        if there:
            _worktree(project, into, commit)
            folder = into / (prefix or "")
        folder.mkdir(parents=True, exist_ok=True)
        if texts is not None:
            _lay_over(texts, store, folder, row)
        yield folder
    finally:
        if not keep:
            remove_worktree(project, into)


def remove_worktree(project: Path, folder: Path) -> None:
    """Remove a folder, which may be a worktree of the project's repository."""
    _git(project, "worktree", "remove", "--force", str(folder))
    shutil.rmtree(folder, ignore_errors=True)
    _git(project, "worktree", "prune")


def inside(folder: Path, name: str) -> Path:
    """Return a path below a folder.

    Raises:
        InputError: the name leads out of it.
    """
    place = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{name!r} leads out of the project's folder.", hint="bascule doctor looks for damage.")
    return place


def _kept(row: dict[str, Any], store: BlobStore) -> dict[str, str] | None:
    if not row["code_snapshot"]:
        return None
    try:
        found: dict[str, str] = msgspec.json.decode(store.get(row["code_snapshot"]))
    except NotFound:
        return None
    return found


def _gone(row: dict[str, Any], there: bool) -> InputError:
    if not row["code_snapshot"]:
        what = "no code was recorded of it"
    elif there:
        what = f"the tree {row['code_snapshot'][:16]} that was kept of it is gone, and git's commit is not all: "
        what += "there were changes beside it"
    else:
        what = f"the tree {row['code_snapshot'][:16]} that was kept of it is gone from the store"
        what += f", and git's commit {row['code_commit'][:10]} is not here" if row["code_commit"] else ""
    hint = "Bring the commit with `git fetch`, or" if row["code_commit"] and not there else "To find what else is gone:"
    return InputError(f"The code of run {row['id']} cannot be restored: {what}.", hint=f"{hint} bascule doctor --deep")


def _worktree(project: Path, into: Path, commit: str) -> None:
    # The hooks of the repository are for its users' own checkouts.
    done = subprocess.run(
        [
            *("git", "-C", str(project), "-c", f"core.hooksPath={os.devnull}"),
            *("worktree", "add", "--quiet", "--detach", "--force", str(into), commit),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise EnvironmentProblem(
            f"git cannot check out {commit[:10]} into {into}: {done.stderr.strip()}",
            hint="Check the repository with: git fsck",
        )


def _lay_over(texts: dict[str, str], store: BlobStore, folder: Path, row: dict[str, Any]) -> None:
    """Make the texts below a folder those that were kept: write what differs, remove what was not there."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_text = path.suffix in SUFFIXES and path.is_file() and path.stat().st_size <= LARGEST
        if is_text and name not in texts and ".git" not in path.relative_to(folder).parts:
            path.unlink()
    for name, digest in texts.items():
        place = inside(folder, name)
        try:
            data = store.get(digest)
        except NotFound:
            raise InputError(
                f"The code of run {row['id']} cannot be restored: {name} ({digest[:16]}) is gone from the store.",
                hint="To find what else is gone: bascule doctor --deep",
            ) from None
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        if data.startswith(b"#!"):
            place.chmod(0o755)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
