"""Who a request says it came to. A server on loopback answers only to loopback's names.

Otherwise any web page could reach it: by a name of its own that it lets resolve to 127.0.0.1 (DNS rebinding; the `host`
header tells), or by posting to it from the browser (the `origin` header tells).
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from bascule.serving.http.message import HttpProblem

_REMEMBERED = 256


class HostCheck:
    """Checks `host` and `origin`. What was found right is remembered, so the common case is one look-up.

    Attributes:
        right: values that were found right.
    """

    def __init__(self) -> None:
        self.right: set[bytes | None] = set()

    def check(self, host: bytes | None, origin: bytes | None) -> None:
        """Pass, or raise `HttpProblem` 403."""
        if host is not None and host not in self.right:
            self._look(host, b"//" + host, "host")
        if origin is not None and origin not in self.right:
            self._look(origin, origin, "origin")

    def _look(self, value: bytes, url: bytes, header: str) -> None:
        if not _is_loopback(url):
            shown = value[:80].decode("latin-1")
            raise HttpProblem(
                403,
                f"This server listens on loopback and was asked with the {header} {shown!r}.",
                hint="Ask it as localhost or 127.0.0.1, and not from a web page of another site.",
            )
        if len(self.right) < _REMEMBERED:
            self.right.add(value)


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address means this machine only."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_loopback(url: bytes) -> bool:
    try:
        parts = urlsplit(url.decode("ascii"))
        host = parts.hostname
        _ = parts.port  # a port that is no number raises
    except (ValueError, UnicodeDecodeError):
        return False
    return host is not None and parts.username is None and not parts.path.strip("/") and is_loopback(host)
