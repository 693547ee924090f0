"""Legal holds: what they name is neither collected nor forgotten nor renamed away while they last.

A hold is on a branch (with all that it descends from, now and later), on a tag or a commit (that one state), or on a
path such as `tables/flights` (every state of it that any commit has). Holds are records: one that was released stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from bascule.catalog import audit, new_id, now
from bascule.catalog.schema import holds
from bascule.errors import Held, InputError, NotFound
from bascule.history import expiry, names, rows

BRANCH, TAG, COMMIT, PATH = "branch", "tag", "commit", "path"
_PATH = re.compile(r"^[a-z_]+/\S+$")
WAY_OUT = "`bascule hold list` shows who holds it and why; `bascule hold remove` ends a hold."


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold.

    Attributes:
        kind: `branch`, `tag`, `commit` or `path`.
        subject: the ref's name, the commit's id, or the path.
        at, released_at: microseconds since the epoch; a hold that lasts has no end.
    """

    id: str
    kind: str
    subject: str
    reason: str
    actor: str
    at: int
    released_at: int | None = None
    released_by: str | None = None

    def __str__(self) -> str:
        subject = self.subject[:10] if self.kind == COMMIT else self.subject
        return f"{self.kind} {subject} ({self.reason}; {self.actor})"

    def as_dict(self) -> dict[str, Any]:
        """The hold as one JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


def listed(conn: Connection, *, released: bool = False) -> list[Hold]:
    """Return the holds that last, oldest first; with `released`, also those that ended."""
    query = select(holds).order_by(holds.c.at, holds.c.id)
    found = conn.execute(query if released else query.where(holds.c.released_at.is_(None)))
    return [Hold(**row._mapping) for row in found]


def add(conn: Connection, subject: str, reason: str, author: str) -> Hold:
    """Hold a branch, a tag, a commit (by an id of its own or its start) or a path.

    Raises:
        InputError: without a reason.
        NotFound: when there is no such ref or commit.
        Expired: when the state's data are gone already.
    """
    if not reason.strip():
        raise InputError("A hold needs a reason.", hint='Say why, such as: --reason "case 4711".')
    kind, name = _subject(conn, subject)
    hold = Hold(new_id("hold"), kind, name, reason.strip(), author, now())
    conn.execute(insert(holds).values(**hold.as_dict()))
    audit.append(conn, actor=author, action="hold", subject=_told(hold), detail={"id": hold.id, "reason": hold.reason})
    # After the chain's end is ours: an expiry that is noted now comes after the hold and heeds it.
    if kind == COMMIT:
        expiry.refuse(conn, [name])
    return hold


def release(conn: Connection, which: str, author: str) -> list[Hold]:
    """End a hold by its id, or all holds on a subject, and return them."""
    every = listed(conn)
    wanted = {hold.id for hold in every if which == hold.id or which == hold.subject}
    wanted |= {hold.id for hold in every if hold.kind == COMMIT and len(which) >= 4 and hold.subject.startswith(which)}
    if not wanted:
        raise NotFound("hold", which, [hold.subject for hold in every] + [hold.id for hold in every])
    moment = now()
    ended = [hold for hold in every if hold.id in wanted]
    for hold in ended:
        conn.execute(update(holds).where(holds.c.id == hold.id).values(released_at=moment, released_by=author))
        audit.append(conn, actor=author, action="release", subject=_told(hold), detail={"id": hold.id})
    return ended


def refuse(found: Iterable[Hold], what: str, hint: str = WAY_OUT) -> None:
    """Raise `Held` when there are holds, naming them.

    Args:
        what: what was asked, as the start of a sentence: `Branch 'dev' cannot be deleted`.
    """
    lines = [str(hold) for hold in found]
    if lines:
        raise Held(f"{what}: it is under legal hold: {'; '.join(lines[:5])}.", holds=lines, hint=hint)


def on_ref(conn: Connection, name: str) -> list[Hold]:
    """Return the holds on a branch or a tag itself."""
    return [hold for hold in listed(conn) if hold.kind in (BRANCH, TAG) and hold.subject == name]


def _subject(conn: Connection, text: str) -> tuple[str, str]:
    if ref := rows.find_ref(conn, text):
        return ref.kind, ref.name
    if _PATH.match(text):
        return PATH, text
    return COMMIT, names.head(conn, text, text)


def _told(hold: Hold) -> str:
    return f"refs/{hold.subject}" if hold.kind in (BRANCH, TAG) else hold.subject
