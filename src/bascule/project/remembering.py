"""What checks measured of data files, kept in the catalog: a check after an append reads the append."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select, update

from bascule.catalog import Catalog, now
from bascule.catalog.schema import check_states
from bascule.catalog.upsert import upsert

AT_ONCE = 500
MOST_CHARACTERS = 2_000_000
DAY = 86_400_000_000  # microseconds
NOTED = 7 * DAY  # that a state is used is noted once a week
UNUSED = 90 * DAY


class States:
    """The states of checks in a workspace's catalog. To lose them costs time and nothing else."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def load(self, parts: Collection[str], measures: Collection[str]) -> dict[tuple[str, str], Any]:
        """Return the states that are known of some parts, by part and measure."""
        c, wanted = check_states.c, sorted(set(measures))
        found: dict[tuple[str, str], Any] = {}
        aging: set[str] = set()
        with self._catalog.read() as conn:
            for some in _chunks(sorted(parts)):
                for few in _chunks(wanted):
                    query = select(c.part, c.measure, c.state_json, c.at)
                    for part, measure, text, at in conn.execute(query.where(c.part.in_(some), c.measure.in_(few))):
                        found[part, measure] = json.loads(text)
                        if at < now() - NOTED:
                            aging.add(part)
        if aging:
            with self._catalog.write() as conn:
                for some in _chunks(sorted(aging)):
                    conn.execute(update(check_states).where(c.part.in_(some)).values(at=now()))
        return found

    def keep(self, scope: str, states: Mapping[tuple[str, str], Any]) -> None:
        """Keep states, by part and measure, for a table; those too long are not kept."""
        at = now()
        texts = {place: json.dumps(state) for place, state in states.items()}
        rows = [
            {"part": part, "measure": measure, "scope": scope, "state_json": text, "at": at}
            for (part, measure), text in texts.items()
            if len(text) <= MOST_CHARACTERS
        ]
        if not rows:
            return
        with self._catalog.write() as conn:
            for some in _chunks(rows):
                insert = upsert(conn, check_states)
                set_ = {"state_json": insert.excluded.state_json, "at": insert.excluded.at}
                conn.execute(insert.on_conflict_do_update(index_elements=["part", "measure"], set_=set_), some)


def let_go(conn: Connection) -> int:
    """Delete all states: some hold values of rows. Return how many there were."""
    return int(conn.execute(delete(check_states)).rowcount)


def let_go_unused(conn: Connection) -> int:
    """Delete the states that no check has used for long; return how many."""
    return int(conn.execute(delete(check_states).where(check_states.c.at < now() - UNUSED)).rowcount)


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]
