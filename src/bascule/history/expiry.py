"""States whose data were let go: noted in the catalog, so that no name and no commit leads to them again.

Commits, their trees and their objects stay: what happened can be told for ever. What is gone is what expired objects
lead to: a table's files, blobs. An object that is unlike any other (a table's state) stays expired; one that is named
by content (a file set) is there again when somebody writes the same content anew. Whoever notes an expiry and whoever
makes a name hold the audit chain's end while they look (`audit.take_turn`): one comes first, and the other sees it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, select

from bascule.catalog import upsert
from bascule.catalog.schema import expirations
from bascule.errors import Expired

COMMIT, STATE, CONTENT = "commit", "state", "content"
AT_ONCE = 500
_AMONG = (
    select(expirations).where(expirations.c.name.in_(bindparam("names", expanding=True))).order_by(expirations.c.name)
)


class Expiration(NamedTuple):
    """One commit or object that expired. `at` is in microseconds since the epoch; a commit has no path."""

    name: str
    kind: str
    path: str
    reason: str
    at: int

    def error(self) -> Expired:
        """Return what whoever asks for the state is told."""
        day = datetime.fromtimestamp(self.at / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")
        what = f"The commit {self.name[:10]}" if self.kind == COMMIT else f"That state of {self.path}"
        return Expired(what, day, self.reason)


def found(conn: Connection, names: Iterable[str]) -> list[Expiration]:
    """Return which of some commits and objects expired."""
    rows: list[Expiration] = []
    for part in _parts(names):
        rows += [Expiration(**row._mapping) for row in conn.execute(_AMONG, {"names": part})]
    return rows


def refuse(conn: Connection, names: Iterable[str]) -> None:
    """Raise `Expired` when a commit or an object that a name is to lead to expired."""
    for expiration in found(conn, names):
        raise expiration.error()


def renew(conn: Connection, names: Iterable[str]) -> None:
    """Take note that objects were written anew: those that are named by content are there again.

    Raises:
        Expired: when one of them is a state that never comes back.
    """
    for expiration in found(conn, names):
        if expiration.kind != CONTENT:
            raise expiration.error()
        conn.execute(delete(expirations).where(expirations.c.name == expiration.name))


def every(conn: Connection, kind: str | None = None) -> set[str]:
    """Return the names of all commits and objects that expired, or only those of a kind."""
    query = select(expirations.c.name)
    return set(conn.execute(query.where(expirations.c.kind == kind) if kind else query).scalars())


def note(conn: Connection, expired: Iterable[Expiration]) -> None:
    """Note that commits and objects expired."""
    rows = [one._asdict() for one in expired]
    for start in range(0, len(rows), AT_ONCE):
        conn.execute(upsert(conn, expirations).on_conflict_do_nothing(), rows[start : start + AT_ONCE])


def _parts(names: Iterable[str]) -> Iterable[list[str]]:
    wanted = list(names)
    return (wanted[start : start + AT_ONCE] for start in range(0, len(wanted), AT_ONCE))
