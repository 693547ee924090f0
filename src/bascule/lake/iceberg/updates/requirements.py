"""Requirements of a commit: what its client saw, and what must still be so. The messages are Java's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bascule.errors import Conflict, InputError
from bascule.lake.iceberg.metadata import Metadata

Requirement = Mapping[str, Any]


class RequirementFailed(Conflict):
    """The table is not as the client saw it. It should look again, and repeat."""


def demand(metadata: Metadata | None, requirement: Requirement) -> None:
    """Raise `RequirementFailed` when a requirement does not hold of a table (None: there is none).

    Raises:
        InputError: for a requirement that is not known, or lacks what it compares with.
    """
    kind = requirement.get("type")
    if kind == "assert-create":
        if metadata is not None:
            raise failed("table already exists")
        return
    check = REQUIREMENTS.get(str(kind))
    if check is None:
        known = ", ".join(["assert-create", *REQUIREMENTS])
        raise InputError(f"There is no requirement of the type {kind!r}.", hint=f"Known: {known}.")
    if metadata is None:
        raise failed("table does not exist")
    try:
        check(metadata, requirement)
    except KeyError as missing:
        raise InputError(f"The requirement {kind} lacks the key {missing}.", hint="Send it.") from missing
    except TypeError as error:
        raise InputError(f"The requirement {kind} cannot be compared: {error}.") from error


def _uuid(metadata: Metadata, requirement: Requirement) -> None:
    found, wanted = str(metadata["table-uuid"]), str(requirement["uuid"])
    if found.lower() != wanted.lower():
        raise failed(f"UUID does not match: expected {found} != {wanted}")


def _ref(metadata: Metadata, requirement: Requirement) -> None:
    name, wanted = requirement["ref"], requirement.get("snapshot-id")
    ref = metadata.get("refs", {}).get(name)
    if ref is None:
        if wanted is not None:
            raise failed(f"branch or tag {name} is missing, expected {wanted}")
    elif wanted is None:
        raise failed(f"{ref['type']} {name} was created concurrently")
    elif wanted != ref["snapshot-id"]:
        raise failed(f"{ref['type']} {name} has changed: expected id {wanted} != {ref['snapshot-id']}")


def _number(what: str, key: str, field: str) -> Callable[[Metadata, Requirement], None]:
    def check(metadata: Metadata, requirement: Requirement) -> None:
        wanted, found = requirement[key], metadata.get(field)
        if wanted != found:
            raise failed(f"{what} changed: expected id {wanted} != {found}")

    return check


REQUIREMENTS: Mapping[str, Callable[[Metadata, Requirement], None]] = {
    "assert-table-uuid": _uuid,
    "assert-ref-snapshot-id": _ref,
    "assert-last-assigned-field-id": _number("last assigned field id", "last-assigned-field-id", "last-column-id"),
    "assert-current-schema-id": _number("current schema", "current-schema-id", "current-schema-id"),
    "assert-last-assigned-partition-id": _number(
        "last assigned partition id", "last-assigned-partition-id", "last-partition-id"
    ),
    "assert-default-spec-id": _number("default partition spec", "default-spec-id", "default-spec-id"),
    "assert-default-sort-order-id": _number("default sort order", "default-sort-order-id", "default-sort-order-id"),
}


def failed(what: str) -> RequirementFailed:
    """Return the error for a requirement that does not hold."""
    return RequirementFailed(f"Requirement failed: {what}", hint="Load the table again, then repeat.")
