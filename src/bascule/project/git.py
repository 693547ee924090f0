"""The git repository that a project lies in, asked by its own commands."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bascule.errors import EnvironmentProblem, InputError, NotFound

# Merging without a working tree came with 2.38.
OLDEST = (2, 38)


class Git:
    """One repository.

    Attributes:
        folder: where its commands run: anywhere within a working tree of it.
    """

    def __init__(self, folder: Path) -> None:
        """Raises InputError when there is no repository, EnvironmentProblem when there is no git or an old one."""
        self.folder = folder
        found = self.tried("rev-parse", "--git-dir")
        if found.returncode != 0:
            raise InputError(
                f"{folder} is in no git repository.", hint="Make one with git init, or leave git out of the command."
            )
        version = self.run("version").split()[2]
        if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
            raise EnvironmentProblem(
                f"git {version} cannot merge without a working tree.",
                hint=f"Install git {OLDEST[0]}.{OLDEST[1]} or newer.",
            )

    def tried(self, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command, and leave it to the caller what its exit code means."""
        try:
            return subprocess.run(
                ["git", "-C", str(folder or self.folder), *arguments],
                capture_output=True,
                text=True,
                check=False,
                encoding="utf-8",
                errors="surrogateescape",
                env=environment(),
            )
        except OSError as error:
            raise EnvironmentProblem(
                f"git cannot be run: {error.strerror or error}.", hint="Install git, and see that it is on the PATH."
            ) from error

    def run(self, *arguments: str, folder: Path | None = None) -> str:
        """Run a command and return what it prints, without the last line's end.

        Raises:
            InputError: it says no; the message is git's own.
        """
        done = self.tried(*arguments, folder=folder)
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split())
            raise InputError(f"git {arguments[0]} says no: {said[:500]}", hint="See git status.")
        return done.stdout.rstrip("\n")

    def commit(self, name: str) -> str | None:
        """Return the id of the commit that a name means, or None."""
        done = self.tried("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        return done.stdout.strip() or None if done.returncode == 0 else None

    def branch(self, name: str, also: Mapping[str, str]) -> str:
        """Return the whole name of a branch.

        Args:
            also: what else a branch of that name may be called, such as main: master.

        Raises:
            NotFound: there is none of that name, here or at the remote called origin.
        """
        names = [f"refs/heads/{name}", *([f"refs/heads/{also[name]}"] if name in also else [])]
        for ref in (*names, f"refs/remotes/origin/{name}"):
            if self.commit(ref) is not None:
                return ref
        known = self.run("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads").splitlines()
        raise NotFound("git branch", name, known)

    def contains(self, commit: str, part: str) -> bool:
        """Tell whether a commit leads to another one."""
        return self.tried("merge-base", "--is-ancestor", part, commit).returncode == 0

    def trees(self, ref: str) -> list[Path]:
        """Return the working trees that stand on a branch."""
        found: list[Path] = []
        place: Path | None = None
        for line in self.run("worktree", "list", "--porcelain").splitlines():
            if line.startswith("worktree "):
                place = Path(line.removeprefix("worktree "))
            elif line == f"branch {ref}" and place is not None and place.is_dir():
                found.append(place)
        return found


def environment() -> dict[str, str]:
    """Return what git runs with: it speaks English, since its words are read, and asks nobody anything."""
    return {**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_EDITOR": ":"}
