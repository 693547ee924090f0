"""What stays and what goes: from names, rules and holds to commits, objects, tables and blobs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from bascule.history import expiry, holds
from bascule.history.expiry import Expiration
from bascule.lake.maintenance import references
from bascule.lake.maintenance.keeping import Graph, Keeping
from bascule.lake.maintenance.reaching import Facts, Library, Reached, bodies
from bascule.lake.maintenance.retention import Retention
from bascule.naming import MODELS

# Which of the deleted runs and logged models an object of a model came from, by the object's JSON.
CameFrom = Callable[[bytes], set[str]]


@dataclass(frozen=True, slots=True)
class Decision:
    """What stays and what goes, as one transaction saw it.

    Attributes:
        at: when it was made, in microseconds since the epoch.
        commits: ids of all commits that there were.
        live: the objects that stay, and the trees that were walked.
        tables: the live tables' metadata locations, each with a name that it has.
        blobs: digests of the blobs that live objects and records lead to.
        expired: commits and objects that no longer stay.
        idle: branches that lose their name.
    """

    at: int
    commits: frozenset[str]
    live: Reached
    tables: Mapping[str, str]
    blobs: frozenset[str]
    expired: tuple[Expiration, ...]
    idle: tuple[str, ...]

    @property
    def expired_commits(self) -> int:
        """How many commits expire."""
        return sum(one.kind == expiry.COMMIT for one in self.expired)

    @property
    def expired_objects(self) -> int:
        """How many objects expire."""
        return len(self.expired) - self.expired_commits


def decide(
    conn: Connection,
    library: Library,
    retention: Retention,
    *,
    now: int,
    grace: int,
    stored: Collection[str],
    recorded: Collection[str],
    came_from: CameFrom | None = None,
) -> Decision:
    """Decide, over one connection and without changing anything.

    A commit that no rule keeps expires when something in its state is let go; while all of it is also in states that
    stay, it can still be named and read.

    Args:
        now, grace: microseconds; see `Keeping.of`.
        stored: digests of all blobs that there are.
        recorded: digests of the blobs that records lead to.
        came_from: tells what is to go once no kept state of a model came from it; the others expire with it.
    """
    graph = Graph.read(conn)
    keeping = Keeping.of(graph, retention, now, grace)
    live, gone = Reached(), Reached()
    facts = _reach(conn, library, keeping, live, gone)
    blobs = library.needed(facts) | frozenset(recorded)
    tables = {found.location: _table(live.objects[digest]) for digest, found in facts.items() if found.location}
    dead = _dead(conn, library, keeping, live, gone)
    lost = {
        digest: expiry.STATE if found.location else expiry.CONTENT
        for digest, found in library.facts(conn, dead)
        if (found.location and found.location not in tables) or library.lost(found, stored, blobs)
    }
    lost |= dict.fromkeys(_orphaned(conn, library, came_from, live, dead) if came_from else (), expiry.STATE)
    expired = _expired(keeping, gone, lost, dead, now)
    return Decision(now, frozenset(graph.commits), live, tables, blobs, expired, tuple(keeping.idle()))


def _reach(conn: Connection, library: Library, keeping: Keeping, live: Reached, gone: Reached) -> dict[str, Facts]:
    """Walk from what is kept until nothing more is, and return what the live objects lead to."""
    graph = keeping.graph
    held = {hold.subject for hold in graph.holds if hold.kind == holds.PATH}
    facts: dict[str, Facts] = {}
    fresh = live.walk(conn, library, (graph.commits[name].root for name in keeping.kept if name in graph.commits))
    while True:
        if held:  # every state of a path that is held stays, whatever becomes of its commit
            gone.walk(conn, library, (row.root for row in graph.commits.values()), live)
            under = {d: paths for d, paths in gone.objects.items() if d not in live.objects and paths & held}
            live.objects |= under
            fresh |= under
        found = dict(library.facts(conn, (digest for digest in fresh if digest not in graph.expired)))
        facts |= found
        named = {name for one in found.values() for name in one.blobs}
        run_ids = {name for one in found.values() for name in one.runs}
        pinned = keeping.pin(references.commits_of(conn, named, run_ids))
        if not pinned:
            return facts
        fresh = live.walk(conn, library, (graph.commits[name].root for name in pinned))


def _dead(
    conn: Connection, library: Library, keeping: Keeping, live: Reached, gone: Reached
) -> dict[str, tuple[str, str]]:
    """Return the objects of which no kept state has one, each with a path and why its commits are not kept."""
    graph = keeping.graph
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, row in graph.commits.items():
        if name not in keeping.kept and name not in graph.expired:
            by_reason[keeping.reasons[name]].append(row.root)
    dead: dict[str, tuple[str, str]] = {}
    for reason, roots in sorted(by_reason.items()):
        part = Reached()
        part.walk(conn, library, roots, live)
        gone.parts.update(part.parts)
        for digest, paths in part.objects.items():
            if digest not in live.objects and digest not in graph.expired:
                dead.setdefault(digest, (min(paths), reason))
    return dead


def _orphaned(
    conn: Connection, library: Library, came_from: CameFrom, live: Reached, dead: Mapping[str, tuple[str, str]]
) -> list[str]:
    """Return the dead objects of models that came from what neither a live one nor a deleted version came from."""

    def came(body: bytes) -> set[str]:
        return came_from(library.purged.without_in(body))

    kept = [digest for digest, paths in live.objects.items() if any(path.startswith(MODELS) for path in paths)]
    needed = {name for _, body in bodies(conn, kept) for name in came(body)}
    needed |= {name for held in references.restorable(conn, library.purged) for name in came_from(held.encode())}
    others = [digest for digest, (path, _) in dead.items() if path.startswith(MODELS)]
    return [digest for digest, body in bodies(conn, others) if came(body) - needed]


def _expired(
    keeping: Keeping, gone: Reached, lost: Mapping[str, str], dead: Mapping[str, tuple[str, str]], now: int
) -> tuple[Expiration, ...]:
    found = [Expiration(digest, kind, *dead[digest], now) for digest, kind in sorted(lost.items())]
    memo: dict[str, bool] = {}
    wanted = set(lost)
    for name, row in keeping.graph.commits.items():
        if name in keeping.kept or name in keeping.graph.expired:
            continue
        if gone.touches(row.root, wanted, memo):
            found.append(Expiration(name, expiry.COMMIT, "", keeping.reasons[name], now))
    return tuple(found)


def _table(paths: Collection[str]) -> str:
    return min(paths).partition("/")[2]
