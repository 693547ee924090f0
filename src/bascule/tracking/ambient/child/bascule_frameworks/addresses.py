"""Addresses of data: without secrets, and what their servers said of the content."""

from __future__ import annotations

import re
from collections import OrderedDict
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from bascule_frameworks.telling import allowed, emit
from bascule_frameworks.wrapping import Call, depth, wrap

MOST = 1000
_SECRET = re.compile(r"sig|token|key|secret|cred|passw|expires|auth", re.IGNORECASE)

_etags: OrderedDict[str, str] = OrderedDict()


def without_secrets(address: str) -> str:
    """Return an address without a password, and without a query that could be a permission."""
    parts = urlsplit(address)
    place = parts.netloc
    if "@" in place:
        user, _, host = place.rpartition("@")
        place = f"{user.partition(':')[0]}@{host}" if not _SECRET.search(user.partition(":")[0]) else host
    if place == parts.netloc and not parts.query:
        return address
    query = "" if _SECRET.search(parts.query) else parts.query
    return urlunsplit((parts.scheme, place, parts.path, query, ""))


def etag_of(address: str) -> str | None:
    """Return what a server said of an address's content when it was read in this process."""
    return _etags.get(without_secrets(address))


def wrap_urllib(module: ModuleType) -> None:
    """Look at what is read over HTTP with the standard library, as pandas does."""
    wrap("urllib", module, "urlopen", _opened, always=True)


def _opened(call: Call) -> None:
    asked: Any = call.get(0, "url")
    address = asked if isinstance(asked, str) else asked.full_url
    method = "GET" if isinstance(asked, str) else asked.get_method()
    if method != "GET" or call.get(1, "data") is not None or not address.startswith(("http:", "https:")):
        return
    address = without_secrets(address)
    headers = call.result.headers
    told = headers.get("ETag") or headers.get("Last-Modified")
    if told:
        _etags[address] = told
        if len(_etags) > MOST:
            _etags.popitem(last=False)
    if depth() <= 1 and allowed("addresses", MOST):
        emit({"kind": "table", "mode": "r", "api": "urlopen", "source": address, "source_type": "http", "etag": told})
