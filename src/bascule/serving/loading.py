"""Versions from the store into memory, each once, however many branches serve it."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from bascule.errors import BasculeError, InputError
from bascule.history import Workspace
from bascule.registry.bundles import packed
from bascule.serving.case import UNLOADABLE, Case
from bascule.serving.engines import load_recipe, read_recipe
from bascule.serving.graph import Graph, read_graph
from bascule.serving.incidents import Incidents
from bascule.serving.log.asked import Asked
from bascule.serving.model import LoadedModel, ReaderOf, load_model
from bascule.serving.pickled import PICKLED, PickledRuntime, consented, pickled_runtime
from bascule.serving.pickled.chosen import ChosenPickled
from bascule.serving.runtime import Runtime
from bascule.serving.service import Service
from bascule.serving.workers import Lane, Program, WorkerRuntime
from bascule.training import ModelBundle, unpack_model

_NOTHING = Service()
_Key = tuple[str, int, str, bytes, str]


class NotInMemory(Exception):
    """A version must be loaded first, which may take long."""


class Loader:
    """Loads versions and shares them. A version leaves the memory with the last deployment that holds it.

    Args:
        readers: gives for a branch what gives readers for a feature set's JSON, or None when features cannot be
            joined there.
        incidents: where it is noted what becomes of versions; nowhere when not given.
    """

    def __init__(self, ws: Workspace, readers: Callable[[str], ReaderOf], incidents: Incidents | None = None) -> None:
        self._incidents = incidents
        self._ws = ws
        self._readers = readers
        self._models: WeakValueDictionary[_Key, LoadedModel] = WeakValueDictionary()
        self._lock = threading.Lock()
        self._loading: dict[tuple[str, int, str, bytes], threading.Lock] = {}

    def load(
        self,
        name: str,
        version: int,
        artifact: str,
        runtime: Mapping[str, Any] | None = None,
        graph: Mapping[str, Any] | None = None,
        service: Service = _NOTHING,
        branch: str = "main",
    ) -> LoadedModel:
        """Return a version of a model. A graph is always run by workers: its code is the project's.

        Each version is loaded by one thread at a time; one that takes long holds no other one up.

        An engine that was chosen and cannot be loaded here is told on standard error; the version's own library answers
        instead, which is slower and as right.

        Args:
            artifact: the digest of its bundle.
            runtime: what was chosen to answer for it (`registry.runtimes`); its own library when not given.
            graph: the steps around it, as the registry holds them.
            service: how many workers there are, if any, and what they may take.
            branch: whose features it reads; versions that read none are shared by all branches.

        Raises:
            NotFound: the store does not have the artifact.
            InputError: the bundle cannot be used, or is one of pickles that nobody consented to.
            MissingExtra: the library of its format is not installed.
            EnvironmentProblem: no worker comes up.
        """
        steps, beside, how = self._asked(runtime, graph, service, branch)
        key = (name, version, artifact, how)
        with self._lock:
            loading = self._loading.setdefault(key, threading.Lock())
        try:
            with loading:
                found, workers = self._found(key, branch)
                if found is not None:
                    return found
                case = self._case(name, version, artifact)
                try:
                    found, of = self._load(key, branch, case, workers, runtime, steps, beside, service)
                except Exception as error:
                    case.note(UNLOADABLE, str(error) or type(error).__name__)
                    raise
                case.over(UNLOADABLE)
                self._models[*key, of] = found
            return found
        finally:
            with self._lock:
                self._loading.pop(key, None)

    def _load(
        self,
        key: tuple[str, int, str, bytes],
        branch: str,
        case: Case,
        workers: WorkerRuntime | None,
        runtime: Mapping[str, Any] | None,
        steps: Graph,
        beside: dict[str, Mapping[str, Any]],
        service: Service,
    ) -> tuple[LoadedModel, str]:
        """Return a version, and of which branch it is: that whose features it reads, or the empty text for any."""
        name, version, artifact, _ = key
        data = packed(self._ws, artifact)
        bundle = unpack_model(data)
        answering: Runtime | None = workers
        if bundle.format == PICKLED:
            answering = self._pickled(name, version, bundle, steps, runtime, case)
        elif _is_apart(steps, service) and workers is None:
            lane = Lane(self._program(name, version, data, steps, runtime, beside), service, case)
            answering = WorkerRuntime(lane)
            weakref.finalize(answering, lane.close)
        elif not _is_apart(steps, service):
            answering = self._chosen(f"{name}@{version}", bundle, runtime)
        found = load_model(name, version, bundle, self._readers(branch), answering, steps)
        found.case, found.asked = case, Asked(self._ws, name, bundle.signature)
        return found, "" if bundle.feature_set is None else branch

    def _case(self, name: str, version: int, artifact: str) -> Case:
        if self._incidents is None:
            return Case(name, version, artifact)
        return self._incidents.case(name, version, artifact)

    def known(
        self,
        name: str,
        version: int,
        artifact: str,
        runtime: Mapping[str, Any] | None = None,
        graph: Mapping[str, Any] | None = None,
        service: Service = _NOTHING,
        branch: str = "main",
    ) -> LoadedModel:
        """Return what `load` would, at once.

        Raises:
            NotInMemory: it must be loaded first.
        """
        found, _ = self._found((name, version, artifact, self._asked(runtime, graph, service, branch)[2]), branch)
        if found is None:
            raise NotInMemory
        return found

    def _asked(
        self, runtime: Mapping[str, Any] | None, graph: Mapping[str, Any] | None, service: Service, branch: str
    ) -> tuple[Graph, dict[str, Mapping[str, Any]], bytes]:
        """Return the steps around a version, what was chosen for their members, and what stands for how it is run."""
        steps = read_graph(graph)
        beside = self._members(steps, branch)
        apart = msgspec.structs.replace(service, cache=0) if _is_apart(steps, service) else None
        return (
            steps,
            beside,
            msgspec.json.encode([runtime or None, graph or None, apart, beside], order="deterministic"),
        )

    def _found(self, key: tuple[str, int, str, bytes], branch: str) -> tuple[LoadedModel | None, WorkerRuntime | None]:
        """Return a version that is in memory; else the workers of it that are there, and lack what is joined."""
        workers = None
        for of in ("", branch):
            found = self._models.get((*key, of))
            if found is not None and not found.unjoined:
                return found, None
            workers = workers or (found.workers if found is not None else None)
        return None, workers

    def ask_consents(self) -> None:
        """Look again whether consent to every pickle in memory holds; where it does not, nothing answers until it does.

        A catalog that is away changes nothing; whoever calls this tells it.
        """
        for model in list(self._models.values()):
            if not isinstance(model.runtime, PickledRuntime | ChosenPickled):
                continue
            for one in model.runtime.consents:
                holds = consented(self._ws, one.subject, one.digest)
                if holds != one.allowed:
                    one.allowed = holds

    def _pickled(
        self,
        name: str,
        version: int,
        bundle: ModelBundle,
        steps: Graph,
        runtime: Mapping[str, Any] | None,
        case: Case,
    ) -> Runtime:
        if steps:
            raise InputError(
                f"{name}@{version} is a pickle, which runs in a process of its own: no steps stand around it.",
                hint="Register the model without [model.steps], or in a format of its library.",
            )
        own = pickled_runtime(self._ws, f"models/{name}@{version}", bundle, case)
        chosen = self._chosen(f"{name}@{version}", bundle, runtime, own)
        if chosen is None:
            own.start()
        return chosen or own

    def _chosen(
        self, name: str, bundle: ModelBundle, runtime: Mapping[str, Any] | None, own: PickledRuntime | None = None
    ) -> Runtime | None:
        if not runtime:
            return None
        try:
            if own is not None:
                return ChosenPickled(own, runtime, bundle, self._ws.store.get)
            return load_recipe(read_recipe(runtime["recipe"]), bundle, self._ws.store.get)
        except (BasculeError, KeyError, OSError) as error:
            told = f"{error.message} {error.hint}".strip() if isinstance(error, BasculeError) else str(error)
            print(f"bascule: {name} is answered by its own library: {told}", file=sys.stderr, flush=True)
            return None

    def _members(self, graph: Graph, branch: str) -> dict[str, Mapping[str, Any]]:
        """Return what was chosen to answer for members of a graph, by their names there; others have their library."""
        if not graph.members:
            return {}
        head, found = self._ws.history.resolve(branch), {}
        for key, member in graph.members.items():
            model = self._ws.history.read(head, f"models/{member.model}") or {}
            chosen = model.get("runtimes", {}).get(str(member.version))
            if chosen:
                found[key] = chosen
        return found

    def _program(
        self,
        name: str,
        version: int,
        data: bytes,
        graph: Graph,
        runtime: Mapping[str, Any] | None,
        beside: Mapping[str, Mapping[str, Any]],
    ) -> Program:
        get = self._ws.store.get
        code = msgspec.msgpack.decode(get(graph.code), type=dict[str, bytes]) if graph.code else {}
        members = {key: get(member.artifact) for key, member in graph.members.items()}
        recipe: Mapping[str, Any] = {}
        if runtime and self._chosen(f"{name}@{version}", unpack_model(data), runtime) is not None:
            recipe = dict(runtime["recipe"])
        recipes: dict[str, Mapping[str, Any]] = {}
        for key, chosen in beside.items():
            member = graph.members[key]
            if self._chosen(f"{member.model}@{member.version}", unpack_model(members[key]), chosen) is not None:
                recipes[key] = dict(chosen["recipe"])
        stages = [stage for one in (recipe, *recipes.values()) if one for stage in read_recipe(one).stages]
        engines = {digest: get(digest) for digest in {stage.engine.artifact for stage in stages} - {""}}
        return Program(name, version, data, msgspec.to_builtins(graph), members, code, recipe, engines, recipes)


def _is_apart(steps: Graph, service: Service) -> bool:
    """Return whether workers run a version: steps always, and others when that is asked for."""
    return bool(steps) or service.workers > 0
