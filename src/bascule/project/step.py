"""A step: a plain function with declared inputs, so that a runner can tell whether there is work to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from bascule.history import Commit, Workspace
from bascule.history.commits import Object, canonical
from bascule.lake import Lake
from bascule.project.file import ProjectFile
from bascule.project.receipt import Output, Receipt
from bascule.store import digest_of
from bascule.tracking import Run


class Progress(Protocol):
    """Told how far a step is; a runner shows it."""

    def __call__(self, message: str, done: int = 0, total: int | None = None) -> None:
        """Say what is going on; `done` and `total` are in the step's own unit (rows, trials)."""
        ...


@dataclass(frozen=True)
class Context:
    """What a step works on. A debugger can make one and call any step with it.

    Attributes:
        project: the project file.
        workspace: the workspace.
        branch: the branch whose state is read and moved.
        author: who is acting.
        receipts: receipts of the steps before, by name.
        force: a reason to register a model that the gates refuse; empty for none.
        foreseen: objects that a step before is going to put on the branch, by path; None for one that it removes.
    """

    project: ProjectFile
    workspace: Workspace
    branch: str
    author: str
    receipts: dict[str, Receipt] = field(default_factory=dict)
    force: str = ""
    foreseen: Mapping[str, Object | None] = field(default_factory=dict)

    @cached_property
    def lake(self) -> Lake:
        """The tables."""
        return Lake(self.workspace)

    @property
    def head(self) -> Commit:
        """The branch's state now."""
        return self.workspace.history.resolve(self.branch)

    def digest(self, path: str) -> str | None:
        """Return the digest of an object on the branch now, or of the one that is foreseen there."""
        if path not in self.foreseen:
            return self.workspace.history.digest(self.branch, path)
        value = self.foreseen[path]
        return None if value is None else digest_of(canonical(value))

    def content(self, path: str) -> str:
        """Return what stands for the rows and columns of a table on the branch now; empty when there is none.

        Unlike the object's digest it stays when the table is compacted: what was made of it is not out of date then.
        """
        found = self.object(path)
        return str(found["digest"]) if found else ""

    def object(self, path: str) -> Object | None:
        """Return an object on the branch now, or the one that is foreseen there; None where there is none."""
        if path in self.foreseen:
            return self.foreseen[path]
        return self.workspace.history.read(self.branch, path)


@dataclass(frozen=True)
class Outcome:
    """What a step's work gives back.

    Attributes:
        outputs: what was made.
        checks: check results or gates.
        metrics: numbers.
        summary: one line for a person.
        commit: the commit that it made, if any.
    """

    outputs: tuple[Output, ...] = ()
    checks: tuple[dict[str, Any], ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    summary: str = ""
    commit: str | None = None


Terms = dict[str, str]


@dataclass(frozen=True)
class Step:
    """One step of a plan.

    Attributes:
        name: such as `ingest:flights` or `train`.
        after: the steps that must have ended before.
        code: what of Bascule it runs, as packages: their text is a term of the cache key.
        packages: distributions whose version can change the result.
        inputs: returns what it reads, as terms of the cache key: name to version.
        work: does it.
        settled: tells whether what a receipt says is still so on the branch; when it is not, the step works again.
        only_stops: it makes nothing that a later step reads; it can only stop the run.
        idle: for steps that look at the branch itself and not at the cache: returns why there is nothing to do, or
            None. Their inputs only tell why there is something to do.
    """

    name: str
    after: tuple[str, ...]
    code: tuple[str, ...]
    packages: tuple[str, ...]
    inputs: Callable[[Context], Terms]
    work: Callable[[Context, Run, Progress], Outcome]
    settled: Callable[[Context, Receipt], bool] = lambda context, receipt: True
    only_stops: bool = False
    idle: Callable[[Context], Outcome | None] | None = None
