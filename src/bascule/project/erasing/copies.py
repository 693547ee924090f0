"""Rows that hold a subject's values and to which no link leads: copies of its rows, and rows that tell of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bascule.catalog import actor
from bascule.history import Workspace
from bascule.lake import objects, records
from bascule.lake.forgetting import Forgotten, Replacing, forget_values
from bascule.lake.forgetting.folder import Folder
from bascule.lake.maintenance.listing import folders, table_of
from bascule.project.erasing.links import Subject
from bascule.project.erasing.quarantine import QUARANTINE
from bascule.project.erasing.values import cleaner, distinctive, forms_of
from bascule.serving.log import GROUND_TRUTH, PREDICTIONS
from bascule.serving.log.vectors import SERVED_FEATURES
from bascule.store import Place

REMOVE, LEAVE = "remove", "leave"
VALUES = "values in "
# What whole rows leave by other steps.
LOGS = (PREDICTIONS, GROUND_TRUTH, SERVED_FEATURES, QUARANTINE)


@dataclass(frozen=True, slots=True)
class Copies:
    """What left a table, or would: its name, the commits whose states had it, rows that went and rows that changed."""

    table: str
    commits: tuple[str, ...]
    gone: int
    changed: int

    def places(self) -> Iterator[Forgotten]:
        """Say it as a report does."""
        if self.gone:
            yield Forgotten(objects.PREFIX + self.table, self.gone)
        if self.changed:
            yield Forgotten(VALUES + objects.PREFIX + self.table, self.changed)


def from_copies(
    workspace: Workspace,
    subjects: Sequence[Subject],
    copies: str,
    *,
    dry_run: bool,
    despite_hold: str = "",
    logs: bool = False,
) -> list[Copies]:
    """Take the subjects' distinctive values out of all rows of all tables, in all states and in files of no state.

    The subjects' own rows are left to those who remove them: what links lead to is read from them, also by a forgetting
    that goes on with one that was killed.

    Args:
        copies: what happens to rows, as `[forget] copies` says.
        logs: look at the logs alone, of which other steps remove whole rows first; else at all but them.
    """
    values = sorted({value for one in subjects for value in one.key.values() if distinctive(value)})
    if copies == LEAVE or not values:
        return []
    found = []
    for folder in folders(workspace.lake_folder):
        if not any((folder / "metadata").glob("*.metadata.json")):
            continue
        names = _names(workspace, folder)
        if _is_log(names[0], folder) != logs:
            continue
        for name in names:
            replacing = _replacing(workspace, values, subjects, names, removes=copies == REMOVE)
            if not dry_run and not replacing.find(Folder.read(folder, name)):
                continue  # looked at without keeping writers out
            told = forget_values(workspace, name, replacing, dry_run=dry_run, author=actor(), despite_hold=despite_hold)
            changed = sum(map(len, replacing.changes.values()))
            found += [Copies(name, told.commits, told.rows - changed, changed)] if told.rows else []
    return found


def _names(workspace: Workspace, folder: Place) -> list[str]:
    """Return the names that heads of branches have for a table's folder; the one it was made with when none has it."""
    made = table_of(folder)
    if made.startswith(records.FOLDER):
        return [made.removeprefix(records.FOLDER)]
    found: dict[str, None] = {}
    for ref in workspace.history.branches():
        for path, value in workspace.history.entries(ref.head, objects.PREFIX):
            if objects.document_of(value, workspace.lake_folder).parent.parent == folder:
                found[path.removeprefix(objects.PREFIX)] = None
    return list(found) or [made]


def _is_log(name: str, folder: Place) -> bool:
    return name in LOGS and table_of(folder).startswith(records.FOLDER)


def _replacing(
    workspace: Workspace, values: Sequence[str], subjects: Sequence[Subject], names: Sequence[str], *, removes: bool
) -> Replacing:
    forms = forms_of(values)
    whole = set(values) if removes else set()
    keys = _by_columns(one for one in subjects if any(map(distinctive, one.key.values())))

    def goes(row: Mapping[str, Any]) -> bool:
        return _is_one(row, keys) or not whole.isdisjoint(_texts(row))

    def passed(folder: Folder) -> dict[Place, np.ndarray]:
        found: dict[Place, np.ndarray] = {}
        for one in subjects:
            for path, rows in (
                folder.matching(one.key, workspace.temporary_folder).items() if one.table in names else ()
            ):
                found[path] = np.union1d(found.get(path, rows), rows)
        return found

    return Replacing(forms, cleaner(forms), goes, frozenset(name for columns in keys for name in columns), passed)


def _by_columns(subjects: Iterable[Subject]) -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """Return the values of keys by the keys' columns in lower case."""
    found: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for one in subjects:
        key = {column.casefold(): value for column, value in one.key.items()}
        found[tuple(sorted(key))].add(tuple(key[column] for column in sorted(key)))
    return dict(found)


def _is_one(row: Mapping[str, Any], keys: Mapping[tuple[str, ...], set[tuple[str, ...]]]) -> bool:
    return any(
        all(column in row for column in columns) and tuple(str(row[column]) for column in columns) in known
        for columns, known in keys.items()
    )


def _texts(row: Mapping[str, Any]) -> Iterator[str]:
    return (cell for cell in row.values() if isinstance(cell, str))
