"""Making git's merge commit, and moving a branch to it with the files of whoever stands on it."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from bascule.errors import Conflict, InputError
from bascule.project.git import Git, environment

# What a branch leads to is on the disk before the branch is.
SYNCED = ("-c", "core.fsync=committed")


def merge_commit(git: Git, into: str, source: str, names: tuple[str, str], message: str, *, squash: bool) -> str:
    """Return the commit that merges one commit into another; no branch leads to it.

    Args:
        into, source: commits.
        names: what the branches are called, source first, for messages.

    Returns:
        `into` itself when it has everything already.

    Raises:
        Conflict: names the files that both sides changed. Nothing was changed.
    """
    if git.contains(into, source):
        return into
    done = git.tried(*SYNCED, "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", into, source)
    parts = [part for part in done.stdout.split("\0") if part]
    if done.returncode == 1:
        raise _clash(sorted(set(parts[1:])), names)
    if done.returncode != 0:
        raise InputError(f"git cannot merge {names[0]!r}: {' '.join(done.stderr.split())[:500]}")
    parents = ["-p", into] if squash else ["-p", into, "-p", source]
    signed = ["-S"] if git.tried("config", "--bool", "commit.gpgSign").stdout.strip() == "true" else []
    made = git.tried(*SYNCED, "commit-tree", *signed, *parents, "-m", message, parts[0].strip())
    if made.returncode != 0:
        raise InputError(
            f"git makes no commit: {' '.join(made.stderr.split())[:300]}",
            hint="Tell git who you are: git config user.name NAME; git config user.email ADDRESS",
        )
    return made.stdout.strip()


def _clash(files: list[str], names: tuple[str, str]) -> Conflict:
    source, into = names
    shown = ", ".join(files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
    return Conflict(
        f"In git, {source!r} and {into!r} both changed {shown}. Neither git nor Bascule was changed.",
        paths=files,
        hint=f"Bring {into} into {source} first: git switch {source}; git merge {into}; settle the files; git commit.",
    )


def files_allow(git: Git, ref: str, before: str, after: str) -> None:
    """Look whether the working trees that stand on a branch can follow it.

    Raises:
        InputError: files that the merge changes are changed there too, or another merge is under way.
    """
    for tree in git.trees(ref):
        busy = Path(git.run("rev-parse", "--git-path", "MERGE_HEAD", folder=tree))
        if (busy if busy.is_absolute() else tree / busy).exists():
            raise InputError(
                f"A git merge is under way in {tree}.", hint="Finish it with git commit, or git merge --abort."
            )
        git.tried("update-index", "-q", "--refresh", folder=tree)
        done = git.tried("read-tree", "-m", "-n", "-u", before, after, folder=tree)
        if done.returncode != 0:
            raise InputError(
                f"The files in {tree} cannot follow: {' '.join(done.stderr.split())[:300]}",
                hint="Commit your changes there, or put them away with git stash.",
            )


def files_follow(git: Git, ref: str, before: str, after: str) -> None:
    """Bring the working trees that stand on a branch from one commit to another; again changes nothing.

    Raises:
        InputError: files that the merge changes are changed there too.
    """
    for tree in git.trees(ref):
        git.tried("update-index", "-q", "--refresh", folder=tree)
        git.run("read-tree", "-m", "-u", before, after, folder=tree)


def move(git: Git, ref: str, before: str, after: str) -> bool:
    """Move a branch if it is where it was thought to be, and tell whether it was."""
    done = git.tried(*SYNCED, "update-ref", "-m", "bascule merge --with-git", ref, after, before)
    return done.returncode == 0


def drop_lock(git: Git, ref: str, after: str) -> None:
    """Remove git's lock on a branch when it is the one that a killed merge left: it holds the commit that was meant."""
    where = Path(git.run("rev-parse", "--git-path", ref))
    lock = (where if where.is_absolute() else git.folder / where).with_name(f"{Path(ref).name}.lock")
    with contextlib.suppress(FileNotFoundError):
        if lock.read_text("utf-8", errors="replace").strip() == after:
            lock.unlink()


class Hold:
    """Git's branch, locked at one commit to be moved to another: nobody moves it meanwhile.

    The lock is git's, held by a process of git that lets go when this one ends, however it ends.
    """

    def __init__(self, git: Git, ref: str, before: str, after: str) -> None:
        """Raises Conflict when the branch is not at `before` any more, or somebody else moves it now."""
        self.process = subprocess.Popen(
            ["git", "-C", str(git.folder), *SYNCED, "update-ref", "-m", "bascule merge --with-git", "--stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            start_new_session=True,  # a Ctrl-C is ours to answer
        )
        if not (
            self._say("start", "start: ok") and self._say(f"update {ref} {after} {before}\nprepare", "prepare: ok")
        ):
            said = self._end()
            raise Conflict(
                f"git's branch {ref.removeprefix('refs/heads/')} moved or is locked: {said}. "
                "Neither git nor Bascule was changed.",
                hint="Repeat the merge.",
            )

    def commit(self) -> bool:
        """Move the branch, and tell whether it did."""
        done = self._say("commit", "commit: ok")
        self._end()
        return done

    def release(self) -> None:
        """Let the branch go where it is."""
        self._end()

    def _say(self, words: str, expected: str) -> bool:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(words + "\n")
            self.process.stdin.flush()
        except (OSError, ValueError):  # it has ended
            return False
        return self.process.stdout.readline().strip() == expected

    def _end(self) -> str:
        try:
            _, said = self.process.communicate(timeout=30)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
            return "git did not answer"
        return " ".join(said.split())[:300]
