"""The commands as Python: `bascule.open()` gives a project, and its methods are what the command line says.

Each verb has the name, the arguments and the results of its command: what `--json` prints is the result's `as_dict()`.
`bascule.run()`, `bascule.merge("dev")` and so on, without a project, mean the one of the current folder. Rooms are
imported when a verb is called, so `import bascule` costs nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bascule.verbs.asking import AskingVerbs
from bascule.verbs.bound import Asked
from bascule.verbs.building import BuildingVerbs
from bascule.verbs.caring import CaringVerbs
from bascule.verbs.declaring import feature_view
from bascule.verbs.featuring import FeatureVerbs
from bascule.verbs.history import HistoryVerbs
from bascule.verbs.integrating import IntegrationVerbs
from bascule.verbs.modelling import ModelVerbs
from bascule.verbs.shipping import ShippingVerbs
from bascule.verbs.tracking import TrackingVerbs

if TYPE_CHECKING:
    from bascule.project.init import InitReport

__all__ = ["OpenProject", "feature_view", "init", "open"]


class OpenProject(
    HistoryVerbs,
    BuildingVerbs,
    FeatureVerbs,
    TrackingVerbs,
    ModelVerbs,
    ShippingVerbs,
    AskingVerbs,
    CaringVerbs,
    IntegrationVerbs,
):
    """A project with its workspace and its current branch. Each method is the command of that name."""


def open(folder: Path | str | None = None, *, workspace: str | None = None, branch: str | None = None) -> OpenProject:
    """Open the project that a folder lies in, the current one by default.

    Nothing is read before a verb is called.

    Args:
        folder: in or below the project's folder.
        workspace: the workspace's folder; BASCULE_WORKSPACE, the project file and `.bascule` come after it.
        branch: the branch to work on; the current one when None.
    """
    return OpenProject(Asked(Path(folder or Path.cwd()).resolve(), workspace, branch))


def init(
    data: Path | str | None = None,
    label: str | None = None,
    *,
    into: Path | str = ".",
    template: str | None = None,
    name: str | None = None,
    catalog: str = "",
    storage: str = "",
    git: bool = True,
    profile: bool = False,
) -> InitReport:
    """Look at a folder of data, write a project in plain text and make its workspace; see `begin_project`."""
    from bascule.project.beginning import begin_project

    return begin_project(
        data, label, into, template=template, name=name, catalog=catalog, storage=storage, git=git, profile=profile
    )


#: The methods that `bascule.NAME` calls on the project of the current folder.
VERBS = frozenset(
    name
    for kind in OpenProject.__bases__
    for name, value in vars(kind).items()
    if not name.startswith("_") and callable(value)
)
