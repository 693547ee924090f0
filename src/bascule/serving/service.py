"""How a deployment is served: by how many workers, how long, how much may wait, and what is remembered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Service(msgspec.Struct, frozen=True):
    """What `[deployment] service` says, in seconds and bytes.

    Attributes:
        workers: processes of its own for each version; 0 scores in the serving process.
        timeout: seconds that an answer may take; a worker that takes longer is replaced. 0: as long as the server lets
            any request take.
        queue: requests that may wait for a worker; more are 429.
        batch: rows that are scored together at most, when they wait anyway.
        memory: bytes that a worker may take; one that grows beyond is replaced. 0: any.
        cache: answers that are remembered; 0 for none.
    """

    workers: int = 0
    timeout: float = 0.0
    queue: int = 64
    batch: int = 64
    memory: int = 0
    cache: int = 0


def read_service(deployment: Mapping[str, Any]) -> Service:
    """Return how a deployment is served, as its object says."""
    return msgspec.convert(dict(deployment.get("service") or {}), Service)
