"""Versions from the store into memory, each once, however many branches serve it."""

from __future__ import annotations

import threading
from weakref import WeakValueDictionary

from bascule.history import Workspace
from bascule.serving.model import LoadedModel, ReaderOf, load_model
from bascule.serving.pickled import PICKLED, PickledRuntime, consented, pickled_runtime
from bascule.training import unpack_model


class Loader:
    """Loads versions and shares them. A version leaves the memory with the last deployment that holds it.

    Args:
        reader_of: gives a reader for a feature set's JSON, or None when features cannot be joined here.
    """

    def __init__(self, ws: Workspace, reader_of: ReaderOf) -> None:
        self._ws = ws
        self._reader_of = reader_of
        self._models: WeakValueDictionary[tuple[str, int, str], LoadedModel] = WeakValueDictionary()
        self._lock = threading.Lock()

    def load(self, name: str, version: int, artifact: str) -> LoadedModel:
        """Return a version of a model.

        Args:
            artifact: the digest of its bundle.

        Raises:
            NotFound: the store does not have the artifact.
            InputError: the bundle cannot be used, or is one of pickles that nobody consented to.
            MissingExtra: the library of its format is not installed.
        """
        key = (name, version, artifact)
        with self._lock:
            found = self._models.get(key)
            if found is None or found.unjoined:
                bundle = unpack_model(self._ws.store.get(artifact))
                runtime = None
                if bundle.format == PICKLED:
                    runtime = pickled_runtime(self._ws, f"models/{name}@{version}", bundle)
                found = self._models[key] = load_model(name, version, bundle, self._reader_of, runtime)
        return found

    def ask_consents(self) -> None:
        """Look again whether consent to every pickle in memory holds; where it does not, nothing answers until it does.

        A catalog that is away changes nothing; whoever calls this tells it.
        """
        for model in list(self._models.values()):
            runtime = model.runtime
            if isinstance(runtime, PickledRuntime):
                holds = consented(self._ws, runtime.subject, runtime.digest)
                if holds != runtime.allowed:
                    runtime.allowed = holds
