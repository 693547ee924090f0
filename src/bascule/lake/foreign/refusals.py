"""What a catalog says no with. The first sentence is Java's, because clients and their tests look for it."""

from __future__ import annotations

from bascule.errors import AlreadyExists, BasculeError, InputError, NotFound
from bascule.lake.foreign.names import Identifier


class NoSuchNamespace(NotFound):
    """A namespace that is not there."""

    def __init__(self, name: str) -> None:
        BasculeError.__init__(self, f"Namespace does not exist: {name}", hint="Create it first.")


class NoSuchTable(NotFound):
    """A table that is not there."""

    def __init__(self, identifier: Identifier, hint: str = "") -> None:
        BasculeError.__init__(self, f"Table does not exist: {identifier}", hint=hint)


class NoSuchView(NotFound):
    """A view that is not there."""

    def __init__(self, identifier: Identifier) -> None:
        BasculeError.__init__(self, f"View does not exist: {identifier}")


class NamespaceExists(AlreadyExists):
    """A namespace that is there."""

    def __init__(self, name: str) -> None:
        BasculeError.__init__(self, f"Namespace already exists: {name}")


class NamespaceNotEmpty(InputError):
    """A namespace that is to be dropped, and still has something in it."""

    def __init__(self, name: str, held: str) -> None:
        super().__init__(f"Namespace {name} is not empty", hint=f"It holds {held}. Drop that first.")


class TableExists(AlreadyExists):
    """A table that is to be made, and is there."""

    def __init__(self, identifier: Identifier, kind: str = "Table") -> None:
        BasculeError.__init__(self, f"{kind} already exists: {identifier}")


class ViewExists(AlreadyExists):
    """A view that is to be made, and is there."""

    def __init__(self, identifier: Identifier, kind: str = "View") -> None:
        BasculeError.__init__(self, f"{kind} already exists: {identifier}")


class ReadOnly(InputError):
    """A write at a state that nobody can add to: a tag, a commit, a time."""

    def __init__(self, ref: str) -> None:
        super().__init__(
            f"{ref!r} is one state for good and takes no writes.",
            hint="Make a branch at it, and write there: bascule branch NAME --at " + ref,
        )
