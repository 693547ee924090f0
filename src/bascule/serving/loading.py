"""Versions from the store into memory, each once, however many branches serve it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from bascule.history import Workspace
from bascule.serving.graph import Graph, read_graph
from bascule.serving.model import LoadedModel, ReaderOf, load_model
from bascule.serving.service import Service
from bascule.serving.workers import Lane, Program, WorkerRuntime
from bascule.training import unpack_model

_NOTHING = Service()
_Key = tuple[str, int, str, Service | None, str]


class Loader:
    """Loads versions and shares them. A version leaves the memory with the last deployment that holds it.

    Args:
        reader_of: gives a reader for a feature set's JSON, or None when features cannot be joined here.
    """

    def __init__(self, ws: Workspace, reader_of: ReaderOf) -> None:
        self._ws = ws
        self._reader_of = reader_of
        self._models: WeakValueDictionary[_Key, LoadedModel] = WeakValueDictionary()
        self._lock = threading.Lock()

    def load(
        self,
        name: str,
        version: int,
        artifact: str,
        graph: Mapping[str, Any] | None = None,
        service: Service = _NOTHING,
    ) -> LoadedModel:
        """Return a version of a model. A graph is always run by workers: its code is the project's.

        Args:
            artifact: the digest of its bundle.
            graph: the steps around it, as the registry holds them.
            service: how many workers there are, if any, and what they may take.

        Raises:
            NotFound: the store does not have the artifact.
            InputError: the bundle cannot be used.
            MissingExtra: the library of its format is not installed.
            EnvironmentProblem: no worker comes up.
        """
        steps = read_graph(graph)
        apart = bool(steps) or service.workers > 0
        key = (name, version, artifact, msgspec.structs.replace(service, cache=0) if apart else None, repr(graph))
        with self._lock:
            found = self._models.get(key)
            if found is None or found.unjoined:
                data = self._ws.store.get(artifact)
                workers = found.workers if found is not None else None
                if apart and workers is None:
                    lane = Lane(self._program(name, version, data, steps), service)
                    workers = WorkerRuntime(lane)
                    weakref.finalize(workers, lane.close)
                found = self._models[key] = load_model(
                    name, version, unpack_model(data), self._reader_of, workers, steps
                )
        return found

    def _program(self, name: str, version: int, data: bytes, graph: Graph) -> Program:
        get = self._ws.store.get
        code = msgspec.msgpack.decode(get(graph.code), type=dict[str, bytes]) if graph.code else {}
        members = {key: get(member.artifact) for key, member in graph.members.items()}
        return Program(name, version, data, msgspec.to_builtins(graph), members, code)
