"""Versions from the store into memory, each once, however many branches serve it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from bascule.errors import BasculeError
from bascule.history import Workspace
from bascule.serving.engines import load_recipe, read_recipe
from bascule.serving.model import LoadedModel, ReaderOf, load_model
from bascule.serving.runtime import Runtime
from bascule.training import ModelBundle, unpack_model


class Loader:
    """Loads versions and shares them. A version leaves the memory with the last deployment that holds it.

    Args:
        readers: gives for a branch what gives readers for a feature set's JSON, or None when features cannot be
            joined there.
    """

    def __init__(self, ws: Workspace, readers: Callable[[str], ReaderOf]) -> None:
        self._ws = ws
        self._readers = readers
        self._models: WeakValueDictionary[tuple[str, int, str, bytes, str], LoadedModel] = WeakValueDictionary()
        self._lock = threading.Lock()

    def load(
        self,
        name: str,
        version: int,
        artifact: str,
        runtime: Mapping[str, Any] | None = None,
        branch: str = "main",
    ) -> LoadedModel:
        """Return a version of a model.

        An engine that was chosen and cannot be loaded here is told on standard error; the version's own library answers
        instead, which is slower and as right.

        Args:
            artifact: the digest of its bundle.
            runtime: what was chosen to answer for it (`registry.runtimes`); its own library when not given.
            branch: whose features it reads; versions that read none are shared by all branches.

        Raises:
            NotFound: the store does not have the artifact.
            InputError: the bundle cannot be used.
            MissingExtra: the library of its format is not installed.
        """
        chosen = msgspec.json.encode(runtime, order="deterministic") if runtime else b""
        with self._lock:
            for of in ("", branch):
                found = self._models.get((name, version, artifact, chosen, of))
                if found is not None and not found.unjoined:
                    return found
            bundle = unpack_model(self._ws.store.get(artifact))
            engines = self._engines(f"{name}@{version}", bundle, runtime)
            found = load_model(name, version, bundle, self._readers(branch), engines)
            of = "" if bundle.feature_set is None else branch
            self._models[name, version, artifact, chosen, of] = found
        return found

    def _engines(self, name: str, bundle: ModelBundle, runtime: Mapping[str, Any] | None) -> Runtime | None:
        if not runtime:
            return None
        try:
            return load_recipe(read_recipe(runtime["recipe"]), bundle, self._ws.store.get)
        except (BasculeError, KeyError, OSError) as error:
            told = f"{error.message} {error.hint}".strip() if isinstance(error, BasculeError) else str(error)
            print(f"bascule: {name} is answered by its own library: {told}", file=sys.stderr, flush=True)
            return None
