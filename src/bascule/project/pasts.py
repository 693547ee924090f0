"""What checks measured before: the past of each one's value, and the bounds that it gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, case, func, or_, select

from bascule.catalog.schema import check_results
from bascule.contracts.anomalies import MOST, usual
from bascule.history import Commit, Workspace

TABLE, BATCH = "table", "batch"
REFUSED = "refused"  # a table as it would have been
STATES = 2_000  # the newest that are looked for in a history


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one check measured at one time.

    Attributes:
        at: when, in microseconds since the epoch.
        commit: the state that it looked at.
        rows: how many rows it looked at.
        value: the number, or the share of failing rows.
        usual: the bounds that the values before it give; None when they are too few.
    """

    check: str
    at: int
    commit: str | None
    status: str
    rows: int | None
    value: float
    usual: tuple[float, float] | None

    @property
    def unusual(self) -> bool:
        """Whether the value lies outside of what was usual then."""
        return self.usual is not None and not self.usual[0] <= self.value <= self.usual[1]

    def as_dict(self) -> dict[str, Any]:
        """The measurement as one JSON object."""
        return {
            "check": self.check,
            "at": self.at,
            "commit": self.commit,
            "status": self.status,
            "rows": self.rows,
            "value": self.value,
            "usual": list(self.usual) if self.usual else None,
            "unusual": self.unusual,
        }


def past_values(
    workspace: Workspace, subject: str, looked_at: str = TABLE, *, at: str | Commit | None = None
) -> dict[str, list[float]]:
    """Return the values of the checks of a subject, oldest first, by check.

    To look at the same rows again says nothing new: of values that are the same over as many rows in a row, one counts.
    What was refused is no past.

    Args:
        at: the state whose past it is: only what was measured of states that it came from counts. None for all.
    """
    found: dict[str, list[float]] = {}
    for name, rows in _by_check(workspace, subject, looked_at, at, only_past=True).items():
        found[name] = [float(row.value) for row in _once(row for row, _ in rows)]
    return found


def usual_at(
    workspace: Workspace, subject: str, at: int, looked_at: str = TABLE, *, of: str | Commit | None = None
) -> dict[str, tuple[float, float]]:
    """Return the bounds that were usual for the checks of a subject at a time, by check, where its past gave some.

    Args:
        of: the state whose past it is, as `at` of `past_values`.
    """
    found = {}
    for name, told in _by_check(workspace, subject, looked_at, of).items():
        before = _once(row for row, landed in told if landed and row.at < at)
        now = next((row for row, _ in told if row.at == at), None)
        again = now is not None and before[-1:] and _measured(before[-1]) == _measured(now)
        bounds = usual([float(row.value) for row in (before[:-1] if again else before)])
        if bounds is not None:
            found[name] = bounds
    return found


def measurements(
    workspace: Workspace,
    subject: str,
    looked_at: str = TABLE,
    check: str | None = None,
    *,
    at: str | Commit | None = None,
) -> list[Measurement]:
    """Return what the checks of a subject measured, check by check, oldest first, with what was usual then.

    Args:
        at: the state whose past says what was usual, as in `past_values`. What others measured is shown all the same.
    """
    found = []
    for name, rows in sorted(_by_check(workspace, subject, looked_at, at).items()):
        if check is not None and name != check:
            continue
        shown: Row[Any] | None = None
        past: list[Row[Any]] = []
        for row, landed in rows:
            if shown is None or _measured(shown) != _measured(row):
                bounds = usual([float(one.value) for one in past])
                found.append(
                    Measurement(name, int(row.at), row.commit_id, row.status, row.total_rows, float(row.value), bounds)
                )
            shown = row
            if landed and (not past or _measured(past[-1]) != _measured(row)):
                past.append(row)
    return found


def _once(rows: Iterable[Row[Any]]) -> list[Row[Any]]:
    """Return the rows without those that measured the same as the one before them."""
    found: list[Row[Any]] = []
    for row in rows:
        if not found or _measured(found[-1]) != _measured(row):
            found.append(row)
    return found


def _measured(row: Row[Any]) -> tuple[float, int | None]:
    return float(row.value), row.total_rows


def _by_check(
    workspace: Workspace, subject: str, looked_at: str, at: str | Commit | None, *, only_past: bool = False
) -> dict[str, list[tuple[Row[Any], bool]]]:
    """Return what the checks of a subject measured, oldest first, and whether that is of a state's past."""
    c = check_results.c
    kinds = (BATCH,) if looked_at == BATCH else (TABLE, REFUSED)
    mine = and_(c.subject == subject, c.looked_at.in_(kinds))
    # A table may fail on its own branch and is its past all the same; a batch that fails never came in.
    failed = select(c.at).where(mine, c.severity == "critical", c.status != "passed").distinct()
    is_past = and_(c.at.not_in(failed)) if looked_at == BATCH else and_(c.looked_at == TABLE)
    if at is not None:
        is_past = and_(is_past, or_(c.commit_id.is_(None), c.commit_id.in_(_landed(workspace, mine, at))))
    newest = func.row_number().over(partition_by=c.check_name, order_by=c.at.desc()).label("nth")
    told = case((is_past, 1), else_=0).label("is_past")
    wanted = select(c.check_name, c.at, c.commit_id, c.status, c.total_rows, c.value, told, newest)
    rows = wanted.where(mine, c.value.is_not(None), *([is_past] if only_past else [])).subquery()
    query = select(rows).where(rows.c.nth <= 4 * MOST).order_by(rows.c.at)
    found: dict[str, list[tuple[Row[Any], bool]]] = {}
    with workspace.catalog.read() as conn:
        for row in conn.execute(query):
            found.setdefault(row.check_name, []).append((row, bool(row.is_past)))
    return found


def _landed(workspace: Workspace, mine: ColumnElement[bool], at: str | Commit) -> set[str]:
    """Return the newest states that were checked and that a state came from."""
    c = check_results.c
    checked = select(c.commit_id).where(mine, c.commit_id.is_not(None)).group_by(c.commit_id)
    with workspace.catalog.read() as conn:
        states = conn.execute(checked.order_by(func.max(c.at).desc()).limit(STATES)).scalars().all()
    return workspace.history.came_from(at, states) if states else set()
