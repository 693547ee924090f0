"""Which commits are kept, by rules, names, holds and age, and by which rule another one is not."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, select

from bascule.catalog.schema import commits, ref_log, refs
from bascule.history import expiry, holds
from bascule.history.holds import Hold
from bascule.history.refs import Ref
from bascule.history.repository import MAIN
from bascule.lake.maintenance.retention import Retention, Rule

UNNAMED = "no branch or tag leads to it"


class Row(NamedTuple):
    """A commit as far as keeping is concerned."""

    parents: tuple[str, ...]
    created_at: int
    generation: int
    root: str


@dataclass(frozen=True, slots=True)
class Graph:
    """All commits, and what names them, as one transaction saw it.

    Attributes:
        ended: names that were deleted, as (name, last commit, when).
        moves: commits that a name led to, with when it came there or left.
        expired: commits and objects that expired before.
    """

    commits: Mapping[str, Row]
    refs: Sequence[Ref]
    ended: Sequence[tuple[str, str, int]]
    moves: Sequence[tuple[str, int]]
    holds: Sequence[Hold]
    expired: frozenset[str]

    @classmethod
    def read(cls, conn: Connection) -> Graph:
        """Read it: first what names commits, then the commits, which are there before anything names them."""
        named = [Ref(**row._mapping) for row in conn.execute(select(refs))]
        held, expired = holds.listed(conn), frozenset(expiry.every(conn))
        ended, moves = [], []
        for row in conn.execute(select(ref_log.c.ref, ref_log.c.before, ref_log.c.after, ref_log.c.at)):
            moves += [(commit, row.at) for commit in (row.before, row.after) if commit]
            if row.after is None and row.before:
                ended.append((row.ref, row.before, row.at))
        query = select(commits.c.id, commits.c.parent, commits.c.parent2, commits.c.created_at, commits.c.generation)
        every = {
            row.id: Row(tuple(p for p in (row.parent, row.parent2) if p), row.created_at, row.generation, row.root)
            for row in conn.execute(query.add_columns(commits.c.root))
        }
        return cls(every, named, ended, moves, held, expired)


@dataclass(slots=True)
class Keeping:
    """Which commits of a graph are kept.

    Attributes:
        kept: the commits.
        reasons: why another one is not.
    """

    graph: Graph
    retention: Retention
    now: int
    grace: int
    kept: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph, retention: Retention, now: int, grace: int) -> Keeping:
        """Decide for every commit.

        Args:
            now: microseconds since the epoch.
            grace: what is so young, or what a name led to so lately, stays whatever the rules say; microseconds.
        """
        found = cls(graph, retention, now, grace)
        found._keep_single_states()
        found._keep_lines()
        found.reasons |= dict.fromkeys(graph.commits.keys() - found.kept - found.reasons.keys(), UNNAMED)
        return found

    def pin(self, names: Iterable[str]) -> set[str]:
        """Keep more commits, and return those that were not kept before."""
        new = {name for name in names if name in self.graph.commits} - self.kept
        self.kept |= new
        return new

    def idle(self) -> list[str]:
        """Return the branches that lose their name: not moved, not merged, not protected, not held for their time."""
        held = {hold.subject for hold in self.graph.holds if hold.kind == holds.BRANCH}
        merged: dict[str, int] = {}
        for row in self.graph.commits.values():
            for parent in row.parents[1:]:
                merged[parent] = max(merged.get(parent, 0), row.created_at)
        found = []
        for ref in self.graph.refs:
            span = self.retention.rule(ref.name).idle
            if span is None or ref.kind != "branch" or ref.protected or ref.name in held:
                continue
            if max(ref.updated_at, merged.get(ref.head, 0)) < self.now - max(span, self.grace):
                found.append(ref.name)
        return sorted(found)

    def _keep_single_states(self) -> None:
        young = self.now - self.grace
        self.kept |= {name for name, row in self.graph.commits.items() if row.created_at >= young}
        self.kept |= {name for name, at in self.graph.moves if at >= young}
        self.kept |= {ref.head for ref in self.graph.refs}
        self.kept |= {hold.subject for hold in self.graph.holds if hold.kind == holds.COMMIT}

    def _keep_lines(self) -> None:
        named = {ref.name: ref.head for ref in self.graph.refs if ref.kind == "branch"}
        held = {hold.subject for hold in self.graph.holds if hold.kind == holds.BRANCH}
        whole = [(head, Rule(name)) for name, head in named.items() if name in held]
        whole += [(head, self.retention.rule(name)) for name, head in named.items() if name == MAIN]
        self._keep_rules(whole, frozenset())
        # What main has is kept by main's rule: else a branch without one would keep all the past that it began from.
        trunk = frozenset(self._log(named[MAIN])) if MAIN in named else frozenset()
        since = self.now - self.retention.unnamed
        own = [(head, self.retention.rule(name)) for name, head in named.items() if name != MAIN]
        own += [(head, self.retention.rule(name)) for name, head, at in self.graph.ended if at >= since]
        self._keep_rules(own, trunk)
        met: dict[str, float] = {}
        for head in named.values():  # where a branch left main is what a merge compares both with
            self.kept |= {name for name in self._walk(head, trunk, met, 0.0) if name in trunk}

    def _keep_rules(self, lines: Iterable[tuple[str, Rule]], trunk: frozenset[str]) -> None:
        """Keep what rules say of lines' own commits: those that are not in `trunk`."""
        walked: dict[str, float] = {}
        # The most generous first: what it walked, a stricter rule need not walk again.
        for head, rule in sorted(lines, key=lambda line: -_reach(line[1])):
            oldest = -1 if rule.forever else self.now - rule.keep if rule.keep is not None else self.now + 1
            for name in self._walk(head, trunk, walked, _reach(rule)):
                row = self.graph.commits[name]
                if name in trunk:
                    continue
                if row.created_at >= oldest:
                    # What it took the place of was the branch's state within the span too.
                    self.kept |= {name, *row.parents[:1]} - trunk
                else:
                    self.reasons.setdefault(name, str(rule))
            if rule.last is not None:
                own = (name for name in self._log(head) if name not in trunk)
                self.kept |= {name for name, _ in zip(own, range(rule.last), strict=False)}

    def _walk(self, head: str, trunk: frozenset[str], walked: dict[str, float], reach: float) -> Iterator[str]:
        """Yield a line's commits, and the first that are in `trunk`; not those that were walked as far before."""
        queue = [head]
        while queue:
            name = queue.pop()
            if walked.get(name, -1.0) >= reach:
                continue
            walked[name] = reach
            yield name
            if name not in trunk:
                queue += self.graph.commits[name].parents

    def _log(self, head: str) -> Iterator[str]:
        """Yield a commit and its ancestors, youngest first, as `bascule log` does."""
        commits = self.graph.commits
        queue = [(-commits[head].generation, -commits[head].created_at, head)]
        seen = {head}
        while queue:
            name = heapq.heappop(queue)[2]
            yield name
            for parent in commits[name].parents:
                if parent not in seen:
                    seen.add(parent)
                    heapq.heappush(queue, (-commits[parent].generation, -commits[parent].created_at, parent))


def _reach(rule: Rule) -> float:
    """Return how far back a rule keeps what it meets, for ordering: its age, or endless."""
    return float("inf") if rule.forever else float(rule.keep or 0)
