"""Three-way merge by path, and what a check may see of it before it lands."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from blake3 import blake3

from bascule.errors import Conflict
from bascule.history.commits import Change, Commit, Object, canonical

# Called for a path that both sides changed, with the object at the common ancestor and on each side (None: not there).
# Returns the object that has both, `REMOVED` to remove the path, or None when the two exclude each other.
Resolver = Callable[[str, Object | None, Object | None, Object | None], Object | None]
REMOVED: Object = {"kind": "removed"}


@dataclass(frozen=True, slots=True)
class Staged:
    """The state that a merge would make, before anyone else can see it.

    Attributes:
        source: the commit that is merged.
        target: the head of the branch that it is merged into.
        changes: what the merge changes on the target.
    """

    source: Commit
    target: Commit
    changes: tuple[Change, ...]
    _read: Callable[[str], Object | None]
    _entries: Callable[[str], list[tuple[str, Object]]]
    _depend: Callable[[str], None]

    def read(self, path: str) -> Object | None:
        """Return the object at a path of the merged state."""
        for change in self.changes:
            if change.path == path:
                return change.after
        return self._read(path)

    def depend(self, prefix: str) -> None:
        """Say that what is concluded depends on all paths below a prefix, though they were not read here."""
        self._depend(prefix)

    def entries(self, prefix: str = "") -> list[tuple[str, Object]]:
        """Return the merged state's paths below a prefix, with their objects."""
        merged = dict(self._entries(prefix))
        for change in self.changes:
            if change.path.startswith(prefix):
                if change.after is None:
                    merged.pop(change.path, None)
                else:
                    merged[change.path] = change.after
        return sorted(merged.items())


@dataclass(frozen=True, slots=True)
class Plan:
    """What a merge does: digests to set on the target (None removes), paths to settle, and paths in conflict."""

    take: Mapping[str, str | None]
    both: tuple[tuple[str, str | None, str | None, str | None], ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """A plan carried through: digests to set (None removes), bodies of objects that are new, paths in conflict.

    Attributes:
        refused: what a resolver itself said of paths in conflict, which `clashes` does not name.
    """

    digests: Mapping[str, str | None]
    fresh: Mapping[str, bytes]
    clashes: list[str]
    refused: Sequence[Conflict] = ()


def plan(
    ours: Iterable[tuple[str, str | None, str | None]], theirs: Iterable[tuple[str, str | None, str | None]]
) -> Plan:
    """Compare both sides' changes since the common ancestor, each as (path, before, after)."""
    mine = {path: (before, after) for path, before, after in ours}
    take: dict[str, str | None] = {}
    both = []
    for path, before, after in theirs:
        if path not in mine:
            take[path] = after
        elif mine[path][1] != after:
            both.append((path, before, mine[path][1], after))
    return Plan(take, tuple(both))


def settle(split: Plan, read: Callable[[str], Object], resolve: Resolver | None) -> Settled:
    """Ask the resolver about every path that both sides changed: all that is in conflict is told at once."""
    digests: dict[str, str | None] = dict(split.take)
    fresh: dict[str, bytes] = {}
    clashes, refused = [], []
    for path, *sides in split.both:
        try:
            settled = resolve(path, *(read(side) if side else None for side in sides)) if resolve else None
        except Conflict as error:
            refused.append(error)
            continue
        if settled is None:
            clashes.append(path)
        else:
            digests[path] = kept(fresh, None if settled is REMOVED else settled)
    return Settled(digests, fresh, clashes, refused)


def kept(fresh: dict[str, bytes], value: Object | None) -> str | None:
    """Put an object's body among those that are to be written, and return its digest."""
    if value is None:
        return None
    body = canonical(value)
    name = blake3(body).hexdigest()
    fresh[name] = body
    return name


def clash(paths: list[str], names: tuple[str, str], base: Commit | None) -> Conflict:
    """Return the error that names the paths which two sides changed, and the ways out."""
    source, into = names
    shown = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
    return Conflict(
        f"{source!r} and {into!r} both changed {shown} since {base.short if base else 'the beginning'}.",
        paths=paths,
        hint=f"Compare them with `bascule diff {into} {source}`, then keep one side with "
        f"`bascule merge {source} --theirs PATH` or `--ours PATH`.",
    )


def together(errors: Sequence[Conflict]) -> Conflict:
    """Return one error for all conflicts of a merge: what each said, all paths, every way out."""
    if len(errors) == 1:
        return errors[0]
    hints = dict.fromkeys(error.hint for error in errors if error.hint)
    paths = [path for error in errors for path in error.paths]
    return Conflict("\n".join(error.message for error in errors), paths=paths, hint="\n".join(hints))


def merge_base(read: Callable[[str], Commit], a: str, b: str) -> str | None:
    """Return the youngest commit that both descend from. Costs what lies between it and the two."""
    if a == b:
        return a
    seen: dict[str, int] = {a: 1, b: 2}
    queue = [(-read(name).generation, name) for name in (a, b)]
    heapq.heapify(queue)
    while queue:
        _, name = heapq.heappop(queue)
        side = seen[name]
        if side == 3:
            return name
        for parent in read(name).parents:
            before = seen.get(parent, 0)
            if before | side != before:
                if before == 0:
                    heapq.heappush(queue, (-read(parent).generation, parent))
                seen[parent] = before | side
    return None
