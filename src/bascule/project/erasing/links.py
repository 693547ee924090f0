"""What `[forget.link.*]` says: where else a table's subjects are, in other tables and in files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.lake.forgetting.looking import values_of
from bascule.lake.objects import PREFIX
from bascule.project.sections import ForgetLink

_PLACE = re.compile(r"\{([^{}]+)\}")
MOST = 10_000


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject in one table: column to value."""

    table: str
    key: dict[str, str]


def followed(
    workspace: Workspace, subject: Subject, links: Mapping[str, ForgetLink]
) -> tuple[list[Subject], dict[str, list[str]]]:
    """Follow the links from a subject, through tables that are linked themselves.

    Returns the subjects, those furthest away first and the one that was asked for last, so that a link can be followed
    again when it was cut short; and the patterns of files, by set.

    Raises:
        NotFound: a link names a table or a column that is not there.
        InputError: a link leads to more than 10,000 subjects.
    """
    _refuse_unknown(workspace, subject.table, links)
    found: list[Subject] = []
    seen: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    patterns: dict[str, list[str]] = {}

    def visit(one: Subject) -> None:
        mark = (one.table, tuple(sorted(one.key.items())))
        if mark in seen:
            return
        if len(seen) >= MOST:
            raise InputError(
                f"The links from {subject.table} lead to more than {MOST:,} subjects.",
                hint="Look at [forget.link.*] in bascule.toml: a link should name one subject by its own columns.",
            )
        seen.add(mark)
        for link in links.values():
            if link.subject != one.table:
                continue
            if link.files is not None:
                patterns.setdefault(link.files, []).extend(_patterns(workspace, one, link.path or ""))
            if link.table is not None:
                for key in _keys(workspace, one, link.columns):
                    visit(Subject(link.table, key))
        found.append(one)

    visit(subject)
    return found, patterns


def _refuse_unknown(workspace: Workspace, asked: str, links: Mapping[str, ForgetLink]) -> None:
    """Refuse a link from a table that no branch has: it would be passed over in silence, and what it means stay."""
    named = {link.subject for link in links.values()} - {asked, *(link.table for link in links.values())}
    known: dict[str, None] = {}
    for branch in workspace.history.branches() if named else ():
        known.update(dict.fromkeys(path.partition("/")[2] for path in workspace.history.digests(branch.head, PREFIX)))
    for name in sorted(named - set(known)):
        raise NotFound("table", name, list(known), where="what [forget.link.*] says")


def _values(workspace: Workspace, subject: Subject, columns: Sequence[str]) -> list[tuple[str, ...]]:
    known = {column.casefold(): value for column, value in subject.key.items()}
    options = [
        [known[column.casefold()]]
        if column.casefold() in known
        else sorted(values_of(workspace, subject.table, subject.key, column))
        for column in columns
    ]
    return list(product(*options))


def _keys(workspace: Workspace, subject: Subject, columns: Mapping[str, str]) -> list[dict[str, str]]:
    return [dict(zip(columns, values, strict=True)) for values in _values(workspace, subject, list(columns.values()))]


def _patterns(workspace: Workspace, subject: Subject, path: str) -> list[str]:
    names = list(dict.fromkeys(_PLACE.findall(path)))
    found = []
    for values in _values(workspace, subject, names):
        given = dict(zip(names, (_literal(value) for value in values), strict=True))
        found.append(_PLACE.sub(lambda match, given=given: given[match[1]], path))  # type: ignore[misc]
    return found


def _literal(value: str) -> str:
    """Write a value so that a pattern means it and nothing else."""
    if not value or "/" in value or value in (".", ".."):
        raise InputError(
            f"A value of the subject cannot be a part of a path ({'empty' if not value else 'it has / or dots'}).",
            hint="Link the files by a column whose values name folders or files.",
        )
    return re.sub(r"([*?\[])", r"[\1]", value)
