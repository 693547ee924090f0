"""Step `define`: contracts, entities, feature views and how a deployment rolls out become objects of the branch."""

from __future__ import annotations

from typing import Any

import msgspec

from bascule.counting import counted
from bascule.project.definitions import about, entities, request_view, views
from bascule.project.promises import promise
from bascule.project.receipt import Output
from bascule.project.shipping import deployment_of
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.store import digest_of
from bascule.tracking import Run

NAME = "define"
# The rest of the history is written by those who make it: tables by ingestion, models by training, the traffic of a
# deployment by delivery.
OWNED = ("contracts/", "entities/", "features/", "services/")


def inputs(context: Context) -> Terms:
    """What the files say, definition by definition; of a deployment its rules, for its traffic is not theirs."""
    said = definitions(context)
    if context.project.deployment is not None and context.project.model is not None:
        said[f"deployments/{context.project.deployment.name}"] = deployment_of(None, context.project)
    return {
        f"definition:{path}": digest_of(msgspec.json.encode(definition, order="deterministic"))
        for path, definition in said.items()
    }


def idle(context: Context) -> Outcome | None:
    """Tell that the branch holds exactly what the files say, or None."""
    wanted = objects(context)
    if changes(context, wanted):
        return None
    return Outcome(_outputs(context, wanted), summary=f"{len(wanted)} definitions are as the files say")


def foreseen(context: Context) -> dict[str, dict[str, Any] | None]:
    """Return what `work` would put on the branch, and None for what it would remove. Nothing is changed."""
    return changes(context, objects(context))


def work(context: Context, run: Run, progress: Progress) -> Outcome:
    """Commit what differs; a definition that is in no file any more is removed."""
    wanted = objects(context)
    differing = changes(context, wanted)
    for path, deployment in differing.items():
        if path.startswith("deployments/") and deployment is not None:
            from bascule.project.measuring import check_file  # with the lake's queries, which others need not

            check_file(context.workspace, context.head.id, context.project, deployment)
    names = ", ".join(sorted(differing)[:3]) + (f" and {len(differing) - 3} more" if len(differing) > 3 else "")
    commit = context.workspace.history.commit(
        context.branch, differing, message=f"Define {names}", author=context.author, meta={"run": run.id}
    )
    summary = f"{counted(len(differing), 'definition')} changed"
    return Outcome(_outputs(context, wanted), summary=summary, commit=commit.id)


def objects(context: Context) -> dict[str, dict[str, Any]]:
    """Return every object that the project's files define, by its path in the history.

    Raises:
        ProjectFileError, InputError: a file is missing or says something that cannot be.
    """
    project, found = context.project, definitions(context)
    if project.deployment is not None and project.model is not None:
        path = f"deployments/{project.deployment.name}"
        found[path] = deployment_of(context.workspace.history.read(context.head, path), project)
    return found


def definitions(context: Context) -> dict[str, dict[str, Any]]:
    """Return what the files define: contracts, entities, feature views and services, by path."""
    project = context.project
    found: dict[str, dict[str, Any]] = {}
    for table, settings in project.contract.items():
        found[f"contracts/{table}"] = dict(promise(project, ("contract", table, "file"), table, settings.file))
    for name, view in project.views().items():
        if view.contract is not None:
            key, place = ("features", name, "contract"), f"features/{name}"
            found[f"contracts/{place}"] = dict(promise(project, key, place, view.contract))
    for entity in entities(project):
        found[f"entities/{entity.name}"] = msgspec.to_builtins(entity)
    for made in views(project):
        found[f"features/{made.name}"] = msgspec.to_builtins(made) | about(project, made.name)
    if (request := request_view(project)) is not None:
        found[f"features/{request.name}"] = msgspec.to_builtins(request) | about(project, request.name)
    return found | {f"services/{name}": _service(context, name) for name in project.service}


def _service(context: Context, name: str) -> dict[str, Any]:
    """A feature service; its version is one more than the branch's where its features are others."""
    features = list(context.project.service[name].features)
    held = context.workspace.history.read(context.head, f"services/{name}") or {"version": 0, "features": []}
    version = held["version"] + (held["features"] != features)
    service = {"kind": "feature_service", "name": name, "version": version, "features": features}
    if context.project.monitoring is not None:
        service["sample"] = context.project.monitoring.skew.sample
    return service | about(context.project, name)


def changes(context: Context, wanted: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any] | None]:
    """Return what must be set (object) or removed (None) for the branch to hold the wanted definitions."""
    head = context.head
    history = context.workspace.history
    held = {path: obj for prefix in (*OWNED, "deployments/") for path, obj in history.entries(head, prefix)}
    differing: dict[str, dict[str, Any] | None] = {
        path: obj for path, obj in wanted.items() if held.get(path) != msgspec.json.decode(msgspec.json.encode(obj))
    }
    return differing | {path: None for path in held if path not in wanted and path.startswith(OWNED)}


def _outputs(context: Context, wanted: dict[str, dict[str, Any]]) -> tuple[Output, ...]:
    versions = {path: context.digest(path) or "" for path in sorted(wanted)}
    return tuple(Output(name=path, version=version, uri=f"bascule:{path}") for path, version in versions.items())
