"""What checks measured before: the past of each one's value, and the bounds that it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, select

from bascule.catalog import Catalog
from bascule.catalog.schema import check_results
from bascule.contracts.anomalies import MOST, usual

TABLE, BATCH = "table", "batch"


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


def past_values(catalog: Catalog, subject: str, looked_at: str = TABLE) -> dict[str, list[float]]:
    """Return the values of the checks of a subject, oldest first, by check.

    To look at the same rows again says nothing new: of values that are the same over as many rows in a row, one counts.
    """
    found: dict[str, list[float]] = {}
    for name, rows in _by_check(catalog, subject, looked_at).items():
        found[name] = [float(row.value) for row in rows]
    return found


def usual_at(catalog: Catalog, subject: str, at: int, looked_at: str = TABLE) -> dict[str, tuple[float, float]]:
    """Return the bounds that were usual for the checks of a subject at a time, by check, where its past gave some."""
    found = {}
    for name, rows in _by_check(catalog, subject, looked_at).items():
        before = [row for row in rows if row.at < at]
        again = len(before) == len(rows) or rows[len(before)].at != at  # it looked at the rows of the last once more
        bounds = usual([float(row.value) for row in (before[:-1] if again else before)])
        if bounds is not None:
            found[name] = bounds
    return found


def measurements(catalog: Catalog, subject: str, looked_at: str = TABLE, check: str | None = None) -> list[Measurement]:
    """Return what the checks of a subject measured, check by check, oldest first, with what was usual then."""
    found = []
    for name, rows in sorted(_by_check(catalog, subject, looked_at).items()):
        if check is not None and name != check:
            continue
        values = [float(row.value) for row in rows]
        for at, row in enumerate(rows):
            bounds = usual(values[:at])
            found.append(Measurement(name, int(row.at), row.commit_id, row.status, row.total_rows, values[at], bounds))
    return found


def _by_check(catalog: Catalog, subject: str, looked_at: str) -> dict[str, list[Row[Any]]]:
    c = check_results.c
    newest = func.row_number().over(partition_by=c.check_name, order_by=c.at.desc()).label("nth")
    wanted = select(c.check_name, c.at, c.commit_id, c.status, c.total_rows, c.value, newest)
    rows = wanted.where(c.subject == subject, c.looked_at == looked_at, c.value.is_not(None)).subquery()
    query = select(rows).where(rows.c.nth <= 4 * MOST).order_by(rows.c.at)
    found: dict[str, list[Row[Any]]] = {}
    with catalog.read() as conn:
        for row in conn.execute(query):
            before = found.setdefault(row.check_name, [])
            if not before or (before[-1].value, before[-1].total_rows) != (row.value, row.total_rows):
                before.append(row)
    return found
