"""The same fixtures as the server's tests have."""

from tests.server.conftest import client, copy, filled, serve

__all__ = ["client", "copy", "filled", "serve"]
