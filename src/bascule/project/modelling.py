"""Models as people look at them: one version with all that is known, two side by side, and what was decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import select

from bascule.catalog.schema import runs
from bascule.errors import CheckFailed
from bascule.history import Commit, Workspace
from bascule.naming import model_path
from bascule.project.place import PROJECT_FILE, Place
from bascule.registry import VersionDiff, compare, seals
from bascule.registry.approvals import decisions, standing, subject_of, way_out
from bascule.registry.versions import LATEST, ModelVersion, said_version, version_at
from bascule.tracking import vouching
from bascule.tracking.mlmodel import Column, ModelFile, read_model_file

# Types of our own signatures as Arrow names them.
ARROW = {"double": "double", "bigint": "int64", "boolean": "bool", "varchar": "string"}


@dataclass(frozen=True)
class Compared:
    """Two versions side by side.

    Attributes:
        versions: what differs of the versions themselves.
        parameters: name to (before, after), of those that differ.
        packages: name to (before, after), of those that differ in the environments of their runs.
        size: bytes of their files.
        about: other facts that differ, by name.
    """

    versions: VersionDiff
    parameters: dict[str, tuple[str | None, str | None]]
    packages: dict[str, tuple[str | None, str | None]]
    size: tuple[int, int]
    about: dict[str, tuple[Any, Any]]

    def as_dict(self) -> dict[str, Any]:
        """The comparison as one JSON object."""
        told: dict[str, Any] = msgspec.to_builtins(self.versions)
        more = {"parameters": self.parameters, "packages": self.packages, "size": self.size, "about": self.about}
        return told | {key: msgspec.to_builtins(value) for key, value in more.items()}


def find_version(ws: Workspace, ref: str | Commit, name: str, which: int | str | None = None) -> ModelVersion:
    """Return a version by its model's name: `delays` (the latest), `delays@3` or `delays@production`.

    A name may have signs that only other registries allow.

    Raises:
        NotFound: there is no such model, version or alias.
        InputError: the version is said twice.
    """
    model, wanted = said_version(name, which)
    return version_at(ws, ref, model_path(model), model, LATEST if wanted in (None, "") else wanted)


def show(ws: Workspace, version: ModelVersion) -> dict[str, Any]:
    """Return all that is known of a version, JSON-able."""
    held, told = vouching.contents(ws, version), read_model_file(ws, version.place)
    safe, signed = vouching.safety(ws, version), seals.seals(ws, "sign", subject_of(version))
    about = version.about
    said: dict[str, Any] = {
        "model": version.model,
        "version": version.version,
        "id": version.id,
        "aliases": list(version.aliases),
        "stage": about.get("stage", ""),
        "description": about.get("description", ""),
        "tags": about.get("tags", {}),
        "digest": held.digest,
        "bytes": held.size,
        "files": [msgspec.to_builtins(one) for one in held.files],
        "format": version.format,
        "flavors": list(told.flavors),
        "schema": msgspec.to_builtins(schema_of(version, told)),
        "notes": list(told.notes),
        "signature": version.signature,
        "example": told.example,
        "environment": environment_of(ws, version, told),
        "licence": licence_of(version, told),
        "lineage": lineage_of(ws, version),
        "metrics": version.metrics,
        "passed": version.passed,
        "forced": version.forced,
        "decisions": [msgspec.to_builtins(one) for one in decisions(ws, version)],
        "standing": msgspec.to_builtins(standing(ws, version)),
        "safety": msgspec.to_builtins(safe),
        "signed": msgspec.to_builtins(signed[0]) if signed else None,
        "runtime": version.runtime or None,
        "answered_by": answered_by(version),
        "created_at": version.created_at,
        "created_by": version.created_by,
    }
    return said


def answered_by(version: ModelVersion) -> str:
    """Return in words what was chosen to answer for a version; empty for its own library."""
    if not version.runtime:
        return ""
    from bascule.serving.engines import read_recipe

    return read_recipe(version.runtime["recipe"]).names()


def schema_of(version: ModelVersion, told: ModelFile) -> dict[str, list[Column]]:
    """Return the columns that a version takes and gives, with Arrow's types."""
    if version.place:
        return {"inputs": list(told.inputs), "outputs": list(told.outputs)}
    inputs = [
        Column(name=one["name"], type=ARROW.get(one["type"], one["type"]), nullable=one.get("nullable", True))
        for one in version.signature.get("inputs", ())
    ]
    output = version.signature.get("output", {})
    gives = "double" if output.get("task") == "regression" else "string"
    return {"inputs": inputs, "outputs": [Column(name="output", type=gives, nullable=False)] if output else []}


def environment_of(ws: Workspace, version: ModelVersion, told: ModelFile) -> dict[str, Any]:
    """Return what a version was made in, and what it says that it runs in."""
    run = _run(ws, version)
    made = msgspec.json.decode(run["environment_json"]) if run and run["environment_json"] else {}
    return {"made_in": made, "files": told.environment}


def licence_of(version: ModelVersion, told: ModelFile) -> str:
    """Return a version's licence, from its tags or its own file; empty when nobody said one."""
    tags = version.about.get("tags", {})
    said = {key.lower(): value for key, value in tags.items()}
    return str(said.get("license") or said.get("licence") or told.licence)


def lineage_of(ws: Workspace, version: ModelVersion) -> dict[str, Any]:
    """Return what a version came from: run, code, training set, source."""
    run = _run(ws, version)
    code = {key: run[key] for key in ("code_commit", "code_dirty", "commit_id", "user_name")} if run else {}
    return {
        "run": version.run_id,
        **code,
        "training_set": version.training_set or None,
        "features": version.features,
        "evaluation": version.evaluation_id or None,
        "source": version.about.get("source") or None,
        "logged_model": version.about.get("model_id") or None,
    }


def compare_versions(ws: Workspace, before: ModelVersion, after: ModelVersion) -> Compared:
    """Return what differs between two versions: what they are, what they learned with, and what they ran in."""
    from bascule.tracking.keeping import params_of

    first, second = _run(ws, before), _run(ws, after)
    with ws.catalog.read() as conn:
        params = [
            params_of(conn, run["number"]) if run and run["number"] is not None else {} for run in (first, second)
        ]
    packages = [
        msgspec.json.decode(run["environment_json"] or "{}").get("packages", {}) if run else {}
        for run in (first, second)
    ]
    told = [read_model_file(ws, one.place) for one in (before, after)]
    facts = [
        {
            "format": one.format,
            "flavors": list(file.flavors),
            "licence": licence_of(one, file),
            "schema": msgspec.to_builtins(schema_of(one, file)),
            "safety": vouching.safety(ws, one).level,
            "code": run["code_commit"] if run else None,
            "stage": one.about.get("stage", ""),
        }
        for one, file, run in ((before, told[0], first), (after, told[1], second))
    ]
    diff = compare(_with_metrics(ws, before, first), _with_metrics(ws, after, second))
    return Compared(
        versions=diff,
        parameters=_differing(*params),
        packages=_differing(*packages),
        size=(vouching.contents(ws, before).size, vouching.contents(ws, after).size),
        about={key: (facts[0][key], facts[1][key]) for key in facts[0] if facts[0][key] != facts[1][key]},
    )


def _with_metrics(ws: Workspace, version: ModelVersion, run: dict[str, Any] | None) -> ModelVersion:
    """Return a version that has its run's last metrics when nobody evaluated it."""
    return version if version.metrics else msgspec.structs.replace(version, metrics=metrics_of(ws, run))


def run_of(ws: Workspace, version: ModelVersion) -> dict[str, Any] | None:
    """Return the row of the run that made a version, or None."""
    return _run(ws, version)


def metrics_of(ws: Workspace, run: dict[str, Any] | None) -> dict[str, float]:
    """Return the last value of each of a run's metrics."""
    from bascule.tracking.reading import read_run

    return {key: float(value) for key, value in read_run(ws, run["id"])["metrics"].items()} if run else {}


def _run(ws: Workspace, version: ModelVersion) -> dict[str, Any] | None:
    with ws.catalog.read() as conn:
        row = conn.execute(select(runs).where(runs.c.id == (version.run_id or ""))).mappings().first()
    return dict(row) if row else None


def _differing(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    names = sorted({*before, *after})
    return {k: (before.get(k), after.get(k)) for k in names if before.get(k) != after.get(k)}


def demand_approved(ws: Workspace, version: ModelVersion, needed: int, refused: str) -> None:
    """Refuse a version that lacks approvals, or that somebody rejects, when approvals are asked for.

    Args:
        needed: `[gates] approvals`; 0 asks for none.
        refused: what does not happen, as the beginning of a sentence.

    Raises:
        CheckFailed: saying whose word is missing.
    """
    why = standing(ws, version).missing(needed) if needed else ""
    if why:
        name = version.name()
        raise CheckFailed(
            f"{refused}: {name} is not approved: {why}.",
            details=[msgspec.to_builtins(one) for one in decisions(ws, version)],
            hint=way_out(version, standing(ws, version)),
        )


def approvals_asked(place: Place) -> int:
    """Return how many approvals the project of a place asks for; 0 without a project file."""
    return place.file.gates.approvals if (place.folder / PROJECT_FILE).is_file() else 0
