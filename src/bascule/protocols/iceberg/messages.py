"""What comes in and what goes out: a request taken apart, an answer, and the bodies that the specification names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bascule.errors import BasculeError, InputError, NotFound
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.foreign import NoSuchNamespace, NoSuchTable, NoSuchView, State
from bascule.lake.foreign.landing import Author
from bascule.lake.foreign.names import Identifier, Namespace, checked, identifier
from bascule.project.admitting import admission

# Between the levels of a namespace in an address; a dot is understood too, because no level holds one.
SEPARATOR = "\x1f"
MESSAGE_HEADER = "x-bascule-message"
MESSAGE_LIMIT = 1000
SHOWN = 120

T = TypeVar("T")


class NoSuchRef(NotFound):
    """A prefix or a warehouse that is no branch, tag, commit or time."""

    def __init__(self, error: BasculeError) -> None:
        BasculeError.__init__(self, error.message, hint=error.hint)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    Attributes:
        who: the name of the person or program behind it.
        ref: what its prefix, or else its address, names.
        path: the parameters in its path.
        query: its query parameters, the last one of each name.
        headers: by name in lower case.
        body: as it came.
        folder: the project's, whose own checks hold protected branches; None when only a workspace is served.
    """

    workspace: Workspace
    who: str
    ref: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    folder: Path | None = None

    @property
    def lake(self) -> Lake:
        """The tables."""
        return Lake(self.workspace)

    @property
    def namespace(self) -> Namespace:
        """The namespace in the path; `NoSuchNamespace` for a name that none can have."""
        try:
            return levels(self.path["namespace"])
        except InputError as error:
            raise NoSuchNamespace(self.path["namespace"][:SHOWN]) from error

    @property
    def table(self) -> Identifier:
        """The table in the path; `NoSuchTable` for a name that none can have."""
        try:
            return self.new_table
        except InputError as error:
            raise NoSuchTable(Identifier((self.path["namespace"][:SHOWN],), self.path["table"][:SHOWN])) from error

    @property
    def new_table(self) -> Identifier:
        """The table in the path, which need not be there; `InputError` for a name that none can have."""
        return identifier(levels(self.path["namespace"]), self.path["table"])

    @property
    def view(self) -> Identifier:
        """The view in the path; `NoSuchView` for a name that none can have."""
        try:
            return identifier(levels(self.path["namespace"]), self.path["view"])
        except InputError as error:
            raise NoSuchView(Identifier((self.path["namespace"][:SHOWN],), self.path["view"][:SHOWN])) from error

    def state(self) -> State:
        """Return the state that the ref means.

        Raises:
            NoSuchRef: when there is none.
        """
        try:
            return State.of(self.workspace.history, self.ref)
        except NotFound as error:
            raise NoSuchRef(error) from error

    def author(self) -> Author:
        """Return on whose behalf a change lands, and by which engine."""
        engine = self.headers.get("x-client-version") or self.headers.get("user-agent", "")
        message = self.headers.get(MESSAGE_HEADER, "").strip()[:MESSAGE_LIMIT]
        meta = {"engine": engine[:200]} if engine else {}
        return Author(self.who, admission(self.workspace, self.ref, self.folder), message, meta)

    def read(self, kind: type[T]) -> T:
        """Return the body as a struct.

        Raises:
            InputError: saying what is wrong with it.
        """
        try:
            return msgspec.json.decode(self.body or b"{}", type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"The body cannot be used: {error}.", hint="It must be JSON as specified.") from error

    def flag(self, name: str) -> bool:
        """Return whether a query parameter says yes."""
        return self.query.get(name, "false").lower() == "true"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: plain data or finished JSON; None for no body."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


NOTHING = Answer(None, 204)


def levels(text: str) -> Namespace:
    """Return the namespace that a path or a parameter writes as one text."""
    return checked(text.replace(SEPARATOR, ".").split("."))


class Name(msgspec.Struct, frozen=True):
    """A table or a view, as bodies name it."""

    namespace: list[str]
    name: str

    def identifier(self) -> Identifier:
        """Return it as the lake knows it."""
        return identifier(self.namespace, self.name)


class NewNamespace(msgspec.Struct, frozen=True):
    """A namespace to make."""

    namespace: list[str]
    properties: dict[str, str] = {}


class PropertyUpdate(msgspec.Struct, frozen=True):
    """Properties of a namespace to set and to remove."""

    removals: list[str] = []
    updates: dict[str, str] = {}


class NewTable(msgspec.Struct, frozen=True, rename="kebab"):
    """A table to make, or with `stage-create` to describe only."""

    name: str
    schema: dict[str, Any]
    location: str | None = None
    partition_spec: dict[str, Any] | None = None
    write_order: dict[str, Any] | None = None
    stage_create: bool = False
    properties: dict[str, str] | None = None


class Registration(msgspec.Struct, frozen=True, rename="kebab"):
    """A table to make by its metadata document."""

    name: str
    metadata_location: str
    overwrite: bool = False


class TableCommit(msgspec.Struct, frozen=True):
    """What is asked of a table. The path names it too, where there is one."""

    requirements: list[dict[str, Any]]
    updates: list[dict[str, Any]]
    identifier: Name | None = None


class Transaction(msgspec.Struct, frozen=True, rename="kebab"):
    """What is asked of several tables at once."""

    table_changes: list[TableCommit]


class Rename(msgspec.Struct, frozen=True):
    """A table or a view that gets another name."""

    source: Name
    destination: Name


class NewView(msgspec.Struct, frozen=True, rename="kebab"):
    """A view to make."""

    name: str
    schema: dict[str, Any]
    view_version: dict[str, Any]
    location: str | None = None
    properties: dict[str, str] | None = None


class Report(msgspec.Struct, frozen=True, rename="kebab"):
    """What an engine says of a scan or a commit that it did. All of it is kept as it came."""

    report_type: str
    table_name: str = ""
    snapshot_id: int | None = None
