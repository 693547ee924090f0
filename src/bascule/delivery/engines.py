"""What is lost when a version comes into service whose predecessor answers by a chosen engine (`bascule optimize`)."""

from __future__ import annotations

from bascule.delivery.traffic import Deployment
from bascule.history import Commit, Workspace
from bascule.naming import model_path
from bascule.registry.runtimes import left_behind


def engine_left(ws: Workspace, ref: str | Commit, before: Deployment, version: int) -> str:
    """Return the engines that were chosen for the version that serves alone, and not for the one that comes.

    Args:
        before: the deployment before the version comes.

    Returns:
        Their names; empty when nothing is lost.
    """
    if len(before["traffic"]) != 1:
        return ""
    model = ws.history.read(ref, model_path(before["model"])) or {}
    return left_behind(model, before["traffic"][0]["version"], version)
