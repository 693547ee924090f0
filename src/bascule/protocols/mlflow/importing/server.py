"""An MLflow server as a source: its REST API, page by page."""

from __future__ import annotations

import base64
import http.client
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from time import sleep
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import quote, unquote, urlencode, urlsplit

import msgspec

from bascule.errors import EnvironmentProblem, InputError
from bascule.protocols.mlflow.importing.answers import (
    Object,
    experiment_of,
    microseconds,
    model_of,
    pairs,
    point_of,
    run_of,
    version_of,
)
from bascule.protocols.mlflow.importing.records import (
    Experiment,
    File,
    Measured,
    Model,
    Registered,
    Run,
    Traced,
    Unanswered,
    Unreachable,
)
from bascule.tracking.points import Context

PAGE = 1_000
POINTS = 25_000
TRACES = 100
TIMEOUT_S = 60.0
TRIES = 5
LARGEST = 256 << 20
LONGEST_PATH = 4096
PROMPT = "tags.`mlflow.prompt.is_prompt` = 'true'"
T = TypeVar("T")
_BROKEN = "files that the server breaks off"


class ServerSource:
    """An MLflow server.

    Args:
        address: such as `http://host:5000`. Credentials stand in it, or in the variables that MLflow's client reads:
            MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
    """

    def __init__(self, address: str, environment: Mapping[str, str] = os.environ) -> None:
        parts = urlsplit(address)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise InputError(f"{address[:200]!r} is no server's address.", hint="Such as http://host:5000")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self._host = f"{host}:{port}" if port else host
        self._secure, self._prefix = parts.scheme == "https", parts.path.rstrip("/")
        self.name = f"{parts.scheme}://{self._host}{self._prefix}"
        self._headers = {"User-Agent": "bascule", **_credentials(parts.username, parts.password, environment)}
        self._connection: http.client.HTTPConnection | None = None

    def experiments(self) -> list[Experiment]:
        """All experiments, deleted ones too."""
        asked = {"view_type": "ALL", "max_results": PAGE}
        return [
            self._made(experiment_of, one) for one in self._pages("POST", "experiments/search", asked, "experiments")
        ]

    def runs(self, experiment: Experiment) -> Iterator[Run]:
        """The runs of an experiment."""
        asked = {"experiment_ids": [str(experiment.id)], "run_view_type": "ALL", "max_results": PAGE}
        for one in self._pages("POST", "runs/search", asked, "runs"):
            yield self._made(partial(run_of, experiment=experiment.id), one)

    def points(self, run: Run) -> Iterator[Measured]:
        """All points of a run's metrics."""
        for name in run.metrics:
            asked = {"run_id": run.id, "metric_key": name, "max_results": POINTS}
            for one in self._pages("GET", "metrics/get-history", asked, "metrics"):
                yield self._made(point_of, one), Context()

    def models(self, experiment: Experiment) -> Iterator[Model]:
        """The logged models of an experiment; servers before version 3 have none."""
        asked = {"experiment_ids": [str(experiment.id)], "max_results": 50}
        for one in self._pages("POST", "logged-models/search", asked, "models", absent=True):
            yield self._made(partial(model_of, experiment=experiment.id), one)

    def model_points(self, model: Model) -> Iterator[Measured]:
        """The latest points of a logged model's metrics: servers tell no others."""
        found = self._ask("GET", f"logged-models/{quote(model.id, safe='')}") or {}
        for one in found.get("model", {}).get("data", {}).get("metrics", ()):
            yield (
                self._made(point_of, one),
                Context(one.get("run_id", ""), one.get("dataset_name", ""), one.get("dataset_digest", "")),
            )

    def registered(self) -> Iterator[Registered]:
        """The registered models, then the prompts."""
        for text in ("", PROMPT):
            asked = {"max_results": 100} | ({"filter": text} if text else {})
            for one in self._pages("GET", "registered-models/search", asked, "registered_models"):
                yield self._made(partial(self._registered, text=text), one)

    def _registered(self, one: Object, text: str) -> Registered:
        name = one["name"]
        sign = '"' if "'" in name else "'"
        condition = f"name = {sign}{name}{sign}" + (f" AND {PROMPT}" if text else "")
        asked = {"filter": condition, "max_results": PAGE}
        versions = [version_of(v) for v in self._pages("GET", "model-versions/search", asked, "model_versions")]
        return Registered(
            name=name,
            description=one.get("description", ""),
            created_at=microseconds(one.get("creation_timestamp")),
            updated_at=microseconds(one.get("last_updated_timestamp")),
            tags=pairs(one.get("tags")),
            aliases={a["alias"]: int(a["version"]) for a in one.get("aliases", ())},
            versions=tuple(sorted(versions, key=lambda version: version.number)),
        )

    def traces(self, experiment: Experiment) -> Iterator[Traced]:
        """The traces of an experiment: what is said of the whole, and a function that asks for the spans.

        Servers before version 3 tell no such traces.
        """
        place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": str(experiment.id)}}
        asked = {"locations": [place], "max_results": TRACES}
        for one in self._pages("POST", "traces/search", asked, "traces", absent=True, release="3.0"):
            yield one, partial(self._spans, str(one.get("trace_id", "")))

    def _spans(self, trace: str) -> list[Object]:
        found = self._ask("GET", "traces/batchGet", {"trace_ids": trace}, "3.0") or {}
        spans = [span for one in found.get("traces", ()) for span in one.get("spans", ())]
        if spans:
            return spans
        # What a client before 3.4 wrote lies in a file beside the trace.
        url = f"{self._prefix}/ajax-api/2.0/mlflow/get-trace-artifact?{urlencode({'request_id': trace})}"
        try:
            status, raw = self._once("GET", url, None, self._headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unanswered(f"{type(error).__name__}: {error}") from error
        return list(self._read(raw, "get-trace-artifact").get("spans", ())) if status == 200 else []

    def files(self, owner: Run | Model) -> Iterator[File]:
        """The files of a run or a logged model, as the server reads them, wherever it keeps them."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            for one in self._listed(owner, folder):
                path = self._made(lambda one: str(one["path"]), one)
                if not path.startswith(f"{folder}/" if folder else "") or path == folder or len(path) > LONGEST_PATH:
                    told = f"files that the server lists where they cannot be: {path[:80]!r} in {folder[:80]!r}"
                    raise Unreachable(told, hint="Look at its log.")
                if one.get("is_dir"):
                    waiting.append(path)
                else:
                    size = self._made(lambda one: None if one.get("file_size") is None else int(one["file_size"]), one)
                    yield File(path, size, partial(self._opened, owner, path, size))

    def _listed(self, owner: Run | Model, folder: str) -> list[Object]:
        ask = partial(self._ask, "GET", patient=False)
        try:
            if isinstance(owner, Run):
                found = ask("artifacts/list", {"run_id": owner.id, **({"path": folder} if folder else {})})
            else:
                asked = {"artifact_directory_path": folder} if folder else {}
                found = ask(f"logged-models/{quote(owner.id, safe='')}/artifacts/directories", asked)
        except Unanswered as error:
            raise Unanswered(f"artifacts that the server does not list: {error.message}", hint=error.hint) from error
        if found is None:
            raise Unreachable(
                "artifacts that the server does not list", hint="Serve them: mlflow server --serve-artifacts"
            )
        return list(found.get("files", ()))

    @contextmanager
    def _opened(self, owner: Run | Model, path: str, size: int | None) -> Iterator[BinaryIO]:
        if isinstance(owner, Run):
            url = f"/get-artifact?{urlencode({'run_id': owner.id, 'path': path})}"
        else:
            where = f"/ajax-api/2.0/mlflow/logged-models/{quote(owner.id, safe='')}/artifacts/files"
            url = f"{where}?{urlencode({'artifact_file_path': path})}"
        connection = self._connect()
        try:
            try:
                connection.request("GET", self._prefix + url, headers=self._headers)
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise Unanswered(_BROKEN) from error
            if answer.status != 200:
                kind = Unanswered if answer.status >= 500 or answer.status == 429 else Unreachable
                raise kind(f"files for which the server answers {answer.status}", hint="Look at its log.")
            yield cast(BinaryIO, _Body(answer, size))
        finally:
            connection.close()

    def beside(self) -> dict[str, int]:
        """What an import does not take, as far as the server says."""
        found = self._ask("GET", "webhooks", {"max_results": 100})
        count = len((found or {}).get("webhooks", ()))
        return {"webhooks": count} if count else {}

    def unread(self) -> list[tuple[str, str]]:
        """Nothing: a row or an answer is whole."""
        return []

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _pages(
        self, method: str, path: str, asked: Object, name: str, *, absent: bool = False, release: str = "2.0"
    ) -> Iterator[Object]:
        token, seen = "", set[str]()
        while True:
            found = self._ask(method, path, {**asked, **({"page_token": token} if token else {})}, release)
            if found is None and not absent:
                raise EnvironmentProblem(f"{self.name} has no {path}.", hint="Is it the address of an MLflow server?")
            yield from (found or {}).get(name, ())
            following = (found or {}).get("next_page_token", "")
            if not following or following == token:
                return
            if following in seen:
                told = f"{self.name} tells the pages of {path} in a circle."
                raise EnvironmentProblem(told, hint="What is here stays. Mend the server, or import its database.")
            seen.add(following)
            token = following

    def _made(self, make: Callable[[Object], T], one: Object) -> T:
        """Return what is made of one part of an answer.

        Raises:
            EnvironmentProblem: it lacks or misstates something.
        """
        try:
            return make(one)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            told = f"{self.name} answers with what MLflow does not say: {type(error).__name__}: {str(error)[:100]}."
            raise EnvironmentProblem(told, hint="What is here stays. Is it the address of MLflow?") from None

    def _ask(
        self, method: str, path: str, asked: Object | None = None, release: str = "2.0", *, patient: bool = True
    ) -> Object | None:
        """Ask the API; None when it has no such thing.

        Args:
            patient: ask again when it fails; also without, when the connection is lost.

        Raises:
            Unanswered: it fails at this each time. EnvironmentProblem: it is not there, or says no.
        """
        url, body = f"{self._prefix}/api/{release}/mlflow/{path}", None
        headers = dict(self._headers)
        if method == "GET":
            url += f"?{urlencode(asked)}" if asked else ""
        else:
            body, headers["Content-Type"] = msgspec.json.encode(asked or {}), "application/json"
        failed = False
        for turn in range(TRIES):
            try:
                status, raw = self._once(method, url, body, headers)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                said, failed = f"{type(error).__name__}: {error}", False
            else:
                if status == 200:
                    return self._read(raw, path)
                if status == 404:
                    return None
                said = f"it answers {status}: {raw[:200].decode('utf-8', 'replace')}"
                failed = status >= 500 or status == 429
                if not failed or not patient:
                    break
            if turn < TRIES - 1:
                sleep(0.2 * 4**turn)
        raise self._unanswered(said, Unanswered if failed else EnvironmentProblem)

    def _once(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request(method, url, body, headers)
        answer = self._connection.getresponse()
        raw = answer.read(LARGEST + 1)
        if len(raw) > LARGEST:
            self.close()
            raise EnvironmentProblem(f"{self.name} answers with more than {LARGEST:,} bytes.", hint="Is it MLflow?")
        if answer.length:  # as much was announced and did not come
            raise http.client.IncompleteRead(raw, answer.length)
        return answer.status, raw

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        return kind(self._host, timeout=TIMEOUT_S)

    def _read(self, raw: bytes, path: str) -> Object:
        try:
            return msgspec.json.decode(raw, type=dict[str, Any])
        except msgspec.MsgspecError:
            raise EnvironmentProblem(
                f"{self.name} answers {path} with something that is no JSON.", hint="Is it the address of MLflow?"
            ) from None

    def _unanswered(self, why: str, kind: type[EnvironmentProblem] = EnvironmentProblem) -> EnvironmentProblem:
        return kind(f"{self.name} does not answer: {why}.", hint="What is here stays; repeat the command when it does.")


def _credentials(user: str | None, password: str | None, environment: Mapping[str, str]) -> dict[str, str]:
    user = unquote(user) if user else environment.get("MLFLOW_TRACKING_USERNAME", "")
    password = unquote(password) if password else environment.get("MLFLOW_TRACKING_PASSWORD", "")
    if user:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    token = environment.get("MLFLOW_TRACKING_TOKEN", "")
    return {"Authorization": f"Bearer {token}"} if token else {}


class _Body:
    """A file as a server sends it: one that is cut is no file.

    Args:
        size: as the server listed it; what the answer itself announces is truer.
    """

    def __init__(self, answer: http.client.HTTPResponse, size: int | None) -> None:
        self._answer = answer
        self._due = answer.length if answer.length is not None else size or 0

    def read(self, amount: int) -> bytes:
        """Return at most so many bytes more; none at the end.

        Raises:
            Unanswered: it ends before its end.
        """
        try:
            found = self._answer.read(amount)
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(_BROKEN) from error
        self._due -= len(found)
        if not found and self._due > 0:
            raise Unanswered(_BROKEN)
        return found
