"""Bringing in what nobody brought in: a tracker was killed, a workspace did not answer, a disk was full."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from bascule.errors import NotFound
from bascule.tracking.ambient.bringing import Bringing, Target
from bascule.tracking.ambient.following import INTERVAL, Connect, Following, told
from bascule.tracking.ambient.session import Session, sessions

DONE, RUNNING, KEPT = "done", "running", "kept"


@dataclass(frozen=True)
class Synced:
    """What became of one journal.

    Attributes:
        run: its run's id.
        status: `done`: all of it is in the records; `running`: its script goes on, and what there is by now is in the
            records; `kept`: it stays where it is.
        problem: why it stays, or None.
        journal: where it lies, or lay.
    """

    run: str
    name: str
    status: str
    problem: str | None
    journal: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def found(places: Sequence[Path], mine: Callable[[Session], bool]) -> list[Session]:
    """Return the sessions in some folders that are a project's own; what cannot be read is none."""
    chosen = []
    for session in sessions(list(dict.fromkeys(places))):
        try:
            if mine(session):
                chosen.append(session)
        except (OSError, msgspec.MsgspecError):
            continue
    return chosen


def named(folders: Sequence[Path]) -> list[Session]:
    """Return the sessions of some folders.

    Raises:
        NotFound: when one of them is no journal's.
    """
    chosen = [Session(folder.absolute()) for folder in folders]
    for session in chosen:
        try:
            _ = session.header
        except (OSError, msgspec.MsgspecError):
            raise NotFound(
                "journal", str(session.folder), hint="Name the folder that `bascule track` told, or none for all."
            ) from None
    return chosen


def sync(chosen: Sequence[Session], connect: Connect) -> list[Synced]:
    """Bring in what there is of some sessions. Repeated, also after it was killed, it brings in nothing twice."""
    target: Target | None = None
    done = []
    for session in chosen:
        header = session.header
        problem: BaseException | None = None
        ended = False
        try:
            target = target or connect()[0]
            ended = Bringing(session, target).step()
        except Exception as error:  # one journal that cannot be read keeps no other from being brought in
            problem = error
        status = KEPT if problem is not None else DONE if ended else RUNNING
        said = None if problem is None else told(problem)
        done.append(Synced(header.run, header.name, status, said, str(session.folder)))
    return done


def follow(chosen: Sequence[Session], connect: Connect, *, samples: bool) -> list[Synced]:
    """Bring in what comes of some sessions until all of them have ended.

    Args:
        samples: measure the resources of their processes, as their own sender does.
    """
    running = [Following(session, connect, samples=samples, own=True) for session in chosen]
    headers = [session.header for session in chosen]
    for one in running:
        one.start()
    while any(one.is_alive() for one in running):
        time.sleep(INTERVAL / 5)
    done = []
    for one, header in zip(running, headers, strict=True):
        one.finish()
        finished = one.brought.finished
        problem = None if finished else told(one.problem)
        done.append(Synced(header.run, header.name, DONE if finished else KEPT, problem, str(one.session.folder)))
    return done
