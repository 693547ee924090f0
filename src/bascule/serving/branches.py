"""What branches serve at a moment, what is being loaded for them, and where their heads were last seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from bascule.errors import NotFound
from bascule.serving.deployment import ServedDeployment


@dataclass(frozen=True)
class BranchState:
    """What one branch serves.

    Attributes:
        head: the commit that was last looked at.
        retry: when to look again though the head is the same, because something could not be loaded or joined; 0 for
            never.
    """

    branch: str
    head: str
    deployments: Mapping[str, ServedDeployment]
    retry: float = 0.0

    def deployment(self, name: str) -> ServedDeployment:
        """Return a deployment by name, or raise `NotFound` with the nearest one."""
        found = self.deployments.get(name)
        if found is None:
            raise NotFound("deployment", name, list(self.deployments))
        return found


@dataclass
class Watched:
    """A branch that is served, and when it was last asked for."""

    state: BranchState
    used: float = field(default_factory=time.monotonic)


@dataclass
class Coming:
    """A deployment that is being made ready.

    Attributes:
        of: digests of the deployment and of its model.
        versions: the versions it asks for.
        thread: what does it.
        found: what it became.
    """

    of: tuple[str | None, str | None]
    versions: frozenset[int] = frozenset()
    thread: threading.Thread | None = None
    found: ServedDeployment | None = None


@dataclass(frozen=True)
class Looked:
    """The heads of branches as a query told them, and the catalog's mark from before it."""

    mark: object = None
    branches: list[str] = field(default_factory=list)
    at: float = 0.0
    heads: dict[str, str] = field(default_factory=dict)
