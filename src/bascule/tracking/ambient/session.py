"""Sessions as who brings them in finds them: their folders, what their headers say, and whether they have ended."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from bascule.capture import module
from bascule.catalog import has_ended, this_process
from bascule.store.locking import held
from bascule.tracking.ambient.journal import SUFFIX, records

_child = module("bascule_session")
JOURNALS = "journals"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a session when it begins.

    Attributes:
        resumes: whether the run was named from outside, so that it may be there already.
        folder: the project's, or where the session was begun.
        workspace: as it was named, when it was.
        keep_outputs: whether the content of what is written is kept in the store.
        started_at: microseconds since 1970 UTC.
    """

    session: str
    run: str
    resumes: bool = False
    name: str
    command: list[str]
    folder: str
    has_project: bool = False
    working_folder: str = ""
    workspace: str | None = None
    branch: str | None = None
    user: str | None = None
    login: str = ""
    host: str = ""
    started_at: int
    experiment: str | None = None
    parent: str | None = None
    tags: dict[str, Any] = {}
    params: dict[str, Any] = {}
    keep_outputs: bool = False


@dataclass(frozen=True)
class Session:
    """A session's folder."""

    folder: Path

    @cached_property
    def header(self) -> Header:
        """What its header says.

        Raises:
            OSError, msgspec.MsgspecError: when there is none, or it is none.
        """
        return msgspec.json.decode((self.folder / _child.HEADER).read_bytes(), type=Header)

    def amend(self, *, user: str | None, branch: str | None) -> None:
        """Say in the header who acts and on which branch."""
        self.__dict__["header"] = msgspec.structs.replace(self.header, user=user, branch=branch)
        new = self.folder / f"{_child.HEADER}.amended"
        new.write_bytes(msgspec.json.encode(self.header))
        new.replace(self.folder / str(_child.HEADER))

    @property
    def owner(self) -> str:
        """The process whose end is the session's."""
        try:
            return (self.folder / str(_child.OWNER)).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    @property
    def blobs(self) -> Path:
        """What its entries keep."""
        return self.folder / str(_child.BLOBS)

    def has_ended(self) -> bool:
        """Tell whether its owner is gone. Of another machine's nobody knows: False."""
        return not self.owner or has_ended(self.owner)

    def parts(self) -> list[Path]:
        """Return its journals, one of each process."""
        return sorted(self.folder.glob(f"*{SUFFIX}"))

    def is_silent(self, *, over: bool = False) -> bool:
        """Tell whether every process that wrote to it is gone.

        Args:
            over: its owner has written its end, and so writes no more, also if it is there.
        """
        done = {this_process(), self.owner} if over else {this_process()}  # we are the sender, and write no more
        return (over or self.has_ended()) and all(_writer_ended(part, done) for part in self.parts())

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Have the session to oneself for the length of a block; yields whether that is so."""
        try:
            with held(self.folder / "sync.lock", exclusive=True, wait=False):
                yield True
        except BlockingIOError:
            yield False

    def remove(self) -> None:
        """Delete the folder. What is left of it, should that be stopped, is deleted the next time."""
        with suppress(OSError):
            shutil.rmtree(self.folder)


def sessions(places: list[Path]) -> list[Session]:
    """Return the sessions in some folders, the oldest first; what has no header is none."""
    found = []
    for place in places:
        with suppress(OSError):
            found += [one for one in place.iterdir() if (one / _child.HEADER).is_file()]
    return [Session(one) for one in sorted(found, key=lambda one: one.name)]


def places(project: Path, workspace: str | None) -> list[Path]:
    """Return the folders where sessions of a project may lie."""
    return [Path(one) for one in _child.spools(str(project), workspace)]


def _writer_ended(part: Path, done: set[str]) -> bool:
    for record, _ in records(part, 0, 1):
        if isinstance(record, dict) and record.get("kind") == "part":
            writer = str(record.get("process", ""))
            return writer in done or has_ended(writer)
        return True
    # A file without its first whole record: of a process that is just beginning, or was killed there.
    number = part.name.partition("-")[0]
    return not (number.isdigit() and os.path.isdir(f"/proc/{number}"))
