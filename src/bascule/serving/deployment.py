"""A deployment in memory: its split, its versions, and what each record of it has in common."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bascule.errors import BasculeError, EnvironmentProblem, NotFound
from bascule.history import Commit, Workspace
from bascule.naming import model_path
from bascule.registry.versions import served
from bascule.serving.joining import FarReader
from bascule.serving.log.predictions import Context
from bascule.serving.log.redaction import Redaction
from bascule.serving.model import LoadedModel
from bascule.serving.remembering import Remembered
from bascule.serving.rows import Rows
from bascule.serving.service import Service, read_service
from bascule.serving.split import Split
from bascule.serving.wanted import wanted
from bascule.training import Signature, read_signature

if TYPE_CHECKING:
    from bascule.serving.promises import Promises

LoadVersion = Callable[[str, int, str, Mapping[str, Any] | None, Mapping[str, Any] | None, Service], LoadedModel]
_numbers = itertools.count(1)
UNLOGGED = "unlogged"


@dataclass(frozen=True)
class ServedDeployment:
    """What answers under one name. It is made for one state of the branch and never changes but for `extra`.

    Attributes:
        object: the deployment, as the history holds it.
        registered: version to its entry in the model's object, all that may be asked for by number.
        runtimes: version to what was chosen to answer for it; its own library for those that are not there.
        models: the versions that are ready: those with traffic, those of the rollout, and what served before.
        problem: why the branch's present state could not be loaded; what served before answers then, or nothing.
        extra: versions that were loaded because somebody asked for them by number, newest last.
        promises: version to what its requests are held to; empty when they are only logged.
        redaction: what the log does not keep; None when it keeps all.
        explained: the share of requests whose explanation is logged though nobody asked.
        service: workers, limits and times.
        remembered: answers that were given before; None when none is remembered.
        patient: an answer may have to wait for others, or may be there already.
        loading: nothing of it is in memory yet, and `problem` says so.
        lenient: what the log cannot keep is answered all the same, and counted.
        shortcuts: what a protocol made of it to answer faster, by the protocol's own name for that.
    """

    branch: str
    commit_id: str
    name: str
    object: Mapping[str, Any]
    registered: Mapping[str, Mapping[str, Any]]
    models: Mapping[int, LoadedModel]
    split: Split
    shadows: Mapping[int, int]
    contexts: dict[int, Context]
    problem: str = ""
    extra: dict[int, LoadedModel] = field(default_factory=dict)
    promises: Mapping[int, Promises] = field(default_factory=dict)
    redaction: Redaction | None = None
    explained: float = 0.0
    runtimes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    service: Service = field(default_factory=Service)
    remembered: Remembered | None = None
    patient: bool = False
    lenient: bool = False
    loading: bool = False
    shortcuts: dict[str, Any] = field(default_factory=dict)

    @property
    def model_name(self) -> str:
        """The name of the registered model."""
        return str(self.object["model"])

    def model(self, version: int) -> LoadedModel | None:
        """Return a version if it is ready."""
        return self.models.get(version) or self.extra.get(version)

    def may_answer(self, version: int | None = None) -> bool:
        """Return whether a version that is in memory, or for None any of its own, may answer: consent to it holds."""
        asked = self.models.values() if version is None else [self.model(version)]
        return any(model is not None and model.answers for model in asked)

    def stores(self, version: int | None = None) -> list[Callable[[], None]]:
        """Return what asks the far online stores of a version, or of all: it raises where one does not answer."""
        asked = self.models.values() if version is None else [self.model(version)]
        readers = [model.joiner.reader for model in asked if model is not None and model.joiner is not None]
        return [one.demand_alive for one in readers if isinstance(one, FarReader) and one.far]

    @cached_property
    def first(self) -> LoadedModel:
        """The version that has most of the traffic.

        Raises:
            EnvironmentProblem: nothing is loaded.
        """
        share = max(self.object["traffic"], key=lambda one: one["weight"])
        found = self.model(share["version"])
        if found is None:
            hint = "`bascule doctor` tells what is missing; `bascule rollback` goes back to the version before."
            raise EnvironmentProblem(
                f"Deployment {self.name!r} is not ready: {self.problem}", hint="" if self.loading else hint
            )
        return found

    @property
    def simple(self) -> bool:
        """Whether requests need nothing but the model: one version answers each where it came in, nothing else looks at
        it, and the log keeps all of it. Of a `patient` one that holds for a request that comes alone."""
        if self.split.only is None or self.shadows or self.explained or self.redaction is not None:
            return False
        if self.patient and (self.remembered is not None or any(one.lane is not None for one in self.models.values())):
            return False  # else requests wait for nothing but for others that come at the same time
        model = self.first
        return self.split.only.version == model.version and not self.promises and model.inline_rows > 0

    def signature(self, version: int | None) -> Signature:
        """Return the signature of a version, loaded or not; of the one with most traffic for None."""
        if version is None:
            return self.first.signature
        return read_signature(dict(served(self.entry(version))["signature"]))

    def fitted(self, model: LoadedModel, rows: Rows) -> Rows:
        """Return rows without the columns that other versions read and this one does not.

        So a request that brings what the next version needs is answered by each version of a rollout, and also after
        that went back. A column that no version reads stays, and is refused by its name.
        """
        columns = rows.columns
        if columns is None or model.graph.takes or model.graph.before:  # a step takes what it likes
            return rows
        others = (columns.keys() - model.taken()) & self._read
        if not others:
            return rows
        return Rows(rows.count, {name: values for name, values in columns.items() if name not in others})

    @cached_property
    def _read(self) -> frozenset[str]:
        """What any version of the model reads: its inputs, and of those in memory the keys that they are joined by."""
        found = {name for model in self.models.values() for name in model.taken()}
        for entry in self.registered.values():
            found.update(str(one["name"]) for one in (served(entry).get("signature") or {}).get("inputs") or ())
        return frozenset(found)

    def entry(self, version: int) -> Mapping[str, Any]:
        """Return what the registry says about a version.

        Raises:
            NotFound: there is none of that number on this branch.
        """
        found = self.registered.get(str(version))
        if found is None:
            raise NotFound(f"version of model {self.model_name!r}", str(version), list(self.registered))
        return found

    def context(self, model: LoadedModel) -> Context:
        """Return what the records of a version have in common."""
        found = self.contexts.get(model.version)
        if found is None:
            found = self.contexts[model.version] = Context(
                next(_numbers),
                self.branch,
                self.commit_id,
                self.name,
                int(self.object["revision"]),
                model.name,
                model.version,
                model.encoder.names,
                model.task,
                tuple(model.classes),
            )
        return found


def serve_deployment(
    ws: Workspace,
    branch: str,
    commit: Commit,
    value: Mapping[str, Any],
    load: LoadVersion,
    before: ServedDeployment | None,
) -> ServedDeployment:
    """Make a deployment ready to answer.

    When a version with traffic cannot be loaded, what served before goes on, with the problem noted.

    Args:
        value: the deployment's object at the commit.
        load: loads a version from its artifact.
        before: what answers under this name now.
    """
    name, service = str(value["name"]), read_service(value)
    model = ws.history.read(commit, model_path(value["model"])) or {"versions": {}}
    registered, runtimes = dict(model["versions"]), model.get("runtimes", {})
    models: dict[int, LoadedModel] = {}
    problem = ""
    for version, needed in wanted(value).items():
        try:
            entry = registered.get(str(version))
            if entry is None:
                raise NotFound(f"version of model {value['model']!r}", str(version), list(registered))
            artifact, runtime = str(served(entry)["artifact"]), runtimes.get(str(version))
            models[version] = load(str(value["model"]), version, artifact, runtime, entry.get("graph"), service)
        except (BasculeError, OSError) as error:
            if needed:
                problem = f"version {version} of model {value['model']!r} cannot be loaded: {error}"
    promises: dict[int, Promises] = {}
    for number, entry in registered.items():
        try:
            asked = _promises(ws, value, entry)
        except BasculeError as error:
            problem = problem or error.message
            continue
        if asked is not None:
            promises[int(number)] = asked
    if problem and before is not None and before.models:
        return replace(before, problem=problem, shortcuts={})  # they belong to the deployment that they were made of
    split, shadows = Split(value), _shadows(value)
    return ServedDeployment(
        branch,
        commit.id,
        name,
        value,
        registered,
        models,
        split,
        shadows,
        {},
        problem,
        promises=promises,
        redaction=_redaction(ws, value),
        explained=float((value.get("log") or {}).get("explain", 0.0)),
        runtimes=runtimes,
        service=service,
        remembered=_remembered(service.cache, before),
        patient=service.cache > 0 or any(one.waits for one in models.values()),
        lenient=(value.get("log") or {}).get("full") == UNLOGGED,
    )


def serve_later(ws: Workspace, branch: str, commit: Commit, value: Mapping[str, Any]) -> ServedDeployment:
    """Return a deployment that nothing answers for, because its versions are being loaded."""

    def load(*_: Any) -> LoadedModel:
        raise EnvironmentProblem("It is being loaded.")

    found = serve_deployment(ws, branch, commit, value, load, None)
    return replace(found, problem="its versions are being loaded; repeat in a moment.", loading=True)


def _remembered(most: int, before: ServedDeployment | None) -> Remembered | None:
    if not most:
        return None
    kept = before.remembered if before is not None else None
    return kept if kept is not None and kept.most == most else Remembered(most)


def _promises(ws: Workspace, value: Mapping[str, Any], entry: Mapping[str, Any]) -> Promises | None:
    if "requests" not in value:
        return None
    from bascule.serving.promises import promises_of  # with contracts and the lake, which others do not need

    return promises_of(ws, value, entry)


def _redaction(ws: Workspace, value: Mapping[str, Any]) -> Redaction | None:
    rules = value.get("log")
    if not rules or not (rules.get("fields") or rules.get("sample", 1.0) < 1.0):
        return None
    fields = dict(rules.get("fields") or {})
    key = b""
    if "hash" in fields.values():
        from bascule.lake.masking import key_of  # with the lake, which who serves needs for nothing else

        key = key_of(ws)
    return Redaction(fields, float(rules.get("sample", 1.0)), key)


def _shadows(value: Mapping[str, Any]) -> dict[int, int]:
    """Return for each version of a rollout the one that scores the same requests unseen."""
    rollout = value.get("rollout")
    if not rollout or not rollout.get("shadow"):
        return {}
    stable, canary = int(rollout["stable"]), int(rollout["canary"])
    return {stable: canary, canary: stable}
