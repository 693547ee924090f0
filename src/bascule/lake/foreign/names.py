"""Names of namespaces, tables and views as catalogs have them, and the paths of the history that they stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bascule.errors import InputError
from bascule.lake import objects

NAMESPACES = "namespaces/"
VIEWS = "views/"
DEFAULT = ("default",)
MOST_LEVELS = 5

_LEVEL = re.compile(r"^[A-Za-z_][\w-]{0,99}\Z", re.ASCII)

Namespace = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identifier:
    """A table or a view: its namespace, level by level, and its name."""

    namespace: Namespace
    name: str

    def __str__(self) -> str:
        return ".".join((*self.namespace, self.name))

    @property
    def local(self) -> str:
        """The name as Bascule writes it: a table of `default` has no namespace there."""
        return self.name if self.namespace == DEFAULT else str(self)

    @property
    def table_path(self) -> str:
        """Where the history keeps the table."""
        return objects.PREFIX + self.local

    @property
    def view_path(self) -> str:
        """Where the history keeps the view."""
        return VIEWS + self.local


def identifier(namespace: Sequence[str], name: str) -> Identifier:
    """Return the identifier of a table or a view that a client names.

    Raises:
        InputError: for a name that no table here can have.
    """
    found = Identifier(checked(namespace), name)
    if not _LEVEL.match(name):
        raise _refused(name, "a table or a view")
    return found


def checked(namespace: Sequence[str]) -> Namespace:
    """Return a namespace if there can be one of that name."""
    levels = tuple(namespace)
    for level in levels:
        if not isinstance(level, str) or not _LEVEL.match(level):
            raise _refused(str(level), "a namespace")
    if not 0 < len(levels) <= MOST_LEVELS:
        raise InputError(
            f"A namespace of {len(levels)} levels cannot be made.", hint=f"Give it one to {MOST_LEVELS} levels."
        )
    return levels


def of_path(path: str) -> Identifier:
    """Return what the path of a table or a view stands for."""
    levels = path.partition("/")[2].split(".")
    return Identifier(tuple(levels[:-1]) or DEFAULT, levels[-1])


def dotted(namespace: Namespace) -> str:
    """Return a namespace as one text."""
    return ".".join(namespace)


def _refused(name: str, what: str) -> InputError:
    return InputError(
        f"{name[:120]!r} cannot name {what} here.",
        hint="Use letters, digits, _ and -, not starting with a digit, at most 100 of them.",
    )
