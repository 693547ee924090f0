"""A model's versions as the history holds them, and how they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import select

from bascule.catalog import schema
from bascule.errors import InputError, NotFound
from bascule.history import Commit, Workspace
from bascule.naming import MODELS, PRODUCTION, model_path

PREFIX = MODELS
LATEST = "latest"


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model. It never changes; only aliases move.

    Attributes:
        model: the model's name.
        version: its number, counted once per model over all branches and never used again.
        id: `mv_…`.
        artifact: digest of the model's file in the store.
        format: such as `lightgbm`.
        signature: inputs and output, as `bascule.training.Signature.as_dict` gives them.
        features: digest of the feature set's definition, or None.
        training_set: id of the training set.
        run_id: the run that trained it, or None.
        evaluation_id: the record of its evaluation.
        passed: whether all gates passed.
        metrics: such as `test.auc`.
        card: digest of its card in the store, or None.
        contract: digest of the contract of its inputs in the store, or None.
        graph: the steps around it when it answers; empty for none.
        created_at: microseconds since 1970 UTC.
        created_by: who registered it.
        forced: why it was registered although a gate refused it; empty when none did.
        digest: of all files of a version that came from outside, as they were when it was registered; else empty.
        bytes: of these files.
        files: where these files lie, when a bundle was made of them since, so that it can be served.
        about: what only the registry of such a client knows: description, tags, stage, source, run.
        aliases: those that point to it on the branch it was read from.
        runtime: what was chosen to answer for it there (`registry.runtimes`); empty for its own library.
    """

    model: str
    version: int
    id: str
    artifact: str
    format: str
    signature: dict[str, Any]
    training_set: str
    evaluation_id: str
    passed: bool
    metrics: dict[str, float]
    created_at: int
    created_by: str
    features: str | None = None
    run_id: str | None = None
    card: str | None = None
    contract: str | None = None
    graph: dict[str, Any] = {}
    forced: str = ""
    digest: str = ""
    bytes: int = 0
    files: str = ""
    about: dict[str, Any] = {}
    aliases: tuple[str, ...] = ()
    runtime: dict[str, Any] = {}

    @property
    def place(self) -> str:
        """Where the files of a version from outside lie, also when a bundle was made of them; else empty."""
        return self.files or (self.artifact if ":" in self.artifact else "")

    def name(self) -> str:
        """Return it as people write it: `delays@3`."""
        return f"{self.model}@{self.version}"


class ModelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A model on a branch: its versions, youngest first, and what its aliases point to."""

    name: str
    versions: tuple[int, ...]
    aliases: dict[str, int]


def served(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what of a version's entry is served: `artifact`, `format` and `signature`.

    A version that a client registered has them beside its own, once it was deployed.
    """
    return entry.get("served") or entry


def production(ws: Workspace, ref: str | Commit, model: str) -> int | None:
    """Return a model's production version on a state; None when it has none."""
    found: int | None = (ws.history.read(ref, model_path(model)) or {}).get("aliases", {}).get(PRODUCTION)
    return found


def split_name(text: str) -> tuple[str, str]:
    """Return the model and the version or alias of `delays@3`, `delays@production` or `delays` (the latest).

    The last @ parts them: a model of a client whose own name has one is `team@clf@3`, and `team@clf@` its latest.
    """
    model, which = said_version(text)
    return model, str(which or LATEST)


def said_version(name: str, which: int | str | None = None) -> tuple[str, int | str | None]:
    """Return the model and the version or alias that is said in its name, or beside it; None when neither says one.

    Raises:
        InputError: two different ones are said.
    """
    model, at, said = name.rpartition("@")
    if not at:
        return name, which
    if which is not None and said and str(which) != said:
        raise InputError(
            f"{name!r} and {which!r} are two versions.",
            hint=f"Name one of them; a model whose own name is {name!r} is written {name}@",
        )
    return model, said or which


def get_version(ws: Workspace, ref: str | Commit, model: str, which: int | str = LATEST) -> ModelVersion:
    """Return one version of a model at a ref.

    Args:
        ws: the workspace.
        ref: branch, tag, commit or time.
        model: its name.
        which: a number, an alias, or `latest`.

    Raises:
        NotFound: there is no such ref, model, version or alias; the nearest name is offered.
    """
    return version_at(ws, ref, model_path(model), model, which)


def version_at(ws: Workspace, ref: str | Commit, path: str, model: str, which: int | str) -> ModelVersion:
    """Return one version of the model that lies at a path of the history; errors as `get_version`."""
    try:
        found = ws.history.get(ref, path)
        return _version(found, _number(found, model, which))
    except NotFound as error:
        from bascule.registry.deletions import explained  # it reads versions itself

        whole = f"{model}@{which}"
        if any(one.name == whole for one in list_models(ws, ref)):
            error.hint = f"There is a model {whole!r}: it is written {whole}@, and its version 1 {whole}@1"
        raise explained(ws, ref, model, which, error) from None


def version_in(model: dict[str, Any], number: int) -> ModelVersion:
    """Return a version of a model's object, which no branch need have."""
    return _version(model, number)


def list_versions(ws: Workspace, ref: str | Commit, model: str) -> list[ModelVersion]:
    """Return all versions of a model at a ref, youngest first.

    Raises:
        NotFound: there is no such ref or model.
    """
    found = ws.history.get(ref, model_path(model))
    return [_version(found, number) for number in _numbers(found)]


def list_models(ws: Workspace, ref: str | Commit) -> list[ModelSummary]:
    """Return the models at a ref by name."""
    return [
        ModelSummary(name=found["name"], versions=tuple(_numbers(found)), aliases=dict(found["aliases"]))
        for _, found in ws.history.entries(ref, PREFIX)
    ]


def read_evaluation(ws: Workspace, evaluation_id: str) -> dict[str, Any]:
    """Return the report of an evaluation, as it was registered.

    Raises:
        NotFound: there is none of that id.
    """
    table = schema.evaluations
    with ws.catalog.read() as conn:
        text = conn.execute(select(table.c.report_json).where(table.c.id == evaluation_id)).scalar()
    if text is None:
        raise NotFound("evaluation", evaluation_id, hint="List a model's versions to see their evaluations.")
    report: dict[str, Any] = msgspec.json.decode(text)
    return report


def _number(found: dict[str, Any], model: str, which: int | str) -> int:
    numbers = _numbers(found)
    if which == LATEST and numbers:
        return numbers[0]
    text = str(which)
    number = int(text) if text.isdecimal() else found["aliases"].get(text)
    if number is None or number not in numbers:
        known = [*(str(one) for one in numbers), *found["aliases"]]
        kind = f"version of {model!r}" if text.isdecimal() else f"version or alias of {model!r}"
        raise NotFound(kind, text, known)
    return int(number)


def _numbers(found: dict[str, Any]) -> list[int]:
    return sorted((int(one) for one in found["versions"]), reverse=True)


def _version(found: dict[str, Any], number: int) -> ModelVersion:
    aliases = tuple(sorted(name for name, target in found["aliases"].items() if target == number))
    beside = {"model": found["name"], "aliases": aliases, "runtime": found.get("runtimes", {}).get(str(number), {})}
    entry = found["versions"][str(number)]
    return msgspec.convert({**entry, **beside, "metrics": read_metrics(entry)}, ModelVersion)


def read_metrics(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of a version's entry, those that are no number too."""
    return {name: math.nan if value is None else float(value) for name, value in entry["metrics"].items()}


def held_metrics(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Return metrics as an entry of the history holds them: JSON has no NaN and no infinity, so these are texts."""
    return {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}
