"""The protocol as one handler: it finds what is asked for, calls the data plane, and answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bascule.errors import BasculeError, EnvironmentProblem, InputError
from bascule.protocols.openinference import metadata
from bascule.protocols.openinference.features import Features
from bascule.protocols.openinference.finding import check_version, demand_ready, find_deployment
from bascule.protocols.openinference.inference import Form, Inference
from bascule.protocols.openinference.messages import IndexRequest, LoadRequest, read_message
from bascule.protocols.openinference.routes import Route, resolve
from bascule.protocols.openinference.truth import numbered, read_truths
from bascule.serving.branches import BranchState
from bascule.serving.dataplane import DataPlane
from bascule.serving.deployment import ServedDeployment
from bascule.serving.http import Deferred, Request, Response, json_response
from bascule.serving.http.message import HttpProblem, Quick
from bascule.serving.log import PredictionLog, TruthLog
from bascule.serving.log.vectors import FeatureLog
from bascule.serving.metrics import CONTENT_TYPE

REMEMBERED_PATHS = 1_024
Answered = Response | Deferred
Action = Callable[[Request, Route, BranchState], Answered]


class Application:
    """Answers requests of the Open Inference Protocol, and their plain relatives. It belongs to the event loop.

    Args:
        plane: what is served.
        predictions: where what is answered goes first.
        truths: where ground truth goes first.
        metrics: gives the text for Prometheus.
        draining: whether the server takes no more work.
        vectors: where served features of sampled keys go first.
    """

    def __init__(
        self,
        plane: DataPlane,
        predictions: PredictionLog,
        truths: TruthLog,
        metrics: Callable[[], str],
        draining: Callable[[], bool],
        vectors: FeatureLog | None = None,
    ) -> None:
        self._plane = plane
        self._truths = truths
        self._journals = (predictions.journal, truths.journal, *([vectors.journal] if vectors else []))
        self._metrics = metrics
        self._draining = draining
        self._inference = Inference(plane, predictions)
        self._features = Features(plane.features, vectors)
        self._routes: dict[bytes, tuple[Route, Action | None]] = {}
        self._of_branch: dict[str, Action] = {
            "v1/models": self._models,
            "v2/models": self._models,
            "v2/models/stats": self._all_stats,
            "v2/repository/index": self._index,
            "ground-truth": self._truth,
            "get-online-features": lambda request, route, state: self._features.answer(request, state.branch),
            "model:": self._metadata,
            "model:ready": self._model_ready,
            "model:config": self._config,
            "model:stats": self._stats,
            "model:infer": self._inference.infer,
            "model:predict": self._inference.predict,
            "model:invocations": self._inference.predict,
            "invocations": self._invoke,
            "model:ground-truth": self._truth,
            "repository:load": self._load,
            "repository:unload": self._unload,
        }

    def handle(self, request: Request) -> Answered:
        """Answer a request.

        Raises:
            BasculeError: the request cannot be answered; the server tells the client.
        """
        known = self._routes.get(request.path)
        route, action = known if known is not None else self._find(request.path)
        if request.method not in route.methods:
            allowed = b", ".join(route.methods)
            raise HttpProblem(
                405,
                f"{request.method.decode('latin-1')} is not for this path; it takes {allowed.decode()}.",
                extra=b"allow: %b\r\n" % allowed,
            )
        if action is None:
            return self._server(route)
        return self._act(request, route, action)

    def quick(self, request: Request) -> Quick | None:
        """Return what answers requests of the same head, as long as they ask for nothing but an answer."""
        try:
            route, _ = self._find(request.path)
        except BasculeError:
            return None
        return self._inference.quick(request, route) if request.method in route.methods else None

    def infer(self, request: Request, route: Route, form: Form) -> Answered:
        """Answer a request to infer that came in a form of its own.

        Raises:
            BasculeError: the request cannot be answered.
        """
        return self._act(request, route, lambda asked, of, state: self._inference.answer(asked, of, state, form))

    def _act(self, request: Request, route: Route, action: Action) -> Answered:
        state = self._plane.current if route.branch is None else self._plane.state(route.branch)
        if state is None:
            return self._open_first(request, route, action)
        return action(request, route, state)

    def _open_first(self, request: Request, route: Route, action: Action) -> Deferred:
        branch = route.branch or self._plane.branch
        return Deferred(lambda: self._plane.open(branch), lambda state: action(request, route, state))

    def _find(self, path: bytes) -> tuple[Route, Action | None]:
        route = resolve(path)
        if len(self._routes) >= REMEMBERED_PATHS:
            self._routes.clear()
        found = self._routes[path] = route, self._of_branch.get(route.action)
        return found

    def _server(self, route: Route) -> Answered:
        if route.action == "metrics":
            return Response(self._metrics().encode(), content_type=CONTENT_TYPE, packable=True)
        if route.action == "openapi.json":
            from bascule.protocols.openinference.described import document

            return json_response(document())
        if route.action == "v2":
            return json_response(metadata.server_metadata())
        if route.action == "v2/health/live":
            return json_response({"live": True})
        if not route.action:
            return json_response({"status": "alive"})
        return self._server_ready(route)

    def _server_ready(self, route: Route) -> Answered:
        if route.branch is not None and self._plane.state(route.branch) is None:
            branch = route.branch
            return Deferred(lambda: self._plane.open(branch), lambda _: self._server_ready(route))
        state = self._plane.state(route.branch)
        if state is None and not self._draining():
            raise EnvironmentProblem("The server is starting.", hint="Repeat in a moment.")
        deployments = list(state.deployments.values()) if state is not None else []
        # A server whose deployments all answer unlogged is not taken out of service for its log.
        self._demand_answering(bool(deployments) and all(one.lenient for one in deployments))
        # One that was deployed a moment ago says itself that it is not ready; the others answer.
        if broken := [one for one in deployments if not one.models and not one.loading]:
            names = ", ".join(repr(one.name) for one in broken)
            raise EnvironmentProblem(
                f"Nothing answers for deployment {names}: {broken[0].problem}",
                hint="`bascule doctor` tells what is missing; `bascule rollback` goes back to the version before.",
            )
        return json_response({"ready": True})

    def _demand_answering(self, lenient: bool) -> None:
        """Raise `EnvironmentProblem` while nothing is answered: the server stops, or cannot keep what it answers.

        Args:
            lenient: what is asked about answers all the same when the log cannot be written.
        """
        if self._draining():
            raise EnvironmentProblem("The server is stopping.", hint="Repeat in a moment: another worker takes over.")
        if not all(journal.works() for journal in self._journals) and not lenient:
            raise EnvironmentProblem("The prediction log cannot be written.", hint="Make room on the disk.")

    def _metadata(self, request: Request, route: Route, state: BranchState) -> Answered:
        def answer(deployment: ServedDeployment) -> Response:
            model = deployment.first if route.version is None else self._plane.load_version(deployment, route.version)
            return json_response(metadata.model_metadata(deployment, model))

        return self._with_version(route, state, answer)

    def _config(self, request: Request, route: Route, state: BranchState) -> Answered:
        def answer(deployment: ServedDeployment) -> Response:
            model = deployment.first if route.version is None else self._plane.load_version(deployment, route.version)
            return json_response(metadata.model_config(deployment, model))

        return self._with_version(route, state, answer)

    def _model_ready(self, request: Request, route: Route, state: BranchState) -> Answered:
        def answer(deployment: ServedDeployment) -> Answered:
            self._demand_answering(deployment.lenient)
            if not deployment.may_answer(route.version):
                raise EnvironmentProblem(
                    f"Deployment {deployment.name!r} is not ready: the consent to its model was taken back.",
                    hint="`bascule model show` tells who did, and why; `bascule model trust` gives it again.",
                )
            asked = deployment.first if route.version is None else deployment.model(route.version)
            if asked is not None:
                asked.demand_joined()
            ready = json_response({"name": deployment.name, "ready": True})
            stores = deployment.stores(route.version)
            if not stores:
                return ready
            return Deferred(lambda: _demand_stores(deployment.name, stores), lambda _: ready)

        return self._with_version(route, state, answer)

    def _with_version(
        self, route: Route, state: BranchState, answer: Callable[[ServedDeployment], Answered]
    ) -> Answered:
        """Answer about a deployment that is ready, after its version was loaded if one is named."""
        deployment = find_deployment(state, route.name)
        demand_ready(self._plane, deployment)
        version = route.version
        if version is None or deployment.model(version) is not None:
            return answer(deployment)
        check_version(deployment, version)
        return Deferred(lambda: self._plane.load_version(deployment, version), lambda _: answer(deployment))

    def _stats(self, request: Request, route: Route, state: BranchState) -> Answered:
        deployment = find_deployment(state, route.name)
        if route.version is not None:
            check_version(deployment, route.version)
        return json_response(metadata.statistics(self._plane, [deployment], route.version))

    def _all_stats(self, request: Request, route: Route, state: BranchState) -> Answered:
        return json_response(metadata.statistics(self._plane, list(state.deployments.values())))

    def _models(self, request: Request, route: Route, state: BranchState) -> Answered:
        return json_response({"models": sorted(state.deployments)})  # as KServe's own server has it

    def _index(self, request: Request, route: Route, state: BranchState) -> Answered:
        message = read_message(request.body, IndexRequest)
        return json_response(metadata.index(self._plane, list(state.deployments.values()), message.ready))

    def _load(self, request: Request, route: Route, state: BranchState) -> Answered:
        parameters = read_message(request.body, LoadRequest).parameters or {}
        brought = [name for name in parameters if name == "config" or name.startswith("file:")]
        if brought:
            raise HttpProblem(
                501,
                f"A model cannot be brought by {brought[0][:40]!r} in a load request.",
                hint="Models come from the registry: register a version, then deploy it.",
            )
        return self._set_loaded(route, state, True)

    def _unload(self, request: Request, route: Route, state: BranchState) -> Answered:
        read_message(request.body, LoadRequest)
        find_deployment(state, route.name)
        return self._set_loaded(route, state, False)

    def _set_loaded(self, route: Route, state: BranchState, loaded: bool) -> Deferred:
        plane = self._plane
        return Deferred(
            lambda: plane.set_loaded(state.branch, route.name, loaded),
            lambda _: json_response({}),
        )

    def _invoke(self, request: Request, route: Route, state: BranchState) -> Answered:
        """Answer what MLflow's scoring server would: its path names no model."""
        names = sorted(state.deployments)
        if len(names) != 1:
            found = ", ".join(names[:10]) or "none"
            raise InputError(
                f"/invocations asks the only deployment, and there are {len(names)}: {found}.",
                hint="Name one: /v2/models/NAME/invocations",
            )
        return self._inference.predict(request, replace(route, name=names[0]), state)

    def _truth(self, request: Request, route: Route, state: BranchState) -> Answered:
        only = next(iter(state.deployments)) if len(state.deployments) == 1 else None
        if route.name:
            find_deployment(state, route.name)
        several = numbered(state.deployments.values()) if only is None else None
        truths = read_truths(request.body, lambda name: find_deployment(state, name), route.name or None, only, several)
        for truth in truths:
            self._truths.append(truth)
        return json_response({"accepted": len(truths)}, kept=self._truths.journal)


def _demand_stores(name: str, stores: list[Callable[[], None]]) -> None:
    for demand_alive in stores:
        try:
            demand_alive()
        except EnvironmentProblem as error:
            raise EnvironmentProblem(
                f"Deployment {name!r} is not ready: the online store of its features does not answer. {error.message}",
                hint=error.hint,
            ) from None
