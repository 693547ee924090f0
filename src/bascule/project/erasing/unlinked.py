"""Rows that name a subject and stay: no link leads to their table, or another's row tells of the subject."""

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb

from bascule.errors import InputError
from bascule.history import Workspace
from bascule.lake import Forgotten, Lake
from bascule.lake.engine import opened
from bascule.lake.iceberg.types import literal, quoted
from bascule.lake.objects import PREFIX
from bascule.project.erasing.links import Subject
from bascule.project.erasing.values import distinctive

ROWS = "rows of "


def unlinked(workspace: Workspace, subjects: Sequence[Subject]) -> list[Forgotten]:
    """Count rows of tables, as branches and tags have them, that hold a distinctive value and no forgetting removes.

    What cannot be read here is passed over. A state is looked at once, under the first name that has it.
    """
    values = sorted({value for one in subjects for value in one.key.values() if distinctive(value)})
    if not values:
        return []
    found, seen = [], set()
    lake = Lake(workspace)
    with opened(workspace.temporary_folder) as connection:
        for ref in (*workspace.history.branches(), *workspace.history.tags()):
            for path, digest in workspace.history.digests(ref.head, PREFIX).items():
                if digest in seen:
                    continue
                seen.add(digest)
                name = path.removeprefix(PREFIX)
                own = [one.key for one in subjects if one.table == name]
                table = workspace.history.read(ref.head, path)
                try:
                    rows = _rows(connection, lake.scan(table), values, own) if table is not None else 0
                except (duckdb.Error, InputError):
                    continue
                found += [Forgotten(f"{ROWS}{name}@{ref.name}", rows)] if rows else []
    return found


def _rows(
    connection: duckdb.DuckDBPyConnection, relation: str, values: Sequence[str], own: Sequence[dict[str, str]]
) -> int:
    described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    texts = [f"CAST({quoted(name)} AS VARCHAR)" for name, kind, *_ in described if "VARCHAR" in kind]
    names = {str(name).casefold(): quoted(name) for name, *_ in described}
    said = " OR ".join(_tells(text, value) for text in texts for value in values)
    if not said:
        return 0
    stays = said
    for key in own:  # these go
        cells = {names[column.casefold()]: value for column, value in key.items() if column.casefold() in names}
        terms = [f"CAST({cell} AS VARCHAR) = {literal(value)}" for cell, value in cells.items()]
        stays = f"({stays}) AND ({' AND '.join(terms)}) IS NOT TRUE" if len(terms) == len(key) else stays
    return int(connection.execute(f"SELECT count(*) FROM {relation} WHERE {stays}").fetchall()[0][0])


def _tells(text: str, value: str) -> str:
    word = rf"(?:^|[^\pL\pN]){re.escape(value)}(?:$|[^\pL\pN])"
    return f"(contains({text}, {literal(value)}) AND regexp_matches({text}, {literal(word)}))"
