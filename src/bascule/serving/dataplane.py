"""The data plane: what is deployed on each branch, in memory, always as the branch's head says.

A thread looks at the heads and makes the new state ready beside the old one; then one assignment swaps them. A request
takes the state once and keeps it, so it never sees half of each. A deployment whose versions must be loaded first is
made ready in a thread of its own: meanwhile what served before answers, and no other deployment waits, nor a rollback.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

from sqlalchemy import select

from bascule.catalog import Changes
from bascule.catalog.schema import refs
from bascule.errors import BasculeError, EnvironmentProblem, InputError, NotFound
from bascule.history import Commit, Workspace
from bascule.naming import model_path
from bascule.registry.versions import served
from bascule.serving.branches import BranchState, Coming, Looked, Watched
from bascule.serving.deployment import ServedDeployment, serve_deployment, serve_later
from bascule.serving.features import FeatureServer
from bascule.serving.incidents import Incidents
from bascule.serving.loading import Loader, NotInMemory
from bascule.serving.model import LoadedModel, ReaderOf
from bascule.serving.online import open_reader
from bascule.serving.stats import VersionStats
from bascule.serving.wanted import wanted

POLL_S = 0.1
QUERY_S = 1.0  # the heads are read so often in any case
RETRY_S = 5.0
IDLE_S = 600.0
CONSENT_S = 1.0
WAIT_S = 0.2
MOST_BRANCHES = 32
MOST_EXTRA = 8


class DataPlane:
    """Everything that answers. `start` it, then ask for branches; states may be read from any thread.

    Attributes:
        current: what `branch` serves, once it is loaded.
        unloaded: (branch, deployment) that were taken out of service in this process.
        stats: the figures by (branch, deployment, version).
        features: feature vectors, by branch.
        incidents: what became of the versions.

    Args:
        branch: the one that is always served; others are loaded when first asked for and dropped when nobody asks for
            ten minutes.
        reader_of: how features are joined; the default reads the workspace's online store.
        poll_s: how often the heads are looked at.
    """

    def __init__(
        self, ws: Workspace, branch: str = "main", *, reader_of: ReaderOf | None = None, poll_s: float = POLL_S
    ) -> None:
        self.workspace = ws
        self.branch = branch
        self.unloaded: set[tuple[str, str]] = set()
        self.stats: dict[tuple[str, str, int], VersionStats] = {}
        self.reloads = 0
        self.reload_failures = 0
        self.current: BranchState | None = None
        self._watched: dict[str, Watched] = {}
        self._opening: dict[str, threading.Lock] = {}
        self._coming: dict[tuple[str, str], Coming] = {}
        self.incidents = Incidents(ws)
        readers = partial(open_reader, ws) if reader_of is None else lambda branch: reader_of
        self._loader = Loader(ws, readers, self.incidents)
        self.features = FeatureServer(ws)
        self._changing = threading.RLock()
        self._poll_s = poll_s
        self._asked = 0.0
        self._changes = Changes(ws.catalog)
        self._last = Looked()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch-branches", daemon=True)

    def start(self) -> None:
        """Load the branch and begin to follow the heads.

        Raises:
            NotFound: there is no such branch.
        """
        self.open(self.branch)
        self._thread.start()

    def stop(self) -> None:
        """Follow no longer. What is loaded goes on answering."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._changes.close()
        self.incidents.close()

    def state(self, branch: str | None = None) -> BranchState | None:
        """Return what a branch serves if it is loaded, at once."""
        found = self._watched.get(branch or self.branch)
        if found is None:
            return None
        if branch is not None:
            found.used = time.monotonic()
        return found.state

    def open(self, branch: str) -> BranchState:
        """Return what a branch serves; load it first when need be, which blocks.

        Raises:
            NotFound: there is no such branch.
            EnvironmentProblem: as many branches are served as one process may, or it is stopped meanwhile.
        """
        found = self.state(branch)
        if found is not None:
            return found
        head = self._demanded(branch)
        with self._changing:
            if branch not in self._opening and len(self._watched) + len(self._opening) >= MOST_BRANCHES:
                raise EnvironmentProblem(
                    f"This process serves {MOST_BRANCHES} branches already.",
                    hint="Those that nobody asks for leave after ten minutes; or serve this one by another process.",
                )
            opening = self._opening.setdefault(branch, threading.Lock())
        try:
            with self._waited(opening):
                found = self.state(branch)
                if found is None:
                    found = self._load(branch, head, None)
                    with self._changing:
                        self._watched[branch] = Watched(found)
                        self._show(found)
        finally:
            with self._changing:
                self._opening.pop(branch, None)
        return found

    def reload(self, branch: str) -> BranchState:
        """Look at a branch's head now and serve it; what must be loaded first is waited for.

        Raises:
            NotFound: there is no such branch.
        """
        self.open(branch)
        with self._changing:
            watched, head = self._watched[branch], self._demanded(branch)
            if head != watched.state.head or watched.state.retry:
                self._follow(branch, watched, head)
            threads = [one.thread for (of, _), one in self._coming.items() if of == branch]
        for thread in threads:
            if thread is not None:
                thread.join()
        return watched.state

    def load_version(self, deployment: ServedDeployment, version: int) -> LoadedModel:
        """Return a version that somebody asked for by number, loading it first when need be, which blocks.

        Raises:
            NotFound: the model has no such version on this branch.
            InputError: the version cannot be used.
        """
        found = deployment.model(version)
        if found is None:
            entry = deployment.entry(version)
            artifact, runtime = str(served(entry)["artifact"]), deployment.runtimes.get(str(version))
            found = self._loader.load(
                deployment.model_name,
                version,
                artifact,
                runtime,
                entry.get("graph"),
                deployment.service,
                deployment.branch,
            )
            with self._changing:
                deployment.extra[version] = found
                while len(deployment.extra) > MOST_EXTRA:
                    del deployment.extra[next(iter(deployment.extra))]
        return found

    def set_loaded(self, branch: str, name: str, loaded: bool) -> None:
        """Take a deployment out of this process' service, or put it back in.

        Raises:
            NotFound: there is no such branch or deployment.
        """
        state = self.reload(branch) if loaded else self.open(branch)
        deployment = state.deployment(name)
        if loaded and deployment.problem:
            raise InputError(
                f"Deployment {name!r} cannot be loaded: {deployment.problem}",
                hint="`bascule doctor` tells what is missing; `bascule rollback` goes back to the version before.",
            )
        if loaded:
            self.unloaded.discard((branch, name))
        else:
            self.unloaded.add((branch, name))

    def is_ready(self, deployment: ServedDeployment) -> bool:
        """Return whether a deployment answers."""
        return (deployment.branch, deployment.name) not in self.unloaded and deployment.may_answer()

    def coming(self, deployment: ServedDeployment) -> frozenset[int]:
        """Return the versions that are being loaded for a deployment."""
        coming = self._coming.get((deployment.branch, f"deployments/{deployment.name}"))
        return coming.versions if coming is not None else frozenset()

    def stats_of(self, deployment: ServedDeployment, version: int) -> VersionStats:
        """Return the figures of a version; begun when it is first asked for."""
        key = (deployment.branch, deployment.name, version)
        found = self.stats.get(key)
        if found is None:
            found = self.stats[key] = VersionStats()
        return found

    @contextmanager
    def _waited(self, opening: threading.Lock) -> Iterator[None]:
        """Hold a lock; who waits for what hangs while it is loaded is let go when this is stopped."""
        while not opening.acquire(timeout=WAIT_S):
            if self._stopped.is_set():
                raise EnvironmentProblem("The server is stopping.", hint="Repeat in a moment.")
        try:
            yield
        finally:
            opening.release()

    def _demanded(self, branch: str) -> str:
        """Return a branch's head, or raise `NotFound`."""
        head = self._heads([branch]).get(branch)
        if head is None:
            raise NotFound("branch", branch, [ref.name for ref in self.workspace.history.branches()])
        return head

    def _follow(self, branch: str, watched: Watched, head: str) -> None:
        """Serve what a head says, as far as it is in memory; the rest comes. For who holds `_changing`."""
        watched.state = self._load(branch, head, watched.state)
        self._show(watched.state)

    def _load(self, branch: str, head: str, before: BranchState | None) -> BranchState:
        """Return what a head says. Without a state before all of it is loaded, else deployments may come later."""
        history = self.workspace.history
        commit = history.commit_by_id(head)
        found: dict[str, ServedDeployment] = {}
        for path, value in history.entries(commit, "deployments/"):
            if not value["traffic"]:
                continue  # written down, and not in service yet or any more
            name = path.partition("/")[2]
            old = before.deployments.get(name) if before is not None else None
            if before is None:
                one = serve_deployment(
                    self.workspace, branch, commit, value, partial(self._loader.load, branch=branch), None
                )
            else:
                one = self._at_once(branch, commit, path, value, old)
            found[name] = one
            if one.problem and one is not old and not one.loading:
                self._complain(branch, f"deployment {name!r}: {one.problem}")
        if before is not None:  # what is not deployed any more need not come
            for key in [key for key in self._coming if key[0] == branch and key[1].partition("/")[2] not in found]:
                del self._coming[key]
        settled = [one for one in found.values() if not one.loading]
        incomplete = any(one.problem or any(m.unjoined for m in one.models.values()) for one in settled)
        retry = time.monotonic() + RETRY_S if incomplete else 0.0
        self.reloads += 1
        return BranchState(branch, head, MappingProxyType(found), retry)

    def _at_once(
        self, branch: str, commit: Commit, path: str, value: Mapping[str, Any], before: ServedDeployment | None
    ) -> ServedDeployment:
        """Return a deployment as a commit has it when it is in memory; else have it come, and return what served, or
        one that says that it is not ready."""
        history, key = self.workspace.history, (branch, path)
        try:
            known = partial(self._loader.known, branch=branch)
            found = serve_deployment(self.workspace, branch, commit, value, known, before)
        except NotInMemory:
            of = history.digest(commit, path), history.digest(commit, model_path(value["model"]))
            coming = self._coming.get(key)
            if coming is not None and coming.of == of:
                if coming.found is None:
                    return before or serve_later(self.workspace, branch, commit, value)
                del self._coming[key]  # what could not be loaded is tried again later
                return coming.found
            coming = self._coming[key] = Coming(of, frozenset(wanted(value)))
            load = partial(self._loader.load, branch=branch)
            make = partial(serve_deployment, self.workspace, branch, commit, value, load, before)
            coming.thread = threading.Thread(
                target=self._come, args=(key, coming, make), name=f"load-{path}", daemon=True
            )
            coming.thread.start()
            return before if before and not before.loading else serve_later(self.workspace, branch, commit, value)
        self._coming.pop(key, None)  # what comes is not wanted any more, or is what was found
        return found

    def _come(self, key: tuple[str, str], coming: Coming, make: Callable[[], ServedDeployment]) -> None:
        """Make a deployment ready, and serve it when nothing else is wanted by then."""
        branch = key[0]
        try:
            found, error = make(), None
        except Exception as failure:  # nobody foresaw it: it is told, and tried again as what cannot be loaded is
            found, error = None, failure
        with self._changing:
            watched = self._watched.get(branch)
            if self._coming.get(key) is not coming:
                return
            if watched is None or self._stopped.is_set():
                del self._coming[key]
                return
            try:
                if error is not None:
                    raise error
                coming.found = found
                self._follow(branch, watched, watched.state.head)
            except Exception as failure:
                self._coming.pop(key, None)
                found = watched.state.deployments.get(key[1].partition("/")[2])
                deployments = dict(watched.state.deployments)
                if found is not None:
                    deployments[found.name] = replace(
                        found, problem=f"it could not be loaded: {failure}", loading=False, shortcuts={}
                    )
                retry = time.monotonic() + RETRY_S
                watched.state = replace(watched.state, deployments=MappingProxyType(deployments), retry=retry)
                self._show(watched.state)
                self._complain(branch, f"{key[1]} could not be made ready: {failure}")

    def _heads(self, branches: list[str]) -> dict[str, str]:
        query = select(refs.c.name, refs.c.head).where(refs.c.name.in_(branches), refs.c.kind == "branch")
        with self.workspace.catalog.read() as conn:
            return {row.name: row.head for row in conn.execute(query)}

    def _watch(self) -> None:
        failing = ""
        while not self._stopped.wait(self._poll_s):
            try:
                self._look()
                failing = ""
            except Exception as error:  # the catalog may be away for a while: what is loaded goes on answering
                if str(error) != failing:
                    failing = str(error)
                    self._complain("*", f"the heads could not be read: {failing}")

    def _look(self) -> None:
        if time.monotonic() - self._asked > CONSENT_S:
            self._asked = time.monotonic()
            self._loader.ask_consents()
        seen = {branch: watched.state for branch, watched in list(self._watched.items())}
        heads = self._heads_now(list(seen))
        for branch, before in seen.items():
            watched, head = self._watched[branch], heads.get(branch)
            idle = time.monotonic() - watched.used > IDLE_S
            if branch != self.branch and (head is None or idle):
                with self._changing:
                    del self._watched[branch]
            elif head is not None and (head != before.head or 0 < before.retry < time.monotonic()):
                with self._changing:
                    if watched.state is before:  # else somebody has looked since, and this head may be the older one
                        self._follow(branch, watched, head)

    def _heads_now(self, branches: list[str]) -> dict[str, str]:
        """Return the heads, without a query where nothing was written since the last one: it would hold up requests."""
        mark, at = self._changes.mark(), time.monotonic()
        last = self._last
        if mark != last.mark or branches != last.branches or at - last.at > QUERY_S:
            self._last = Looked(mark, branches, at, self._heads(branches))
        return self._last.heads

    def _show(self, state: BranchState) -> None:
        if state.branch == self.branch:
            self.current = state

    def _complain(self, branch: str, text: str) -> None:
        self.reload_failures += 1
        print(f"bascule serve: branch {branch}: {text}", file=sys.stderr, flush=True)


def describe(error: BasculeError) -> str:
    """Return an error as one text: what is wrong, then what to do."""
    return f"{error.message} {error.hint}".strip()
