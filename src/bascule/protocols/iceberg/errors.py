"""Errors as the specification has them: one envelope, with the names of Java's exceptions."""

from __future__ import annotations

from typing import Any

from bascule.errors import AlreadyExists, BasculeError, CheckFailed, Conflict, InputError
from bascule.lake.foreign import NamespaceNotEmpty, NoSuchNamespace, NoSuchTable, NoSuchView, Unknown
from bascule.lake.foreign.namespaces import Contradiction
from bascule.protocols.iceberg.messages import NoSuchRef
from bascule.seeing import Masked

# The first class that fits decides. A client deletes what it wrote for a commit when it reads 4xx, and repeats it when
# it reads 409: so anything that may have landed is 500, and nothing that cannot succeed is 409.
TYPES: tuple[tuple[type[BasculeError], int, str], ...] = (
    (NoSuchNamespace, 404, "NoSuchNamespaceException"),
    (NoSuchTable, 404, "NoSuchTableException"),
    (NoSuchView, 404, "NoSuchViewException"),
    (NoSuchRef, 404, "NotFoundException"),
    (NamespaceNotEmpty, 409, "NamespaceNotEmptyException"),
    (AlreadyExists, 409, "AlreadyExistsException"),
    (Contradiction, 422, "UnprocessableEntityException"),
    (Conflict, 409, "CommitFailedException"),
    (Masked, 403, "ForbiddenException"),
    (CheckFailed, 400, "BadRequestException"),
    (InputError, 400, "BadRequestException"),
    (Unknown, 500, "CommitStateUnknownException"),
)
BY_STATUS = {
    400: "BadRequestException",
    401: "NotAuthorizedException",
    403: "ForbiddenException",
    404: "NotFoundException",
    405: "UnsupportedOperationException",
    413: "BadRequestException",
}


def told(error: BasculeError) -> tuple[int, dict[str, Any]]:
    """Return the status and the body that say an error."""
    for kind, status, name in TYPES:
        if isinstance(error, kind):
            return status, envelope(error, status, name)
    return 500, envelope(error, 500)


def envelope(error: BasculeError, status: int, name: str = "") -> dict[str, Any]:
    """Return the body that says an error. Engines show the message and nothing else, so the hint is part of it."""
    text = f"{error.message}\n{error.hint}" if error.hint else error.message
    return {"error": {"message": text, "type": name or BY_STATUS.get(status, "InternalServerError"), "code": status}}
