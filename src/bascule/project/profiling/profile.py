"""The verb: a profile of a table, or of a set of files, at a state of the project."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import duckdb
import msgspec

from bascule.contracts import Contract
from bascule.errors import InputError, NotFound
from bascule.history import Commit, Workspace
from bascule.lake import Lake
from bascule.lake.engine import opened
from bascule.lake.filesets import PREFIX as FILES
from bascule.lake.iceberg import scans
from bascule.lake.masking import hidden_columns
from bascule.lake.objects import PREFIX, Object
from bascule.profiles import FilesProfile, Source, TableProfile
from bascule.profiles.measuring import limit
from bascule.profiles.results import Change, ColumnChange, Note
from bascule.project.comparing import column_text
from bascule.project.init.tables import Table
from bascule.project.place import PROJECT_FILE, Place
from bascule.project.profiling import relating
from bascule.project.profiling.filesets import profile_files
from bascule.project.profiling.looking import look

MOST_TABLES = 30
MOST_OTHER_ROWS = 5_000_000
LEAST_SHIFT = 0.01

Tell = Callable[[str], None]


def profile(
    place: Place,
    name: str,
    *,
    at: str | None = None,
    against: str | None = None,
    columns: Sequence[str] = (),
    label: str | None = None,
    sample: int = 0,
    tell: Tell = lambda text: None,
) -> TableProfile | FilesProfile:
    """Profile a table of a state, the current branch by default, or a set of files.

    Args:
        against: another state of it to compare with.
        columns: only these.
        label: what is learned from it, to judge leakage by; the project's own unless given.
        sample: look at about so many rows (or files) only; 0 looks at all rows, and at 2,000 files.
        tell: called with what is being done.

    Raises:
        NotFound: there is no such table, state or column, with the nearest name.
        InputError: the rows cannot be read, or the label cannot be learned.
    """
    known = label or (_project_label(place) if (place.folder / PROJECT_FILE).is_file() else "")
    state = at or place.branch
    commit = place.workspace.history.resolve(state)
    paths = place.workspace.history.digests(commit)
    if PREFIX + name not in paths:
        plain = name.removeprefix(FILES)
        if FILES + plain in paths:
            return profile_files(place.workspace, plain, state, sample=sample, against=against)
        names = [path.removeprefix(PREFIX).removeprefix(FILES) for path in paths if path.startswith((PREFIX, FILES))]
        raise NotFound("table", name, names)
    found = profile_at(
        place.workspace,
        name,
        state,
        against=against,
        columns=columns,
        label=known,
        declared=label is None,
        sample=sample,
        tell=tell,
    )
    if FILES + name not in paths:
        return found
    told = Note(level="info", text=f"what is in its files is another profile: bascule profile {FILES}{name}")
    replace: Any = msgspec.structs.replace
    listed: TableProfile = replace(found, notes=(*found.notes, told))
    return listed


def profile_at(
    workspace: Workspace,
    name: str,
    state: str,
    *,
    against: str | None = None,
    columns: Sequence[str] = (),
    label: str = "",
    declared: bool = True,
    sample: int = 0,
    related: bool = True,
    tell: Tell = lambda text: None,
) -> TableProfile:
    """Profile a table of a state, as `profile` does.

    Args:
        declared: whether the label is the project's, so that a table may not have it.
        related: also find out how other tables can be joined.
    """
    history, lake = workspace.history, Lake(workspace)
    commit = history.resolve(state)
    value = history.get(commit, PREFIX + name)
    types = {str(field.name) for field in lake.schema(value)}
    for column in columns:
        if column not in types:
            raise NotFound("column", column, types)
    contract = history.read(commit, f"contracts/{name}")
    private = Contract.parse(contract["text"], file=f"{name}.yaml").masked if contract else frozenset[str]()
    private |= hidden_columns(workspace, commit, name, value)
    with opened(workspace.temporary_folder) as connection:
        limit(connection)
        source = source_of(lake, value, name).of(connection, columns)
        others = (lambda c: _others(c, workspace, commit, name)) if related else None
        found = look(
            connection,
            source,
            sample=sample,
            private=private,
            key=value["key"],
            label=label,
            declared=declared,
            others=others,
            tell=tell,
        )
    replace: Any = msgspec.structs.replace
    if against is not None:
        tell(f"comparing with {against}")
        found = replace(found, change=_change(lake, workspace, against, name, value, columns, private))
    done: TableProfile = replace(found, at=state, commit=commit.id, bytes=int(value.get("bytes") or 0))
    return done


def source_of(lake: Lake, value: Object, name: str) -> Source:
    """Return a table's rows as a source, whose sample is the same whenever its state is."""
    positioned = scans.scan(lake.table(value, name), positions=True)
    return Source(name, lake.scan(value), int(value["rows"]), positioned, '"__file", "__row"', ("__file", "__row"))


def _others(connection: duckdb.DuckDBPyConnection, workspace: Workspace, commit: Commit, name: str) -> Iterable[Table]:
    lake = Lake(workspace)
    entries = [(path.removeprefix(PREFIX), value) for path, value in workspace.history.entries(commit, PREFIX)]
    for other, value in entries[:MOST_TABLES]:
        if other != name and 0 < value["rows"] <= MOST_OTHER_ROWS:
            found = relating.load_other(connection, other, lake.scan(value), value["key"])
            if found is not None:
                yield found


def _change(
    lake: Lake,
    workspace: Workspace,
    against: str,
    name: str,
    value: Object,
    columns: Sequence[str],
    private: Collection[str],
) -> Change:
    before = workspace.history.read(against, PREFIX + name)
    if before is None:
        raise InputError(
            f"The table {name} is not there at {against}, so there is nothing to compare with.",
            hint=f"See when it came: bascule log --path tables/{name}",
        )
    diff = lake.diff(before, value, limit=0)
    found = []
    for one in diff.values:
        if (columns and one.column not in columns) or one.column in private:
            continue
        sides = one.table if diff.whole else one.rows
        shift = sides.shift.value if sides.shift is not None else None
        if not one.changed and (shift or 0.0) < LEAST_SHIFT and sides.before.null_share == sides.after.null_share:
            continue
        found.append(
            ColumnChange(
                column=one.column,
                what="the whole table" if diff.whole else "the rows that differ",
                missing_before=sides.before.null_share,
                missing=sides.after.null_share,
                mean_before=sides.before.mean,
                mean=sides.after.mean,
                shift=shift,
            )
        )
    found.sort(key=lambda one: -(one.shift or 0.0))
    return Change(
        ref=against,
        rows_before=diff.rows_before,
        rows=diff.rows_after,
        added=diff.added,
        removed=diff.removed,
        changed=diff.changed,
        schema=tuple(column_text(one) for one in diff.columns),
        columns=tuple(found),
    )


def _project_label(place: Place) -> str:
    training = place.file.training
    return training.label if training is not None else ""
