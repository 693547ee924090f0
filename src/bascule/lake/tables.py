"""The lake: tables whose states are objects in the history."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from bascule.errors import Conflict, NotFound
from bascule.history import Commit
from bascule.lake import objects, staging, upserting
from bascule.lake.iceberg import files, snapshots
from bascule.lake.iceberg.tables import TURN, Table
from bascule.lake.objects import Object
from bascule.lake.stages import Stages
from bascule.lake.upserting import Upserted

TRIES = 60


class Lake(Stages):
    """The tables of one workspace.

    What `Stages` stages, `append`, `overwrite`, `upsert` and `delete` commit too. Rows may be an Arrow table or reader,
    a DuckDB relation, a pandas or Polars frame, anything that speaks Arrow's C stream, or an iterator of these or of
    dicts; they are streamed, so memory is bounded.
    """

    def append(
        self,
        name: str,
        data: Any,
        *,
        branch: str = "main",
        message: str | None = None,
        author: str | None = None,
        key: Sequence[str] = (),
        evolve: bool = False,
        meta: Mapping[str, Any] | None = None,
    ) -> Commit:
        """Add rows to a table of a branch and commit; a table that does not exist is made.

        Two appends at once are both kept: the later one repeats its metadata, not its data.

        Raises:
            InputError: when the rows do not fit the table.
            Conflict: when somebody changed the table's columns, or made or replaced it, meanwhile.
        """
        path, history = objects.path_of(name), self.workspace.history
        told: dict[str, Any] = {"message": message or f"Append to {name}", "author": author, "meta": meta}
        digest = history.digest(branch, path)
        if digest is None:
            made = self.stage_append(None, data, name=name, key=key)
            with self.discarded_on_conflict(made, None):
                return history.commit(branch, {path: made}, expect={path: None}, **told)
        value = history.object(digest)
        with self.writing(value, name) as table:
            written = staging.write_rows(table, self._rows(value, data), evolve=evolve)

            def stage(now: Table) -> Table:
                with staging.kept_if_done(written):
                    return staging.append(now, written, {})

            return self.land(branch, path, stage, told, data_too=False)

    def overwrite(
        self,
        name: str,
        data: Any,
        *,
        branch: str = "main",
        message: str | None = None,
        author: str | None = None,
        key: Sequence[str] = (),
        meta: Mapping[str, Any] | None = None,
    ) -> Commit:
        """Put rows in the place of all that a table of a branch has, and commit.

        Raises:
            Conflict: when somebody changed the table meanwhile; nothing was changed.
        """
        path, history = objects.path_of(name), self.workspace.history
        digest = history.digest(branch, path)
        before = history.object(digest) if digest else None
        after = self.stage_overwrite(before, data, name=name, key=key)
        text = message or f"Overwrite {name}"
        with self.discarded_on_conflict(after, before):
            return history.commit(branch, {path: after}, expect={path: digest}, message=text, author=author, meta=meta)

    def delete(
        self,
        name: str,
        where: str,
        *,
        branch: str = "main",
        message: str | None = None,
        author: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Commit:
        """Take out the rows of a branch's table for which a SQL condition is true, and commit.

        Rows that somebody else appends meanwhile are looked at too.
        """
        path = objects.path_of(name)
        told: dict[str, Any] = {
            "message": message or f"Delete rows from {name}",
            "author": author,
            "meta": meta,
        }
        with self.writing(self.workspace.history.get(branch, path), name):
            return self.land(branch, path, lambda t: staging.delete(t, where, self._temporary), told, data_too=True)

    def upsert(
        self,
        name: str,
        data: Any,
        *,
        branch: str = "main",
        message: str | None = None,
        author: str | None = None,
        key: Sequence[str] = (),
        evolve: bool = False,
        meta: Mapping[str, Any] | None = None,
    ) -> Upserted:
        """Put rows into a branch's table and commit: one with a known key takes the old one's place, others are added.

        Only files that hold replaced rows are rewritten. Rows that the table has already, the same in every column,
        stay as they are: to upsert the same rows again changes nothing. Rows that somebody else appends meanwhile are
        looked at too. The rows may be more than memory holds.

        Args:
            key: the columns that tell rows apart; the table's key unless given.
            evolve: let new columns be added, and missing ones be null.

        Raises:
            InputError: when there is no key, a row has no value in it, or two of the rows have the same one.
            Conflict: when somebody changed the table's columns, or replaced it, meanwhile.
        """
        told: dict[str, Any] = {"message": message or f"Upsert into {name}", "author": author, "meta": meta}
        rows = self._rows(self.workspace.history.get(branch, objects.path_of(name)), data)
        return upserting.upsert(self, name, rows, branch=branch, key=key, evolve=evolve, told=told)

    def land(
        self,
        branch: str,
        path: str,
        stage: Callable[[Table], Table],
        told: dict[str, Any],
        *,
        data_too: bool,
        kept: frozenset[str] = frozenset(),
    ) -> Commit:
        """Stage a change of a branch's table and commit it, again from the table's newest state when another won.

        Args:
            stage: makes the next state from the present one, or returns that when there is nothing to do.
            told: what `History.commit` is told besides.
            data_too: delete the data files that an attempt wrote when it did not land.
            kept: the paths of those that stay, because the next attempt has them too.
        """
        name = path.removeprefix(objects.PREFIX)
        for attempt in range(TRIES):
            # Writers of one table land one after the other, so that fifty of them do not spend their time on losing to
            # each other. What may take long (rewriting files) first tries without keeping the others waiting.
            folder = self._head(branch, name)[1].folder
            taken = files.locked(folder / TURN, exclusive=True) if attempt or not data_too else nullcontext()
            with taken:
                landed = self._land_once(branch, name, stage, told, data_too, kept)
            if landed is not None:
                return landed
            time.sleep(random.random() * 0.01 * min(attempt + 1, 10))
        raise Conflict(f"{path} changed on {branch!r} {TRIES} times while it was being written.", hint="Repeat.")

    def _head(self, branch: str, name: str) -> tuple[str, Table]:
        digest = self.workspace.history.digest(branch, objects.PREFIX + name)
        if digest is None:
            raise NotFound("table", name, hint=f"It was removed from {branch!r}.")
        return digest, self.table(self.workspace.history.object(digest), name)

    def _land_once(
        self,
        branch: str,
        name: str,
        stage: Callable[[Table], Table],
        told: dict[str, Any],
        data_too: bool,
        kept: frozenset[str],
    ) -> Commit | None:
        digest, before = self._head(branch, name)
        after = stage(before)
        if after is before:
            return self.workspace.history.resolve(branch)
        path, landed = objects.PREFIX + name, objects.describe(after, self.folder)
        try:
            return self.workspace.history.commit(branch, {path: landed}, expect={path: digest}, **told)
        except Conflict:  # only what certainly did not land is deleted: of any other error nobody knows
            snapshots.discard(after, data_too=data_too, kept=kept)
            return None

    @contextmanager
    def discarded_on_conflict(self, after: Object, before: Object | None) -> Iterator[None]:
        """Delete what staging an object wrote when the block, which commits it, ends with a conflict.

        Args:
            after: the object; not one that `merge_appends` made, which shares its files.
            before: what it was staged from; None when it is a new table.
        """
        try:
            yield
        except Conflict:
            if before is None:
                files.remove_folder(objects.folder_of(after, self.folder))
            else:
                snapshots.discard(self.table(after), data_too=True)
            raise
