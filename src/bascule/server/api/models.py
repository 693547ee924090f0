"""Models and versions over HTTP."""

from __future__ import annotations

from typing import Any

import msgspec

from bascule.project.deleting import Deleted, Restored, delete, restore
from bascule.project.modelling import find_version
from bascule.registry.approvals import checked_reason, subject_of
from bascule.registry.deletions import as_dict, deleted
from bascule.registry.seals import Seal, revoke
from bascule.registry.versions import ModelVersion
from bascule.server.api.history import BASE, RefQuery
from bascule.server.api.landing import branch_to_land
from bascule.server.reads import models
from bascule.server.routes import Call, Route
from bascule.tracking.vouching import Safety, safety, trust


class Consent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why; kept in the audit log with the digest of the version's files."""

    reason: str
    branch: str = "main"


class Why(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why, and on which branch; kept with it and in the audit log."""

    reason: str
    branch: str = "main"


class Back(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """On which branch, and why if somebody wants to say so."""

    reason: str = ""
    branch: str = "main"


def list_models(call: Call[RefQuery, None]) -> list[models.ModelInfo]:
    """The models of a state with their versions."""
    return models.list_models(call.workspace, call.query.ref)


def one_model(call: Call[RefQuery, None]) -> models.ModelInfo:
    """A model with its versions, youngest first."""
    return models.get_model(call.workspace, call.query.ref, call.path["model"])


def one_version(call: Call[RefQuery, None]) -> models.VersionDetail:
    """A version, by number or alias, with its evaluation, card and approvals."""
    return models.get_version(call.workspace, call.query.ref, call.path["model"], call.path["version"])


def deleted_models(call: Call[RefQuery, None]) -> list[dict[str, Any]]:
    """The versions that were deleted from a state and can be restored, youngest first."""
    return [as_dict(one) for one in deleted(call.workspace, call.query.ref)]


def delete_model(call: Call[None, Why]) -> Deleted:
    """Delete a model with its versions from a branch; refused while anything uses one, and says what does."""
    return _deleted(call, None)


def delete_version(call: Call[None, Why]) -> Deleted:
    """Delete a version, by number or alias, from a branch; refused while anything uses it, and says what does."""
    return _deleted(call, call.path["version"])


def _deleted(call: Call[None, Why], version: str | None) -> Deleted:
    branch = branch_to_land(call, call.body.branch)
    folder, who = call.workspace.folder.parent, call.principal.name
    return delete(
        call.workspace, branch, f"{call.path['model']}@", version, reason=call.body.reason, folder=folder, who=who
    )


def restore_version(call: Call[None, Back]) -> Restored:
    """Bring a deleted version back to a branch, until it was purged."""
    branch = branch_to_land(call, call.body.branch)
    folder, who = call.workspace.folder.parent, call.principal.name
    name = f"{call.path['model']}@{call.path['version']}"
    return restore(call.workspace, branch, name, reason=call.body.reason, folder=folder, who=who)


def version_safety(call: Call[RefQuery, None]) -> Safety:
    """What would run if a version were loaded, its digest, and the consent to it that holds; nothing is loaded."""
    return safety(call.workspace, _named(call, call.query.ref))


def trust_version(call: Call[None, Consent]) -> Seal:
    """Consent that a process of its own loads a version's pickles. It holds for its present bytes alone."""
    found = _named(call, call.body.branch)
    return trust(call.workspace, found, call.body.reason)


def distrust_version(call: Call[None, Consent]) -> list[Seal]:
    """Take consent back: what serves the version stops."""
    found = _named(call, call.body.branch)
    reason = checked_reason(call.body.reason, "Taking consent back")
    return revoke(call.workspace, "trust", subject_of(found), reason)


def _named(call: Call[Any, Any], ref: str) -> ModelVersion:
    # The model's name stands alone here, and an @ is its own.
    return find_version(call.workspace, ref, f"{call.path['model']}@", call.path["version"])


ROUTES = [
    Route("GET", f"{BASE}/models", list_models, "read"),
    Route("GET", f"{BASE}/deleted-models", deleted_models, "read"),
    Route("GET", f"{BASE}/models/{{model}}", one_model, "read"),
    Route("POST", f"{BASE}/models/{{model}}/delete", delete_model, "write"),
    Route("POST", f"{BASE}/models/{{model}}/versions/{{version}}/delete", delete_version, "write"),
    Route("POST", f"{BASE}/models/{{model}}/versions/{{version}}/restore", restore_version, "write"),
    Route("GET", f"{BASE}/models/{{model}}/versions/{{version}}", one_version, "read"),
    Route("GET", f"{BASE}/models/{{model}}/versions/{{version}}/safety", version_safety, "read"),
    # Whoever may do this lets a stranger's code run on the machine that serves.
    Route("POST", f"{BASE}/models/{{model}}/versions/{{version}}/trust", trust_version, "admin"),
    Route("POST", f"{BASE}/models/{{model}}/versions/{{version}}/distrust", distrust_version, "deploy"),
]
