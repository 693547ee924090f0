"""Whether anybody has written to a catalog, asked at a fraction of what a query costs."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress

from bascule.catalog.database import Catalog


class Changes:
    """A look at a catalog that many looks may be had at a second. It is for one thread at a time.

    SQLite counts the commits that a connection did not make itself (`PRAGMA data_version`), so a connection that makes
    none sees all of them, whoever made them. PostgreSQL tells no such thing, and each look finds a change.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._url = catalog.engine.url
        self._held: sqlite3.Connection | None = None

    def mark(self) -> object:
        """Return what equals the last look's as long as nothing has been written since."""
        if self._url.get_backend_name() != "sqlite" or not self._url.database:
            return object()
        try:
            if self._held is None:
                self._held = sqlite3.connect(self._url.database, timeout=1, check_same_thread=False)
            with closing(self._held.execute("PRAGMA data_version")) as found:
                return found.fetchone()
        except sqlite3.Error:  # whoever reads the catalog next is told what is wrong with it
            self.close()
            return object()

    def close(self) -> None:
        """Give the connection back."""
        if self._held is not None:
            with suppress(sqlite3.Error):
                self._held.close()
            self._held = None
