"""Which data commit a pull request will ship, whether it is of this code, and whether it would land."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import select

from bascule.catalog.schema import runs
from bascule.errors import BasculeError, CheckFailed, Conflict
from bascule.project.git import Git
from bascule.project.place import PROJECT_FILE, Place
from bascule.project.publishing import preview
from bascule.project.required import required_of

State = Literal["ready", "nothing", "stale", "conflict", "refused"]


@dataclass(frozen=True)
class Readiness:
    """What merging a branch now would bring.

    Attributes:
        source, into: the branches.
        data: the data commit that would be merged.
        onto: the data commit that it would be merged into.
        code: the git commit that stands checked out; None without git.
        ran: the git commit that the branch was last run with; None when it never was.
        stale: the steps that have not run with what is checked out.
        changes: the paths that would land.
        state: `ready`; `nothing` to merge; `stale` when steps have not run; `conflict` or `refused` by a check.
        problem: why it would not land, as a sentence.
        next_step: what to do.
    """

    source: str
    into: str
    data: str
    onto: str
    code: str | None
    ran: str | None
    stale: tuple[str, ...]
    changes: tuple[str, ...]
    state: State
    problem: str = ""
    next_step: str = ""

    @property
    def ready(self) -> bool:
        """Whether it may be merged as it is."""
        return self.state in ("ready", "nothing")

    def as_dict(self) -> dict[str, Any]:
        """The check as one JSON object."""
        return {**asdict(self), "ready": self.ready}

    def text(self) -> str:
        """The check in a sentence or two."""
        if self.state == "nothing":
            return f"{self.into} has everything that {self.source} has (data commit {self.data[:10]})."
        with_code = f" with code commit {self.code[:10]}" if self.code else ""
        told = f"Merging {self.source} into {self.into} ships data commit {self.data[:10]}{with_code}"
        paths = f"{len(self.changes)} path{'' if len(self.changes) == 1 else 's'} would change"
        if self.state == "ready":
            return f"{told}; {paths}."
        if self.state == "stale":
            return f"{told}, which is not of this code: {', '.join(self.stale)} would run."
        return f"Data commit {self.data[:10]} of {self.source} would not land on {self.into}: {self.problem}"


def readiness(place: Place, source: str, into: str, *, allow_breaking: str | None = None) -> Readiness:
    """Look whether a branch could be merged now, and which data commit that would ship. Nothing is changed.

    Args:
        allow_breaking: why readers of a table may break, as the merge will be told.

    Raises:
        NotFound: there is no such branch.
    """
    history = place.workspace.history
    data, onto = history.resolve(source), history.resolve(into)
    stale = _stale(place, source)
    changes: tuple[str, ...] = ()
    state: State = "stale" if stale else "ready"
    problem = todo = ""
    if stale:
        todo = f"bascule run --branch {source}"
    try:
        workspace, required = place.workspace, required_of(place)
        found = preview(workspace, source, into, required=required, allow_breaking=allow_breaking)
        changes = tuple(one.path for one in found)
        if not changes and not stale:
            state = "nothing"
    except (Conflict, CheckFailed) as error:
        state = "conflict" if isinstance(error, Conflict) else "refused"
        problem, todo = error.message, error.hint
    code = _code(place)
    return Readiness(source, into, data.id, onto.id, code, _ran(place, source), stale, changes, state, problem, todo)


def _stale(place: Place, source: str) -> tuple[str, ...]:
    if not (place.folder / PROJECT_FILE).is_file():
        return ()
    from bascule.project.why import outlook

    return tuple(row.step for row in outlook(place.file, place.workspace, source) if row.runs)


def _code(place: Place) -> str | None:
    try:
        return Git(place.folder).commit("HEAD")
    except BasculeError:
        return None


def _ran(place: Place, source: str) -> str | None:
    query = select(runs.c.code_commit).where(runs.c.branch == source, runs.c.kind == "pipeline")
    with place.workspace.catalog.read() as conn:
        return conn.execute(query.order_by(runs.c.started_at.desc()).limit(1)).scalar()
