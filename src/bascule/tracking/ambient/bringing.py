"""Bringing a session's journals to where records are kept: while it goes on, and at its end."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from bascule.errors import BasculeError
from bascule.store import BlobStore, open_store
from bascule.tracking.ambient.gathering import Batch, batch, closing
from bascule.tracking.ambient.resources import PREFIX
from bascule.tracking.ambient.session import Header, Session
from bascule.tracking.ambient.taking import Overtaken
from bascule.tracking.ambient.told import WARNINGS, Finished
from bascule.tracking.code import Code, capture_code
from bascule.tracking.environment import capture_environment

# What the run keeps itself, and is no work of the script's.
KEPT = ("models/", "artifacts/")
CODE, CODE_STORE = "code.json", "code"
# Pieces that were overtaken are read again; more often than this is a mistake of ours.
MOST_OVERTAKEN = 100


class Target(Protocol):
    """Where journals are brought to."""

    def begin(self, header: Header, code: Code | None, environment: dict[str, Any]) -> dict[str, int]:
        """Have the session's run in the records, and return how far each of its journals is there already."""

    def taken(self, session: str) -> dict[str, int]:
        """Return how far each journal of a session is in the records."""

    def is_finished(self, session: str) -> bool:
        """Tell whether the end of a session is in the records."""

    def take(self, header: Header, batch: Batch, finished: Finished | None = None) -> None:
        """Write a batch with how far it goes, all or nothing; raise `Overtaken` when a part of it is there already."""

    def keep_code(self, store: BlobStore, code: Code) -> None:
        """Take the blobs of a code snapshot over from a session's own store."""


@dataclass
class Brought:
    """What was brought in of a session.

    Attributes:
        finished: how it ended, when its end is in the records.
        warnings: what was captured less.
    """

    params: set[str] = field(default_factory=set)
    metrics: dict[str, tuple[tuple[int, int], float]] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    over: bool = False
    finished: Finished | None = None
    records: int = 0
    warnings: dict[str, None] = field(default_factory=dict)

    def last_metrics(self) -> dict[str, float]:
        """Return the last value of each metric that the script measured."""
        return {key: value for key, (_, value) in self.metrics.items() if not key.startswith(PREFIX)}

    def add(self, batch: Batch) -> None:
        """Take note of what a batch told."""
        self.exit_code = batch.exit_code if batch.exit_code is not None else self.exit_code
        self.over = self.over or batch.over
        self.records += len(batch.ends)
        for told in batch.told.values():
            self.params |= told.params_told.keys()
            made = {touch.version for touch in told.touched if touch.direction == "out"}
            self.models += [digest for digest in told.blobs if digest in made]
            self.warnings |= dict.fromkeys(told.tags_told.get(WARNINGS, "").splitlines())
            for touch in told.touched:
                if not touch.path.startswith(KEPT):
                    (self.inputs if touch.direction == "in" else self.outputs)[touch.path] = touch.version
            for name, value, at, step in told.points:
                if name not in self.metrics or (step, at) >= self.metrics[name][0]:
                    self.metrics[name] = ((step, at), value)


class Bringing:
    """One session on its way into the records. One thread uses it.

    Attributes:
        brought: what is there by now.
    """

    def __init__(self, session: Session, target: Target) -> None:
        self.session = session
        self.target = target
        self.brought = Brought()
        self._taken: dict[str, int] | None = None

    def step(self, *, over: bool = False) -> bool:
        """Bring in what is there, and the end of the session when it has ended.

        Args:
            over: its owner's work is done, as the caller knows.

        Returns:
            Whether the end is in the records.

        Raises:
            BasculeError, OSError: what stood in the way; what came before it is brought in.
        """
        with self.session.alone() as mine:
            if not mine:  # who has it brings it in
                return False
            header = self.session.header
            if self._taken is None:
                self._taken = self._begin(header)
            # In this order: what is written before the owner's end is read after it.
            over = over or self.session.has_ended() or self.brought.over
            self._read(header, self._taken)
            if over or self.brought.over:
                self._close(header)
            return self.brought.finished is not None

    def _begin(self, header: Header) -> dict[str, int]:
        code, own = kept_code(self.session)
        if code is not None and own:
            self.target.keep_code(_code_store(self.session), code)
        place = {
            "process": self.session.owner,
            "host": header.host,
            "working_folder": header.working_folder,
            "command": header.command,
        }
        return self.target.begin(header, code, {**capture_environment(), **place})

    def _read(self, header: Header, taken: dict[str, int]) -> None:
        overtaken = 0
        while True:
            found = batch(self.session, taken)
            if not found.ends:
                return
            try:
                self.target.take(header, found)
            except Overtaken:
                overtaken += 1
                if overtaken > MOST_OVERTAKEN:
                    raise
                taken.clear()
                taken.update(self.target.taken(header.session))
                continue
            taken.update(found.ends)
            self.brought.add(found)

    def _close(self, header: Header) -> None:
        if self.brought.finished is None:
            every, finished = closing(self.session)
            if not self.target.is_finished(header.session):
                self.target.take(header, Batch(told=every), finished)
            self.brought.finished = finished
            for told in every.values():
                self.brought.warnings |= dict.fromkeys(told.tags_told.get(WARNINGS, "").splitlines())
                for touch in told.touched:
                    if touch.path.startswith("artifacts/"):
                        continue
                    seen = self.brought.inputs if touch.direction == "in" else self.brought.outputs
                    seen[touch.path] = touch.version
        if self.session.is_silent(over=self.brought.over):
            self._read(header, self._taken or {})
            self.session.remove()


def keep_code(session: Session, store: BlobStore | None) -> None:
    """Keep the project's code as it stands with the session: in the workspace's store, or beside the journals.

    What goes wrong is not the script's business: its run says then that the code is not known.
    """
    header = session.header
    if not header.has_project or (session.folder / CODE).exists():
        return
    with contextlib.suppress(BasculeError, OSError):
        code = capture_code(Path(header.folder), store or _code_store(session))
        said = {"commit": code.commit, "dirty": code.dirty, "snapshot": code.snapshot, "own": store is None}
        new = session.folder / f"{CODE}.new"
        new.write_bytes(msgspec.json.encode(said))
        new.replace(session.folder / CODE)


def kept_code(session: Session) -> tuple[Code | None, bool]:
    """Return the code that was kept with a session, and whether it lies beside the journals."""
    try:
        said = msgspec.json.decode((session.folder / CODE).read_bytes())
        return Code(said["commit"], said["dirty"], said["snapshot"]), bool(said["own"])
    except (OSError, msgspec.MsgspecError, KeyError):
        return None, False


def _code_store(session: Session) -> BlobStore:
    return open_store(session.folder / CODE_STORE)
