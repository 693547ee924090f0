"""Feature vectors of a branch: which store, which features a service means now, and readers that are kept."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bascule.errors import EnvironmentProblem, InputError, NotFound
from bascule.features import FeatureSet, OnlineReader, open_online
from bascule.features.online import OnlineStore
from bascule.features.online.vectors import VectorReader, holds, kept_set
from bascule.history import Workspace
from bascule.serving.log.vectors import SAMPLE

MAIN = "main"
FRESH_S = 1.0  # how long a reader goes on before it looks whether the definitions have changed
HELD = "materialised feature view"  # as the store itself calls what it lacks
KEPT = 256
PATIENCE_S = 2.0  # how long a request waits for an answer of a far store
_STORE_HINT = "Look at the server of the online store; requests that bring the features themselves are answered."


class FeatureServer:
    """Readers by what was asked for. It may be used from several threads.

    A branch's features are read as the branch has them; one that never materialised any reads those of `main`.
    """

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._readers: dict[tuple[str, tuple[str, ...], bool], tuple[float, VectorReader]] = {}
        self._lock = threading.Lock()

    @property
    def far(self) -> bool:
        """Whether a read waits for a server."""
        return bool(self._ws.settings.online)

    def known(self, branch: str, features: Sequence[str], full_names: bool) -> VectorReader | None:
        """Return a reader that was asked for within the last second, at once."""
        found = self._readers.get((branch, tuple(features), full_names))
        return found[1] if found is not None and time.monotonic() - found[0] < FRESH_S else None

    def reader(self, branch: str, features: Sequence[str], full_names: bool = False) -> VectorReader:
        """Return a reader of features and services (`service:name`, or a name that is no view).

        Raises:
            NotFound: there is no such branch, service, view or feature.
            InputError: two features would have one name.
        """
        key = (branch, tuple(features), full_names)
        with self._lock:
            found = self.known(*key)
            if found is None:
                services = self._services(branch)
                named = self._named(features, services)
                try:
                    store = self._store(branch, named)
                    found = VectorReader(store, named, full_names, kept_set(store), services)
                except NotFound as missing:
                    raise self._told(branch, missing) from None
                found.sample = self.sample(branch, features)
                if len(self._readers) >= KEPT:
                    self._readers.clear()
                self._readers[key] = (time.monotonic(), found)
        return found

    def _told(self, branch: str, missing: NotFound) -> NotFound:
        """Say of a view that is defined and that the store does not hold who fills it."""
        view = self._ws.history.read(branch, f"features/{missing.name}") if missing.kind == HELD else None
        if view is None:
            return missing
        return NotFound(
            HELD, missing.name, hint=f"It is defined, and not filled yet. {_filled_by([view.get('hop_us')])}"
        )

    def sample(self, branch: str, features: Sequence[str]) -> float:
        """Return which share of the keys is logged: what the service says that was asked for, else a tenth."""
        if len(features) == 1 and features[0].startswith("service:"):
            name = features[0].removeprefix("service:").partition("@")[0]
            return float((self._ws.history.read(branch, f"services/{name}") or {}).get("sample", SAMPLE))
        return SAMPLE

    def _store(self, branch: str, named: Sequence[str]) -> OnlineStore:
        if not self._ws.has_online:
            view = re.split(r"[:.]|__", named[0])[0] if named else "any"
            raise NotFound(HELD, view, hint="Run: bascule features materialise")
        store = _opened(self._ws, self._ws.namespace(branch))
        if branch != MAIN:
            with store.snapshot() as snapshot:
                if not snapshot.views():
                    return _opened(self._ws, MAIN)
        return store

    def _services(self, branch: str) -> dict[str, Any]:
        entries = self._ws.history.entries(branch, "services/")
        return {path.removeprefix("services/"): service for path, service in entries}

    def _named(self, features: Sequence[str], services: Mapping[str, Any]) -> list[str]:
        found: list[str] = []
        for asked in features:
            name = asked.removeprefix("service:").partition("@")[0]
            if name == asked and any(mark in asked for mark in (":", ".", "__")):
                found.append(asked)
            elif name in services:
                self._check_version(asked, services[name])
                found += services[name]["features"]
            elif asked.startswith("service:"):
                raise NotFound("feature service", name, list(services))
            else:
                found.append(asked)
        return found

    def _check_version(self, asked: str, service: Mapping[str, Any]) -> None:
        version = asked.partition("@")[2]
        if version and version != str(service["version"]):
            raise InputError(
                f"Feature service {service['name']!r} has version {service['version']}, not {version}.",
                hint="Ask the branch or tag that has it, or leave the version out.",
            )


def _opened(ws: Workspace, namespace: str) -> OnlineStore:
    return open_online(ws.online, namespace, seconds=PATIENCE_S)


class BranchReader:
    """Reads a model's features on a branch: the branch's own once it has them, till then those of `main`.

    Features that `main` does not have either are read from the first branch that has them: a preview of new ones.

    While a far store does not answer, one request a second waits for it, and all others are told so at once: they would
    take the threads of requests that need no store.

    Raises:
        NotFound: none has them.
    """

    def __init__(self, ws: Workspace, branch: str, feature_set: Mapping[str, Any]) -> None:
        self.feature_set = msgspec.convert(dict(feature_set), FeatureSet)
        self.far = bool(ws.settings.online)
        others = [ref.name for ref in ws.history.branches()]
        self._stores = [_opened(ws, ws.namespace(name)) for name in dict.fromkeys((branch, MAIN, *others))]
        self._place, self._looked = len(self._stores), 0.0
        self._asking, self._alive = threading.Lock(), 0.0
        self._trying = threading.Lock()
        self._silent: tuple[float, EnvironmentProblem] | None = None  # since when the store did not answer, and how
        self._reader = self._found()

    def read(self, rows: Sequence[Mapping[str, Any]], at: Sequence[int]) -> list[list[Any]]:
        """Return for each row the features' values; see `OnlineReader.read`.

        Raises:
            EnvironmentProblem: the store does not answer.
        """
        silent = self._silent
        if silent is None:
            return self._read(rows, at)
        since, error = silent
        if time.monotonic() - since < FRESH_S or not self._trying.acquire(blocking=False):
            raise EnvironmentProblem(error.message, hint=_STORE_HINT)
        try:
            return self._read(rows, at)
        finally:
            self._trying.release()

    def _read(self, rows: Sequence[Mapping[str, Any]], at: Sequence[int]) -> list[list[Any]]:
        try:
            found = self._read_there(rows, at)
        except EnvironmentProblem as error:
            self._silent = (time.monotonic(), error) if self.far else None
            raise
        self._silent = None
        return found

    def _read_there(self, rows: Sequence[Mapping[str, Any]], at: Sequence[int]) -> list[list[Any]]:
        if self._place and time.monotonic() - self._looked > FRESH_S:
            self._reader = self._found()
        return self._reader.read(rows, at)

    def demand_alive(self) -> None:
        """Ask a far store for what it holds, once a second at most; who asks meanwhile gets that answer.

        Raises:
            EnvironmentProblem: it does not answer, or has not within a second.
        """
        if not self.far:
            return
        if not self._asking.acquire(timeout=FRESH_S):
            raise EnvironmentProblem("The online store has not answered for a second.", hint=_STORE_HINT)
        try:
            if time.monotonic() - self._alive > FRESH_S:
                with self._stores[self._place].snapshot() as snapshot:
                    snapshot.views()
                self._alive = time.monotonic()
        finally:
            self._asking.release()

    def _found(self) -> OnlineReader:
        self._looked = time.monotonic()
        for place, store in enumerate(self._stores[: self._place]):
            if holds(store, self.feature_set):
                self._reader, self._place = OnlineReader(self.feature_set, store), place
                return self._reader
        if self._place == len(self._stores):
            names = [view.name for view in self.feature_set.views]
            raise NotFound(HELD, ", ".join(names), hint=_filled_by([view.hop_us for view in self.feature_set.views]))
        return self._reader


def _filled_by(hops: Sequence[int | None]) -> str:
    """What fills views, some of which may be of streams: these have a hop, and their consumer keeps them."""
    run = ["bascule features materialise"] if None in hops else []
    stream = ["bascule stream run, or bascule up, for views of streams"] if any(hops) else []
    return f"Run: {'; and '.join(run + stream)}"
