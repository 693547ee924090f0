"""Bringing what a client asked for onto a branch: staged on its head, looked at, and committed by compare-and-swap."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from bascule.errors import BasculeError, Conflict, EnvironmentProblem, InputError
from bascule.history import Commit, History, Workspace
from bascule.history.commits import Guard
from bascule.lake.foreign.refusals import ReadOnly
from bascule.lake.objects import Object

TRIES = 60


class Unknown(EnvironmentProblem):
    """Nobody knows whether a commit landed: its client must not delete what it wrote, and should look."""


@dataclass(frozen=True, slots=True)
class State:
    """What a client works on: a commit, and the branch that it heads when the client may write.

    Attributes:
        ref: as the client wrote it.
        commit: what it means now.
        branch: its name, or None for a tag, a commit or a time.
    """

    ref: str
    commit: Commit
    branch: str | None

    @classmethod
    def of(cls, history: History, ref: str) -> State:
        """Return the state that a ref means.

        Raises:
            NotFound: when there is none.
        """
        commit = history.resolve(ref)
        named = history.named(ref)
        return cls(ref, commit, ref if named is not None and named.kind == "branch" else None)

    def writable(self) -> str:
        """Return the branch to write to, or raise `ReadOnly`."""
        if self.branch is None:
            raise ReadOnly(self.ref)
        return self.branch


@dataclass(frozen=True, slots=True)
class Author:
    """On whose behalf something lands, and what is said of it.

    Attributes:
        name: who it is.
        message: what the client says of it; empty for what Bascule makes of the change.
        meta: more to keep in the commit.
        guard: looks at it first.
    """

    name: str
    guard: Guard
    message: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Staged:
    """What is about to land.

    Attributes:
        changes: path to object; None removes it.
        expect: path to the digest that it was staged on; None when it must not be there.
        message: what it does, in a sentence.
        undo: deletes what staging wrote.
        meta: more to keep in the commit.
    """

    changes: Mapping[str, Object | None]
    expect: Mapping[str, str | None]
    message: str
    undo: list[Callable[[], None]] = field(default_factory=list)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def discard(self) -> None:
        """Delete what staging wrote. Only for what certainly did not land."""
        for step in reversed(self.undo):
            step()


# Stages a change on a commit; what it enters in the stack is held until the change has landed.
Stage = Callable[[Commit, ExitStack], Staged]


def land(workspace: Workspace, branch: str, stage: Stage, author: Author) -> Commit:
    """Stage a change on a branch's head and commit it; again from the newer head when another commit came between.

    Returns:
        The commit, or the head when there was nothing to change.

    Raises:
        Conflict: the branch moved again and again; nothing was changed.
        Unknown: something failed while it was being committed.
    """
    history = workspace.history
    for attempt in range(TRIES):
        with ExitStack() as held:
            staged = stage(history.resolve(branch), held)
            landed = _land(history, branch, staged, author)
            if landed is not None:
                return landed
        time.sleep(random.random() * 0.01 * min(attempt + 1, 10))
    raise Conflict(f"{branch!r} moved {TRIES} times while this was being committed.", hint="Repeat.")


def _land(history: History, branch: str, staged: Staged, author: Author) -> Commit | None:
    try:
        head = history.resolve(branch)
        more = author.guard(head, staged.changes)
    except BaseException:
        staged.discard()
        raise
    try:
        return history.commit(
            branch,
            staged.changes,
            message=author.message or staged.message,
            author=author.name,
            expect={**more, **staged.expect},
            meta={**staged.meta, **author.meta},
        )
    except Conflict:
        staged.discard()
        return None
    except InputError:  # the branch is gone
        staged.discard()
        raise
    except Exception as error:
        told = error.message if isinstance(error, BasculeError) else type(error).__name__
        raise Unknown(
            f"Something failed while this was being committed, and it may have landed: {told}",
            hint="Load the table again and look whether it did.",
        ) from error
