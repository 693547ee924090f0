"""Errors in MLflow's envelope. A user's mistake is never a 5xx: clients would repeat it for minutes."""

from __future__ import annotations

from bascule.errors import AlreadyExists, BasculeError, Busy, CheckFailed, Conflict, EnvironmentProblem, Held, NotFound

CODES: tuple[tuple[type[BasculeError], str, int], ...] = (
    (NotFound, "RESOURCE_DOES_NOT_EXIST", 404),
    (AlreadyExists, "RESOURCE_ALREADY_EXISTS", 400),
    (Conflict, "ABORTED", 409),
    (Held, "PERMISSION_DENIED", 403),
    (CheckFailed, "INVALID_PARAMETER_VALUE", 400),
    (Busy, "TEMPORARILY_UNAVAILABLE", 503),
    (EnvironmentProblem, "TEMPORARILY_UNAVAILABLE", 503),
    (BasculeError, "INVALID_PARAMETER_VALUE", 400),
)
BY_STATUS = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    405: "ENDPOINT_NOT_FOUND",
    413: "INVALID_PARAMETER_VALUE",
    501: "NOT_IMPLEMENTED",
}


def told(error: BasculeError) -> tuple[int, dict[str, str]]:
    """Return the status and the envelope for an error."""
    code, status = next((code, status) for kind, code, status in CODES if isinstance(error, kind))
    return status, envelope(code, error)


def envelope(code: str, error: BasculeError) -> dict[str, str]:
    """Return the envelope that says an error under a code."""
    return {"error_code": code, "message": f"{error.message} {error.hint}".strip()}


def refused(status: int, error: BasculeError) -> dict[str, str]:
    """Return the envelope for what the server itself refuses."""
    return envelope(BY_STATUS.get(status, "INTERNAL_ERROR"), error)
