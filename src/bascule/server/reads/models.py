"""Models and their versions on a branch: metrics, gates, cards, approvals, and where they serve."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import or_, select

from bascule.catalog import schema
from bascule.errors import BasculeError, NotFound
from bascule.evaluation import EvaluationReport, read_report
from bascule.history import Workspace
from bascule.naming import model_path
from bascule.registry.deletions import explained


class VersionInfo(msgspec.Struct, frozen=True):
    """One version of a model as the history holds it."""

    model: str
    version: int
    id: str
    format: str
    artifact: str
    run_id: str | None
    evaluation_id: str | None
    training_set: str | None
    features: str | None
    card: str | None
    passed: bool
    metrics: dict[str, float]
    aliases: tuple[str, ...]
    serving: tuple[str, ...]
    created_at: int
    created_by: str
    signature: dict[str, Any]


class ModelInfo(msgspec.Struct, frozen=True):
    """A model with its versions, youngest first."""

    name: str
    aliases: dict[str, int]
    versions: list[VersionInfo]


class Approval(msgspec.Struct, frozen=True):
    """Somebody decided something about a subject."""

    id: str
    subject: str
    decision: str
    actor: str
    reason: str
    at: int


class TrainingSetInfo(msgspec.Struct, frozen=True):
    """The rows that a version learned from."""

    id: str
    name: str
    rows: int
    columns: list[Any]
    spec: dict[str, Any]
    split: dict[str, Any]
    commit_id: str
    created_at: int


class VersionDetail(msgspec.Struct, frozen=True):
    """A version with its evaluation card and approvals."""

    version: VersionInfo
    report: EvaluationReport | None
    evaluated_at: int | None
    card: str | None
    approvals: list[Approval]
    training_set: TrainingSetInfo | None


def list_models(ws: Workspace, ref: str) -> list[ModelInfo]:
    """Return the models of a state."""
    serving = _serving(ws, ref)
    return [_model(value, serving) for _, value in ws.history.entries(ref, "models/")]


def get_model(ws: Workspace, ref: str, name: str) -> ModelInfo:
    """Return one model.

    Raises:
        NotFound: with the nearest name.
    """
    return _model(ws.history.get(ref, model_path(name)), _serving(ws, ref))


def get_version(ws: Workspace, ref: str, name: str, version: str) -> VersionDetail:
    """Return one version, by its number or an alias.

    Raises:
        NotFound: with the versions and aliases that there are.
    """
    model = get_model(ws, ref, name)
    number = str(model.aliases.get(version, version))
    found = next((one for one in model.versions if str(one.version) == number), None)
    if found is None:
        error = NotFound(f"version of {name!r}", version, [*(str(v.version) for v in model.versions), *model.aliases])
        raise explained(ws, ref, name, version, error)
    report, evaluated_at = _report(ws, found)
    return VersionDetail(
        found, report, evaluated_at, _card(ws, found), approvals(ws, found), _training_set(ws, found.training_set)
    )


def approvals(ws: Workspace, version: VersionInfo) -> list[Approval]:
    """Return what people decided about a version, first decision first."""
    a = schema.approvals.c
    about = or_(a.subject == f"models/{version.model}@{version.version}", a.subject == version.id)
    with ws.catalog.read() as conn:
        return [Approval(**row._mapping) for row in conn.execute(select(schema.approvals).where(about).order_by(a.at))]


def _training_set(ws: Workspace, training_set: str | None) -> TrainingSetInfo | None:
    """Return a training set's record."""
    if training_set is None:
        return None
    with ws.catalog.read() as conn:
        wanted = select(schema.training_sets).where(schema.training_sets.c.id == training_set)
        row = conn.execute(wanted).first()
    if row is None:
        return None
    decode = msgspec.json.decode
    return TrainingSetInfo(
        row.id,
        row.name,
        row.rows,
        decode(row.columns_json),
        decode(row.spec_json),
        decode(row.split_json),
        row.commit_id,
        row.created_at,
    )


def _model(value: dict[str, Any], serving: dict[tuple[str, int], tuple[str, ...]]) -> ModelInfo:
    aliases: dict[str, int] = value.get("aliases", {})
    versions = []
    for number, version in value.get("versions", {}).items():
        names = tuple(sorted(alias for alias, points_at in aliases.items() if int(points_at) == int(number)))
        where = serving.get((value["name"], int(number)), ())
        versions.append(_version(value["name"], int(number), version, names, where))
    return ModelInfo(value["name"], aliases, sorted(versions, key=lambda v: -v.version))


def _version(
    model: str, number: int, value: dict[str, Any], aliases: tuple[str, ...], serving: tuple[str, ...]
) -> VersionInfo:
    return VersionInfo(
        model=model,
        version=number,
        id=value["id"],
        format=value.get("format", ""),
        artifact=value["artifact"],
        run_id=value.get("run_id"),
        evaluation_id=value.get("evaluation_id"),
        training_set=value.get("training_set"),
        features=value.get("features"),
        card=value.get("card"),
        passed=bool(value.get("passed")),
        metrics={k: v for k, v in (value.get("metrics") or {}).items() if isinstance(v, (int, float))},
        aliases=aliases,
        serving=serving,
        created_at=value.get("created_at", 0),
        created_by=value.get("created_by", ""),
        signature=value.get("signature") or {},
    )


def _serving(ws: Workspace, ref: str) -> dict[tuple[str, int], tuple[str, ...]]:
    """For each version with traffic, `deployment weight %`."""
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    for _, deployment in ws.history.entries(ref, "deployments/"):
        for share in deployment.get("traffic", []):
            key = (deployment["model"], int(share["version"]))
            found[key] = (*found.get(key, ()), f"{deployment['name']} {share['weight']} %")
    return found


def _report(ws: Workspace, version: VersionInfo) -> tuple[EvaluationReport | None, int | None]:
    e = schema.evaluations.c
    known = e.id == version.evaluation_id if version.evaluation_id else e.model_version_id == version.id
    with ws.catalog.read() as conn:
        row = conn.execute(select(e.report_json, e.at).where(known).order_by(e.at.desc())).first()
    return (read_report(row.report_json), row.at) if row else (None, None)


def _card(ws: Workspace, version: VersionInfo) -> str | None:
    if not version.card:
        return None
    try:
        return ws.store.get(version.card).decode("utf-8", "replace")
    except BasculeError:  # the version stands without its card; the page says that it is gone
        return None
