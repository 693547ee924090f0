"""What records other people's scripts: track and sync."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bascule import capture
from bascule.errors import MissingExtra, NotFound
from bascule.verbs.bound import Bound

if TYPE_CHECKING:
    from bascule.store import BlobStore
    from bascule.tracking.ambient import Tracked
    from bascule.tracking.ambient.bringing import Target
    from bascule.tracking.ambient.session import Session
    from bascule.tracking.ambient.syncing import Synced


class TrackingVerbs(Bound):
    """Verbs about scripts that know nothing of Bascule, or say it a word."""

    def track(self, command: Sequence[str], *, keep_outputs: bool = False, output: Any = None) -> Tracked:
        """Run any script, unchanged, and record what it read, set, measured and made.

        Args:
            command: the program and its arguments; also `-m module`, a Python file, a notebook, or a text for a shell.
            keep_outputs: also keep the content of the files that it wrote, so that they can be had again.
            output: takes the command's standard output instead of ours.

        Where there is no project the command runs all the same; its journal is kept for `sync` from a project.
        """
        session = capture.module("bascule_session")
        asked = self.asked
        known = session.find(str(asked.start), asked.workspace) if asked.start.is_dir() else None
        found = known or self._place_of_runs()
        branch = asked.branch or os.environ.get("BASCULE_BRANCH") or None
        if branch and found[1] and "://" not in found[1]:
            branch = self.place.branch
        with capture.launched(
            _executable(command),
            output=output,
            start=found[0],
            workspace=found[1] or None,
            branch=branch,
            user=os.environ.get("BASCULE_USER"),
            keep_outputs=keep_outputs,
        ) as launched:
            # From here on the command runs; what is slow to import comes beside it.
            from bascule.tracking.ambient import followed

            return followed(launched, self._connect(found[1]), settle=self._settle)

    def _place_of_runs(self) -> tuple[str, str]:
        """Return the project's folder and its workspace; no workspace where somebody stands outside of any project."""
        from bascule.project.place import NoProject

        try:
            return str(self.folder), str(self.workspace.folder)
        except NoProject:
            if self.asked.workspace or self.asked.start.resolve() != Path.cwd():
                raise
            return str(self.asked.start), ""

    def sync(self, journals: Sequence[Path | str] = (), *, follow: bool = False) -> list[Synced]:
        """Bring in the journals of scripts that nobody could bring in, each exactly once.

        Args:
            journals: their folders; all of this project when there are none.
            follow: go on while their scripts do, until all have ended.
        """
        from bascule.tracking.ambient import syncing
        from bascule.tracking.ambient.session import places

        asked = self.asked
        session = capture.module("bascule_session")
        found = session.find(str(asked.start), asked.workspace)
        if found is None:
            found = str(self.folder), str(self.workspace.folder)
        folder, address = found
        if journals:
            chosen = syncing.named([Path(one) for one in journals])
        else:
            own = (address, asked.workspace)
            chosen = syncing.found(
                places(Path(folder), asked.workspace),
                lambda one: one.header.folder == folder or one.header.workspace in own,
            )
        connect = self._connect(address)
        if follow:
            return syncing.follow(chosen, self._settling(chosen, connect), samples=bool(journals))
        return syncing.sync(chosen, self._settling(chosen, connect))

    def _connect(self, address: str) -> Any:
        def connect() -> tuple[Target, BlobStore | None]:
            if "://" in address:
                from bascule.tracking.ambient.sending import remote

                return remote(address)
            from bascule.tracking.ambient.launch import local

            return local(self.workspace)

        return connect

    def _settling(self, chosen: Sequence[Session], connect: Any) -> Any:
        def settled() -> Any:
            found = connect()
            for session in chosen:
                self._settle(session)
            return found

        return settled

    def _settle(self, session: Session) -> None:
        """Say in a session's header who acts and on which branch, where that was not said; git knows both."""
        from bascule.catalog import actor
        from bascule.errors import BasculeError

        header = session.header
        user, branch = header.user or actor(), header.branch
        if branch is None and "://" in (header.workspace or ""):
            from bascule.project.place import GIT_DEFAULTS
            from bascule.tracking.code import git_branch

            found = git_branch(Path(header.folder))
            branch = GIT_DEFAULTS.get(found, found) if found else None
        elif branch is None:
            try:
                branch = self.place.branch
            except BasculeError:  # git stands on no branch: the run is on none
                branch = None
        with suppress(OSError):  # who brought it in meanwhile has removed it
            session.amend(user=user, branch=branch)


def _executable(command: Sequence[str]) -> list[str]:
    """Return what executes a notebook, when the command is one; else the command.

    Raises:
        MissingExtra: what executes notebooks is not installed.
    """
    words = list(command)
    if not words or not words[0].endswith(".ipynb"):
        return words
    if any(find_spec(name) is None for name in ("nbclient", "ipykernel")):
        raise MissingExtra("Executing a notebook", "notebook")
    if not Path(words[0]).is_file():
        raise NotFound("notebook", words[0], hint="Name a file that ends in .ipynb.")
    return [sys.executable, str(capture.CHILD / "bascule_notebook.py"), *words]
