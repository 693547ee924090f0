"""Settling a table that both sides of a merge changed: by its appends, or row by row when that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from bascule.errors import Conflict, EnvironmentProblem, NotFound
from bascule.history import Commit
from bascule.history.commits import Object
from bascule.lake import Lake, RowConflict, RowMerge, Unmergeable
from bascule.project.reviewing.words import cell

TABLES = "tables/"
MOST_LISTED = 1000
NAMED = 3


@dataclass(frozen=True)
class RowRules:
    """How rows are merged.

    Attributes:
        tables: of which tables; none for all that both sides changed and that have a key.
        cells: merge a row of which each side changed other columns; else that is a conflict.
        conflicts: a file that gets every row in conflict, as JSON lines.
    """

    tables: frozenset[str] = frozenset()
    cells: bool = False
    conflicts: Path | None = None

    @classmethod
    def of(cls, tables: Iterable[str], cells: bool, conflicts: Path | None) -> RowRules:
        """Return rules for tables by their names or paths."""
        return cls(frozenset(TABLES + name.removeprefix(TABLES) for name in tables), cells, conflicts)


class RowConflicts(Conflict):
    """Rows that both sides changed, and differently. `rows` lists the first thousand of each table, by key."""

    def __init__(self, message: str, rows: dict[str, dict[str, Any]], *, paths: Collection[str], hint: str) -> None:
        super().__init__(message, paths=sorted(paths), hint=hint)
        self.rows = rows

    def as_dict(self) -> dict[str, Any]:
        """See `BasculeError.as_dict`; with the rows."""
        return {**super().as_dict(), "rows": self.rows}


class TableSettler:
    """Settles tables in one merge, and remembers what it wrote and why it could not.

    Args:
        rules: how rows are merged; None when that was not asked for.
        command: what the user may add `--rows` to; "" when that is no way out.
        picks: bring one commit's appends, and not all of a branch.

    Attributes:
        sides: paths where one side's rows are taken where the two exclude each other.
    """

    def __init__(self, lake: Lake, rules: RowRules | None, command: str, *, picks: bool = False) -> None:
        self.lake, self.rules, self.command = lake, rules, command
        self.append = lake.pick_appends if picks else lake.merge_appends
        self.sides: dict[str, Literal["ours", "theirs"]] = {}
        self.made: list[tuple[str, Object, RowMerge | None]] = []
        self.listed: dict[str, dict[str, Any]] = {}
        self.reasons: dict[str, str] = {}
        self.possible: set[str] = set()
        self.asked: set[str] = set()

    def takes(self, path: str) -> bool:
        """Tell whether a table's rows are to be merged."""
        if self.rules is None or not path.startswith(TABLES):
            return False
        return not self.rules.tables or path in self.rules.tables

    def settle(self, path: str, base: Object | None, ours: Object, theirs: Object) -> Object | None:
        """Return the state that has both sides, or None when they exclude each other."""
        self.asked.add(path)
        merged = self.append(base, ours, theirs)
        if merged is not None:
            if merged is not ours:
                self.made.append((path, merged, None))
            return merged
        if base is None or not self.lake.row_mergeable(base, ours, theirs):
            self.reasons[path] = f"{path} has no key, or not the same one on both sides"
            return None
        self.possible.add(path)
        return self._by_rows(path, base, ours, theirs) if self.takes(path) else None

    def _by_rows(self, path: str, base: Object, ours: Object, theirs: Object) -> Object | None:
        assert self.rules is not None
        name, settle = path.removeprefix(TABLES), self.sides.get(path)
        first: list[dict[str, Any]] = []
        with _listing(self.rules.conflicts, path, first, afresh=not self.listed) as add:
            try:
                merged, done = self.lake.merge_rows(
                    base, ours, theirs, name=name, settle=settle, cells=self.rules.cells, tell=add
                )
            except Unmergeable as error:
                self.reasons[path] = error.message.rstrip(".")
                return None
        if merged is None:
            self.listed[path] = {"total": done.conflicts, "conflicts": first}
            return None
        self.made.append((path, merged, done))
        return merged

    def merged(self, landed: Commit) -> dict[str, RowMerge]:
        """Return how the row merges went that a commit has."""
        history = self.lake.workspace.history
        return {path: done for path, value, done in self.made if done and history.read(landed, path) == value}

    def discard(self, landed: Commit | None) -> None:
        """Delete what was written for tables that are not the ones which landed."""
        for path, value, done in self.made:
            if landed is None or self.lake.workspace.history.read(landed, path) != value:
                self.lake.discard(value, done.written if done else ())

    def refuse_unused(self) -> None:
        """Raise `NotFound` when rows were asked for of a table that only one side changed."""
        for path in sorted(self.rules.tables - self.asked if self.rules else ()):
            raise NotFound("table in conflict", path.removeprefix(TABLES), [p.removeprefix(TABLES) for p in self.asked])

    def explained(self, error: Conflict) -> Conflict:
        """Return a conflict with what is known of its tables: the rows, or what else could be done."""
        if not self.listed:
            return Conflict(error.message, paths=error.paths, hint=f"{error.hint}{self._other_ways(error)}")
        parts = [_told(path, found) for path, found in self.listed.items()]
        others = [path for path in error.paths if path not in self.listed]
        also = f" Both also changed {', '.join(others)}." if others else ""
        option = next(iter(self.listed))
        hint = (
            f"Take one side's rows with `{self.command} --rows --theirs {option}` or `--ours`, repair them on "
            "one side first, or merge what each side changed in other columns with --cells."
        )
        if self.rules is not None and self.rules.conflicts is not None:
            hint += f" All of them are in {self.rules.conflicts}."
        else:
            hint += " --conflicts FILE writes all of them down."
        told = f"Both sides changed the same rows, and differently: {'; '.join(parts)}.{also}"
        return RowConflicts(told, self.listed, paths=error.paths, hint=hint)

    def _other_ways(self, error: Conflict) -> str:
        if self.rules is not None:
            reasons = [reason for path, reason in self.reasons.items() if path in error.paths]
            return f" Not merged row by row: {'; '.join(reasons)}." if reasons else ""
        possible = sorted(self.possible & set(error.paths))
        if not possible or not self.command:
            return ""
        return f" The rows of {', '.join(possible)} can be merged by their key: `{self.command} --rows`."


@contextmanager
def _listing(
    file: Path | None, path: str, first: list[dict[str, Any]], *, afresh: bool
) -> Iterator[Callable[[RowConflict], None]]:
    """Give what takes rows in conflict: the first thousand go to a list, all of them to a file."""
    with _opened(file, "wb" if afresh else "ab") as out:

        def add(conflict: RowConflict) -> None:
            row = asdict(conflict)
            if len(first) < MOST_LISTED:
                first.append(row)
            if out is not None:
                out.write(msgspec.json.encode({"table": path.removeprefix(TABLES), **row}) + b"\n")

        yield add


@contextmanager
def _opened(file: Path | None, mode: Literal["wb", "ab"]) -> Iterator[BinaryIO | None]:
    if file is None:
        yield None
        return
    try:
        with open(file, mode) as out:
            yield out
    except OSError as error:
        raise EnvironmentProblem(
            f"Cannot write {file}: {error.strerror or error}. Nothing was merged.",
            hint="Name a file in a folder that is there, in which you may write.",
        ) from error


def _told(path: str, found: dict[str, Any]) -> str:
    total, rows = found["total"], found["conflicts"][:NAMED]
    keys = [", ".join(f"{name} = {cell(value)}" for name, value in row["key"].items()) for row in rows]
    more = f" and {total - len(keys):,} more" if total > len(keys) else ""
    return f"{total:,} row{'' if total == 1 else 's'} of {path} ({'; '.join(keys)}{more})"
