"""`[model.steps]` as the registry keeps it: functions with their source, and members at the versions they have now."""

from __future__ import annotations

from typing import Any

import msgspec

from bascule.errors import BasculeError
from bascule.project.file import ProjectFile
from bascule.project.sections import Steps
from bascule.project.step import Context
from bascule.registry import get_version
from bascule.registry.versions import served, split_name
from bascule.serving.graph import STEPS, sources


def check_steps(project: ProjectFile) -> None:
    """Check what `[model.steps]` says, and that its functions are there.

    Raises:
        ProjectFileError: at the first thing that does not hold.
    """
    steps = project.model.steps if project.model else Steps()
    if steps.route and steps.combine:
        raise project.problem(("model", "steps", "combine"), "stands beside route.", "One of them asks the members.")
    asks = "route" if steps.route else "combine" if steps.combine else ""
    if asks and not steps.members:
        raise project.problem(("model", "steps", asks), "has no members.", 'Name them: members = { other = "MODEL" }')
    if steps.members and not asks:
        raise project.problem(("model", "steps", "members"), "are asked by nothing.", "Write a route or a combine.")
    if project.model and project.model.name in steps.members:
        raise project.problem(
            ("model", "steps", "members"),
            f"has {project.model.name!r}, which is the model itself.",
            f'Give another version of it another name: members = {{ before = "{project.model.name}@1" }}',
        )
    if steps.takes and not steps.before:
        raise project.problem(("model", "steps", "takes"), "means nothing without before.")
    for name in STEPS:
        function = getattr(steps, name)
        if function is None:
            continue
        try:
            sources([function], project.folder)
        except BasculeError as error:
            raise project.problem(("model", "steps", name), error.message, error.hint) from None


def graph_of(context: Context) -> dict[str, Any]:
    """Return the steps as the registry holds them; empty when there are none. The source goes into the store.

    Raises:
        ProjectFileError: a function is not there.
        NotFound: a member is no model of the branch.
    """
    project = context.project
    steps = project.model.steps if project.model else Steps()
    functions = [name for name in (getattr(steps, one) for one in STEPS) if name is not None]
    if not functions:
        return {}
    check_steps(project)
    code = sources(functions, project.folder)
    members = {}
    for name, text in steps.members.items():
        version = get_version(context.workspace, context.branch, *split_name(text))
        entry = context.workspace.history.get(context.branch, f"models/{version.model}")["versions"]
        artifact = served(entry[str(version.version)])["artifact"]
        members[name] = {"model": version.model, "version": version.version, "artifact": artifact}
    found: dict[str, Any] = {one: getattr(steps, one) for one in STEPS if getattr(steps, one)}
    if members:
        found["members"] = members
    if steps.takes:
        found["takes"] = dict(steps.takes)
    return {**found, "code": context.workspace.store.put(msgspec.msgpack.encode(code, order="deterministic"))}
