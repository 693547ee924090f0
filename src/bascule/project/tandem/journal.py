"""What is written down before a merge with git begins, so that whoever comes next can finish or forget it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from bascule.errors import EnvironmentProblem
from bascule.history import Workspace

FILE = "merge-with-git.json"
LOCK = "merge-with-git.lock"


class GitHalf(msgspec.Struct, frozen=True):
    """The git half of a merge.

    Attributes:
        repository: a folder of the repository.
        ref: the branch that moves, as git calls it: refs/heads/main.
        before, after: the commits that it moves from and to.
        source: the commit that is merged.
        into: the branch of Bascule.
        head: where that was when the merge began.
        alone: Bascule has everything already, and only git moves.
    """

    repository: str
    ref: str
    before: str
    after: str
    source: str
    into: str
    head: str
    alone: bool = False

    @property
    def moves(self) -> bool:
        """Whether git's branch moves at all."""
        return self.before != self.after


def write(workspace: Workspace, half: GitHalf) -> None:
    """Write the journal; it is on the disk when this returns."""
    fresh = _file(workspace).with_suffix(".new")
    with open(fresh, "wb") as out:
        out.write(msgspec.json.encode(half))
        out.flush()
        os.fsync(out.fileno())
    os.replace(fresh, _file(workspace))
    _sync(workspace.folder)


def read(workspace: Workspace) -> GitHalf | None:
    """Return what the journal says, or None when no merge is under way.

    Raises:
        EnvironmentProblem: it is not what was written.
    """
    try:
        return msgspec.json.decode(_file(workspace).read_bytes(), type=GitHalf)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise EnvironmentProblem(
            f"{_file(workspace)} cannot be read: {error}",
            hint="Compare git's and Bascule's branches yourself, then remove the file.",
        ) from error


def clear(workspace: Workspace) -> None:
    """Remove the journal: nothing is under way any more."""
    _file(workspace).unlink(missing_ok=True)


def lock_file(workspace: Workspace) -> Path:
    """Return what is held by whoever merges or settles."""
    return workspace.folder / LOCK


def exists(folder: Path) -> bool:
    """Tell whether a workspace's folder holds a journal; costs one look."""
    return (folder / FILE).exists()


def _file(workspace: Workspace) -> Path:
    return workspace.folder / FILE


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
