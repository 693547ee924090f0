"""What parameters, metrics and tags are kept of, and under which numbers: runs, logged models, and names."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select, update

from bascule.catalog import Catalog, upsert
from bascule.catalog.schema import names, subjects
from bascule.tracking.points import dialect

MOST_KNOWN = 100_000
# Written out: what is done for every run costs more to put together than to do.
_NEW = "INSERT INTO subjects (id) VALUES (?) RETURNING number"
_TOUCH = "UPDATE subjects SET revision = revision + 1 WHERE number = ?"


class Names:
    """The numbers of names, remembered: a name that came once keeps its number forever."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: dict[str, int] = {}

    def numbers(self, wanted: Iterable[str]) -> dict[str, int]:
        """Return the number of each name; new names get theirs, durably, before this returns."""
        asked = set(wanted)
        found = self.known(asked)
        new = asked - found.keys()
        if new:
            with self._catalog.write() as conn:
                conn.execute(upsert(conn, names).on_conflict_do_nothing(), [{"name": one} for one in sorted(new)])
            found |= self.known(new)
        return found

    def known(self, wanted: Iterable[str]) -> dict[str, int]:
        """Return the numbers of those names that have one."""
        known = self._known
        asked = set(wanted)
        found = {name: number for name in asked if (number := known.get(name)) is not None}  # others may clear it
        missing = asked - found.keys()
        if missing:
            with self._catalog.read() as conn:
                query = select(names.c.name, names.c.number).where(names.c.name.in_(missing))
                read = {row.name: row.number for row in conn.execute(query)}
            if len(known) + len(read) > MOST_KNOWN:
                known.clear()
            known.update(read)
            found |= read
        return found


def new_subject(conn: Connection, subject: str) -> int:
    """Give a run or a model its number."""
    found: int = conn.exec_driver_sql(dialect(conn, _NEW), (subject,)).scalar_one()
    return found


def number_of(conn: Connection, subject: str) -> int | None:
    """Return the number of a run or a model, or None when it has none."""
    found: int | None = conn.execute(select(subjects.c.number).where(subjects.c.id == subject)).scalar()
    return found


def touch(conn: Connection, number: int) -> None:
    """Say that something of a subject changed: what was put together for lists before holds no more."""
    conn.exec_driver_sql(dialect(conn, _TOUCH), (number,))


def touch_all(conn: Connection, numbers: Iterable[int]) -> None:
    """`touch` for many."""
    conn.execute(update(subjects).where(subjects.c.number.in_(list(numbers))).values(revision=subjects.c.revision + 1))
