"""Where a command works: the project's folder, its workspace, and the branch that is current."""

from __future__ import annotations

import os
import subprocess
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bascule.errors import InputError, NotFound, suggestion
from bascule.history import Workspace
from bascule.history.workspace import FOLDER as WORKSPACE
from bascule.project.tandem.journal import exists as merge_pending
from bascule.tracking.code import git_branch, is_detached

if TYPE_CHECKING:
    from bascule.project.file import ProjectFile
    from bascule.project.tandem import Settled

PROJECT_FILE = "bascule.toml"
MAIN = "main"
# What git calls its first branch where nobody chose: here it is main.
GIT_DEFAULTS = {"master": MAIN, "main": MAIN}
HEAD = "HEAD"
BEGIN = "bascule init DATA --label WHAT_IS_LEARNED"


class NoProject(NotFound):
    """There is no project where one was looked for; the message says where that was."""

    def __init__(self, start: Path, message: str, *, hint: str) -> None:
        super().__init__("project", str(start), hint=hint)
        self.message = message
        self.args = (message,)


class Place:
    """The project, the workspace and the branch that a command works on. Each is found when it is first asked for."""

    def __init__(self, start: Path | None = None, workspace: str | None = None, branch: str | None = None) -> None:
        self.start = (start or Path.cwd()).resolve()
        self._workspace = workspace or os.environ.get("BASCULE_WORKSPACE") or None
        self._branch = branch or os.environ.get("BASCULE_BRANCH") or None
        #: What became of a merge with git that was killed, when there was one.
        self.settled: Settled | None = None

    @cached_property
    def folder(self) -> Path:
        """The project's folder: the nearest one upwards with a bascule.toml or a workspace."""
        if not self.start.exists():
            raise _no_folder(self.start)
        for folder in (self.start, *self.start.parents):
            if (folder / PROJECT_FILE).is_file() or (folder / WORKSPACE).is_dir():
                return folder
        if self._workspace and "://" not in self._workspace:  # that is said where there is none: it stands alone
            found = Workspace.open(self._workspace).folder
            return found.parent if found.name == WORKSPACE else found
        raise NoProject(
            self.start,
            f"There is no project in {self.start}: neither it nor a folder above it holds {PROJECT_FILE} or .bascule/.",
            hint=f"Name the project's folder with --project FOLDER, or begin one here with: {BEGIN}",
        )

    @property
    def has_file(self) -> bool:
        """Whether there is a project file: a workspace can stand alone."""
        return (self.folder / PROJECT_FILE).is_file()

    @cached_property
    def file(self) -> ProjectFile:
        """The project file, read and checked."""
        from bascule.project.file import load_project

        return load_project(self.folder)

    @cached_property
    def workspace(self) -> Workspace:
        """The workspace: BASCULE_WORKSPACE, else `[workspace]` of the project file, else `.bascule` beside it."""
        found = self._opened()
        if merge_pending(found.folder):  # one that was killed is finished or forgotten by whoever comes next
            from bascule.project.tandem import settle

            self.settled = settle(found)
        return found

    def _opened(self) -> Workspace:
        if self._workspace:
            return Workspace.open(self._workspace)
        if self.has_file:
            url = self.file.workspace.url
            return Workspace.open(url if "://" in url else self.folder / url)
        return Workspace.open(self.folder)

    @property
    def branch(self) -> str:
        """The current branch; made at its parent's head when it is git's and not known here yet.

        An explicit choice goes first (`--branch`, BASCULE_BRANCH), then the branch that `bascule switch` wrote down,
        then git's.

        Raises:
            InputError: git is followed and stands on no branch; `main` is never written to by a guess.
        """
        name = self._branch or self._written() or self._git() or MAIN
        known = {ref.name for ref in self.workspace.history.branches()}
        if name not in known:
            if self._branch:
                raise NotFound("branch", name, known)
            self.workspace.history.create_branch(name, MAIN)
        return name

    def switch(self, name: str, *, create: bool = False) -> None:
        """Make a branch the current one: by git where it is followed, else by writing it down.

        Args:
            create: make it first, at the current one's head, if there is none of that name.

        Raises:
            NotFound: there is no such branch.
            InputError: git does not switch to it.
        """
        history = self.workspace.history
        if create and name not in {ref.name for ref in history.branches()}:
            history.create_branch(name, self.branch)
        history.resolve(name)
        if self.follows_git:
            self._git_switch(name, create)
        else:
            self.write_down(name)

    def write_down(self, name: str) -> None:
        """Make a branch current by a note in the workspace, which goes before git's."""
        (self.workspace.folder / HEAD).write_text(name + "\n", encoding="utf-8")

    def target(self, source: str) -> str:
        """Return the branch that something is merged into when nobody says: the current one, or main from itself."""
        return self.branch if self.branch != source else MAIN

    def close(self) -> None:
        """Give back what the workspace has open; it is opened anew when it is asked for again."""
        if "workspace" in self.__dict__:
            self.workspace.close()
            del self.workspace

    @property
    def told(self) -> str:
        """The project's folder where it is not the one that was asked for, as an addition to a sentence; else empty."""
        return "" if self.folder == self.start else f", in the project {self.folder}"

    @property
    def has_chosen_branch(self) -> bool:
        """Whether a branch was named for this command, by --branch or BASCULE_BRANCH."""
        return self._branch is not None

    @property
    def follows_git(self) -> bool:
        """Whether the current branch is git's."""
        return not self._branch and not self._written() and git_branch(self.folder) is not None

    def _git_switch(self, name: str, create: bool) -> None:
        flags = ["--create"] if create else []
        done = subprocess.run(
            ["git", "-C", str(self.folder), "switch", "--quiet", *flags, name],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise InputError(
                f"git does not switch to {name!r}: {done.stderr.strip()}",
                hint=f"Make git's branch too with: bascule switch --create {name}",
            )

    def _git(self) -> str | None:
        found = git_branch(self.folder)
        if found is None and is_detached(self.folder):
            raise InputError(
                f"git stands on no branch in {self.folder} (a detached HEAD), so no branch is meant.",
                hint="Name one: --branch NAME, BASCULE_BRANCH=NAME, or once for all: bascule switch NAME.",
            )
        return GIT_DEFAULTS.get(found, found) if found else None

    def _written(self) -> str | None:
        try:
            return (self.workspace.folder / HEAD).read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(
                f"{self.workspace.folder / HEAD} cannot be read: {error}",
                hint="Choose a branch anew with: bascule switch main",
            ) from error


def _no_folder(start: Path) -> NoProject:
    """The error for a folder that is not there, with the nearest one beside it, or how to begin a project there."""
    beside = [path.name for path in start.parent.iterdir() if path.is_dir()] if start.parent.is_dir() else []
    near = suggestion(start.name, sorted(beside), "folder")
    hint = near if near.startswith("Did you mean") else f"Begin a project there with: {BEGIN} --into {start}"
    return NoProject(start, f"There is no folder {start}, and so no project in it.", hint=hint)
