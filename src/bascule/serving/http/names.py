"""Names of headers: which of them anyone here reads, and each as it was spelt before, so that it is looked at once."""

from __future__ import annotations

KEPT_HEADERS = frozenset(
    (
        b"accept",
        b"accept-encoding",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"inference-header-content-length",
        b"origin",
        b"traceparent",
        b"transfer-encoding",
        b"x-bascule-caller",
    )
)
SINGLE_HEADERS = frozenset((b"content-length", b"host", b"inference-header-content-length", b"origin", b"expect"))

KNOWN: dict[bytes, bytes] = {name: name for name in KEPT_HEADERS}  # as it was spelt: as we call it, or nothing
MOST = 512


def remember(name: bytes) -> bytes:
    """Return a header's name in lower case if anyone here reads it, else nothing."""
    lower = name.lower()
    found = lower if lower in KEPT_HEADERS else b""
    if len(KNOWN) < MOST:
        KNOWN[name] = found
    return found
