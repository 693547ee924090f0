"""Versions from the store into memory, each once, however many branches serve it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from weakref import WeakValueDictionary

from bascule.history import Workspace
from bascule.serving.model import LoadedModel, ReaderOf, load_model
from bascule.training import unpack_model


class Loader:
    """Loads versions and shares them. A version leaves the memory with the last deployment that holds it.

    Args:
        readers: gives for a branch what gives readers for a feature set's JSON, or None when features cannot be
            joined there.
    """

    def __init__(self, ws: Workspace, readers: Callable[[str], ReaderOf]) -> None:
        self._ws = ws
        self._readers = readers
        self._models: WeakValueDictionary[tuple[str, int, str, str], LoadedModel] = WeakValueDictionary()
        self._lock = threading.Lock()

    def load(self, name: str, version: int, artifact: str, branch: str = "main") -> LoadedModel:
        """Return a version of a model.

        Args:
            artifact: the digest of its bundle.
            branch: whose features it reads; versions that read none are shared by all branches.

        Raises:
            NotFound: the store does not have the artifact.
            InputError: the bundle cannot be used.
            MissingExtra: the library of its format is not installed.
        """
        with self._lock:
            for of in ("", branch):
                found = self._models.get((name, version, artifact, of))
                if found is not None and not found.unjoined:
                    return found
            bundle = unpack_model(self._ws.store.get(artifact))
            found = load_model(name, version, bundle, self._readers(branch))
            of = "" if bundle.feature_set is None else branch
            self._models[name, version, artifact, of] = found
        return found
