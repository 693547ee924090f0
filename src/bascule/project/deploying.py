"""A deployment as it stands: what it serves, what its rollout has shown, what it would take to see an effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from bascule.delivery import set_traffic
from bascule.errors import InputError, NotFound
from bascule.history import Commit, Workspace
from bascule.project.place import MAIN, PROJECT_FILE, Place
from bascule.project.powering import Question, power_of
from bascule.project.querying import logged
from bascule.project.shipping import Moved, moved, serving_branch
from bascule.registry import production
from bascule.serving.incidents import Incident, incidents_of

URL = "http://127.0.0.1:7401"
GRPC = "127.0.0.1:7402"


@dataclass(frozen=True)
class Standing:
    """A deployment on a branch.

    Attributes:
        deployment: the object, as the history holds it.
        decision: what the controller would do now, with what each rule found; None without a rollout.
        preview: where it answers.
        incidents: what broke while versions of its model were served, the last first.
    """

    branch: str
    deployment: dict[str, Any]
    decision: dict[str, Any] | None
    preview: Preview
    incidents: list[Incident]

    def as_dict(self) -> dict[str, Any]:
        """The deployment as one JSON object."""
        return {
            "branch": self.branch,
            **self.deployment,
            "decision": self.decision,
            "preview": asdict(self.preview),
            "incidents": [one.as_dict() for one in self.incidents],
        }


@dataclass(frozen=True)
class Preview:
    """Where a branch answers.

    Attributes:
        http: the address of its inference protocol, up to `/v2`.
        grpc: host and port of gRPC, which reads the branch from the metadata.
        metadata: what gRPC calls send; empty for `main`.
        deployments: those that are in service on the branch.
        curl: a request, complete but for the row: of the branch's production version, which need not have traffic yet.
    """

    branch: str
    http: str
    grpc: str
    metadata: dict[str, str]
    deployments: tuple[str, ...]
    curl: str

    def as_dict(self) -> dict[str, Any]:
        """The addresses as one JSON object."""
        return asdict(self)


def stands(place: Place, name: str) -> Standing:
    """Return how a deployment stands, on the branch that is meant by its name.

    Raises:
        NotFound: there is none; the nearest is offered.
    """
    from bascule.delivery import assess
    from bascule.delivery.strategies import queries_of

    name = name.removeprefix("deployments/")
    branch = serving_branch(place, name)
    deployment = place.workspace.history.get(branch, f"deployments/{name}")
    decision = None
    if deployment["rollout"] is not None:
        with logged(place.workspace, queries_of(deployment)) as connection:
            found = assess(connection, branch, deployment)
        decision = {"action": found.action, "reason": found.reason, **found.evidence}
    (incidents,) = incidents_of(place.workspace, branch, [deployment])
    return Standing(branch, deployment, decision, preview(place, branch), incidents)


def preview(place: Place, branch: str | None = None, *, url: str | None = None, grpc: str | None = None) -> Preview:
    """Return where a branch answers, so that it can be tried before it is merged.

    Args:
        branch: the current one when None.
        url: where `bascule serve` or `up` answers; `[deployment] url` when None, else the `up` that runs here now, or
            the ports that it has when none are given.

    Raises:
        NotFound: there is no such branch.
    """
    settings = place.file.deployment if (place.folder / PROJECT_FILE).is_file() else None
    here, calls = _listening(place.workspace)
    base = url or (settings.url if settings else "") or here
    return preview_of(place.workspace, branch or place.branch, base, grpc or calls)


def _listening(workspace: Workspace) -> tuple[str, str]:
    """Return where the server of this workspace answers requests, over HTTP and gRPC."""
    from bascule.serving.http.hosts import is_loopback

    page = urlsplit(workspace.served_at())
    if page.port is None:
        return URL, GRPC
    host = page.netloc.rpartition(":")[0] if is_loopback(page.hostname or "") else "127.0.0.1"
    return f"http://{host}:{page.port + 1}", f"{host}:{page.port + 2}"


def preview_of(workspace: Workspace, branch: str, url: str, grpc: str) -> Preview:
    """Return where a branch of a workspace answers.

    Args:
        url: where inference answers; `grpc`: likewise, host and port.

    Raises:
        NotFound: there is no such branch.
    """
    history, base = workspace.history, url.rstrip("/")
    if branch not in {one.name for one in history.branches()}:
        raise NotFound("branch", branch, [one.name for one in history.branches()])
    entries = history.entries(history.resolve(branch), "deployments/")
    serving = {path.partition("/")[2]: held for path, held in entries if held["traffic"]}
    names = tuple(serving)
    http = f"{base}/v2" if branch == MAIN else f"{base}/branch/{_quoted(branch)}/v2"
    metadata = {} if branch == MAIN else {"x-bascule-branch": branch}
    chosen = _tried(workspace, branch, serving)
    model = _asked(workspace, branch, chosen, serving[chosen]) if chosen is not None else "NAME"
    curl = f"curl {http}/models/{model}/predict -d '{{\"instances\": [{{…}}]}}'"
    return Preview(branch, http, grpc, metadata, names, curl)


def _tried(workspace: Workspace, branch: str, serving: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return the deployment that a branch is tried by: one that it changed, else one whose model it changed, else the
    first; None where nothing is in service."""
    history = workspace.history
    changed: set[str] = set()
    for prefix in ("deployments/", "models/"):
        here, main = (history.digests(history.resolve(of), prefix) for of in (branch, MAIN))
        changed.update(path for path, digest in here.items() if digest != main.get(path))
    of_rules = (name for name in serving if f"deployments/{name}" in changed)
    of_models = (name for name, held in serving.items() if f"models/{held['model']}" in changed)
    return next(of_rules, next(of_models, next(iter(serving), None)))


def _asked(workspace: Workspace, branch: str, name: str, deployment: Mapping[str, Any]) -> str:
    """Return what is asked for to try a branch: its production version by number, where others have the traffic."""
    newest = production(workspace, branch, deployment["model"])
    served = {one["version"] for one in deployment["traffic"]}
    return name if newest is None or newest in served else f"{name}/versions/{newest}"


def share_traffic(place: Place, name: str, shares: Sequence[str] | Mapping[int, int], *, reason: str = "") -> Moved:
    """Share the traffic among versions by hand.

    Args:
        shares: `VERSION=PERCENT` words, or version to percentage; they sum to 100.

    Raises:
        InputError: a word is not of this form, or they do not sum to 100.
        NotFound: unknown deployment or version; the nearest is offered.
        CheckFailed: a version lacks approvals.
    """
    name = name.removeprefix("deployments/")
    weights = dict(shares) if isinstance(shares, Mapping) else dict(_share(word) for word in shares)
    if not isinstance(shares, Mapping) and len(weights) < len(shares):
        raise InputError("A version is named twice.", hint="Give each version one percentage: 3=50 4=50")
    branch = serving_branch(place, name)
    commit: Commit = set_traffic(place.workspace, branch, name, weights, reason=reason)
    return moved(place, branch, commit)


def power(place: Place, name: str, question: Question) -> dict[str, Any]:
    """Return how many requests it takes until a rollout of a deployment sees an effect.

    Raises:
        NotFound: unknown deployment or rule.
        InputError: a number is out of its bounds, or neither given nor measurable.
    """
    name = name.removeprefix("deployments/")
    return power_of(place.workspace, serving_branch(place, name), name, question)


def _share(word: str) -> tuple[int, int]:
    version, sign, percent = word.partition("=")
    if not sign or not version.isdecimal() or not percent.isdecimal():
        raise InputError(f"{word!r} is no share of the traffic.", hint="Write VERSION=PERCENT for each: 3=50 4=50")
    return int(version), int(percent)


def _quoted(branch: str) -> str:
    from urllib.parse import quote

    return quote(branch, safe="")
