"""Registered models of a source, each as one commit of a branch."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from bascule.catalog.schema import logged_models, runs
from bascule.errors import BasculeError, InputError
from bascule.history import Workspace
from bascule.naming import model_path
from bascule.protocols.mlflow.importing.records import Registered, Source, Version
from bascule.protocols.mlflow.importing.report import Imported, Progress
from bascule.registry import external
from bascule.registry.external import STAGES
from bascule.tracking.artifacts import confined

LARGEST_VERSION = 2**31 - 1


def take_registered(
    workspace: Workspace, source: Source, branch: str, author: str, report: Imported, progress: Progress
) -> None:
    """Take the registered models of a source, each in one commit of the branch."""
    for done, model in enumerate(source.registered()):
        progress("registered models", done, None)
        try:
            _take(workspace, model, branch, author, report)
        except BasculeError as error:
            if not isinstance(error, InputError):
                raise
            report.leave("registered models", error.message[:200], model.name[:200])


def _take(workspace: Workspace, model: Registered, branch: str, author: str, report: Imported) -> None:
    model_path(model.name)
    here = workspace.history.read(branch, model_path(model.name))
    versions = {}
    for which, why in model.unread:
        report.leave("versions of registered models", why[:200], f"{model.name} {which}"[:200])
    for version in model.versions:
        try:
            versions[_number(version)] = _entry(workspace, model, version, author, report)
        except InputError as error:
            which = f"{model.name} version {version.number}"
            report.leave("versions of registered models", error.message[:200], which[:200])
    for alias, number in model.aliases.items():
        if number not in versions:
            report.leave(
                "aliases", f"version {number}, to which it points, was not taken", f"{model.name}@{alias}"[:200]
            )
    if report.dry_run:
        report.registered += here is None
        report.versions += len(versions.keys() - {int(one) for one in (here or {"versions": {}})["versions"]})
        return
    about = {
        "description": model.description,
        "tags": dict(model.tags),
        "created_at": model.created_at,
        "updated_at": model.updated_at,
    }
    added, problems = external.adopt_model(
        workspace,
        branch,
        model.name,
        about=about,
        versions=versions,
        aliases=model.aliases,
        author=author,
    )
    report.registered += here is None
    report.versions += len(added)
    report.conflicts += problems


def _number(version: Version) -> int:
    if not 0 < version.number <= LARGEST_VERSION:
        raise InputError(f"{version.number} is no number of a version.", hint="They count from 1.")
    return version.number


def _entry(workspace: Workspace, model: Registered, version: Version, author: str, report: Imported) -> dict[str, Any]:
    place = _place_of(workspace, version)
    if not place and not report.dry_run and version.source and version.tags.get("mlflow.prompt.is_prompt") != "true":
        why = "their files are with no run and no logged model that was taken; the versions are"
        report.leave("files of versions", why, f"{model.name} version {version.number}: {version.source}"[:200])
    stage = next((one for one in STAGES if one.lower() == version.stage.lower()), STAGES[0])
    return {
        "artifact": place,
        "run_id": version.run or None,
        "created_at": version.created_at,
        "created_by": version.user or author,
        "about": {
            "stage": stage,
            "updated_at": version.updated_at,
            "source": version.source,
            "run_id": version.run,
            "run_link": version.run_link,
            "description": version.description,
            "tags": dict(version.tags),
            "model_id": version.model,
        },
    }


def _place_of(workspace: Workspace, version: Version) -> str:
    """Return where a version's files lie here; empty when they do not."""
    with workspace.catalog.read() as conn:
        if version.model:
            query = select(logged_models.c.artifact_uri).where(logged_models.c.id == version.model)
            if found := conn.execute(query).scalar():
                return str(found)
        if not version.run:
            return ""
        run = conn.execute(select(runs.c.artifact_uri).where(runs.c.id == version.run)).scalar()
    text = version.source
    if text.startswith("runs:/"):
        inside = text.removeprefix("runs:/").partition("/")[2]
    else:
        _, found, inside = text.partition(f"/{version.run}/artifacts")
        if not found:
            return ""
    return f"{run}/{confined(inside.strip('/'))}".rstrip("/") if run else ""
