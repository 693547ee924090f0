"""Who may change what serves on a branch: the role that its environment asks for, above the one of the route."""

from __future__ import annotations

from bascule.delivery.environments import Environment, environment_of, gates_of
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.server.access import ROLES, Principal
from bascule.server.answers import Refused
from bascule.server.dispatch import demand


def role_for(ws: Workspace, ref: str, name: str) -> str:
    """Return the least role that may change a deployment's traffic on a branch."""
    return _asked(ws, ref, name).role


def may_change(ws: Workspace, principal: Principal, ref: str, name: str) -> bool:
    """Tell whether somebody may change a deployment's traffic on a branch."""
    return principal.may("deploy") and _reaches(principal.role, role_for(ws, ref, name))


def demand_role(ws: Workspace, principal: Principal, branch: str, name: str) -> None:
    """Refuse who may not change a deployment's traffic on a branch.

    Raises:
        NotFound: there is no such branch.
        Refused: 401 for nobody, 403 for a role that is too weak.
    """
    demand(principal, "deploy")
    asked = _asked(ws, branch, name)
    if not _reaches(principal.role, asked.role):
        what = f"{principal.name!r} has the role {principal.role}, which may not change {asked.name or branch}."
        raise Refused(403, InputError(what, hint=f"It takes the role {asked.role}."))


def demand_landing(ws: Workspace, principal: Principal, branch: str) -> None:
    """Refuse who may not land something on a branch: what lands on a protected one may ship.

    Raises:
        Refused: 401 for nobody, 403 for a role that is too weak.
    """
    named = ws.history.named(branch)
    if named is None or not named.protected:
        return
    demand(principal, "deploy")
    for path, _ in ws.history.entries(branch, "deployments/"):
        demand_role(ws, principal, branch, path.partition("/")[2])


def _asked(ws: Workspace, ref: str, name: str) -> Environment:
    return environment_of({"rules": gates_of(ws, ref, ws.history.read(ref, f"deployments/{name}"))}, ref)


def _reaches(role: str, least: str) -> bool:
    order = list(ROLES)
    return role in order and least in order and order.index(role) >= order.index(least)
