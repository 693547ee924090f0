"""Deploying as the project file says it."""

from __future__ import annotations

from bascule.delivery import deploy
from bascule.errors import InputError
from bascule.history import Commit
from bascule.project.place import PROJECT_FILE, Place
from bascule.project.sections import Deployment

STRATEGIES = {"canary": "canary", "replace": "all_at_once"}


def deploy_version(
    place: Place,
    name: str | None,
    version: str,
    *,
    model: str | None = None,
    strategy: str | None = None,
    reason: str = "",
) -> Commit:
    """Bring a version of a model into service on the current branch.

    Args:
        name: the deployment; the project's when None.
        version: a number or an alias.
        model: its name; the project's model, else the deployment's name, when None.
        strategy: `canary` or `all_at_once`; the project's when None.

    Raises:
        InputError: no name was given and the project has no `[deployment]`.
        NotFound, CheckFailed, Conflict: as `delivery.deploy`.
    """
    project = place.file if (place.folder / PROJECT_FILE).is_file() else None
    settings = project.deployment if project else None
    chosen = (name or (settings.name if settings else "")).removeprefix("deployments/")
    if not chosen:
        raise InputError("No deployment is named.", hint="Name one, or write [deployment] into bascule.toml.")
    if model is None:
        model = project.model.name if project and project.model and settings and settings.name == chosen else chosen
    rules = settings or Deployment(name=chosen)
    return deploy(
        place.workspace,
        place.branch,
        chosen,
        model,
        version,
        strategy=strategy or STRATEGIES[rules.strategy],
        steps=rules.steps,
        reason=reason,
    )
