"""The write side of tracking for one workspace: what a server shares among all its requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from bascule.catalog.grouping import GroupCommit
from bascule.history import Workspace
from bascule.tracking.subjects import Names

T = TypeVar("T")


class Tracker:
    """A workspace's tracking. Any number of threads may use one; writes that come at once share a wait for the disk.

    Attributes:
        workspace: whose.
        names: the numbers of names.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.names = Names(workspace.catalog)
        self._group = GroupCommit(workspace.catalog)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do a piece of work in a transaction; it is durable when this returns."""
        return self._group.run(work)
