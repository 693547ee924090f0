"""Models and versions over HTTP."""

from __future__ import annotations

import msgspec

from bascule.project.modelling import find_version
from bascule.registry.approvals import checked_reason, subject_of
from bascule.registry.seals import Seal, revoke
from bascule.server.api.history import BASE, RefQuery
from bascule.server.reads import models
from bascule.server.routes import Call, Route
from bascule.tracking.vouching import Safety, safety, trust


class Consent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why; kept in the audit log with the digest of the version's files."""

    reason: str
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


def version_safety(call: Call[RefQuery, None]) -> Safety:
    """What would run if a version were loaded, its digest, and the consent to it that holds; nothing is loaded."""
    return safety(
        call.workspace, find_version(call.workspace, call.query.ref, call.path["model"], call.path["version"])
    )


def trust_version(call: Call[None, Consent]) -> Seal:
    """Consent that a process of its own loads a version's pickles. It holds for its present bytes alone."""
    found = find_version(call.workspace, call.body.branch, call.path["model"], call.path["version"])
    return trust(call.workspace, found, call.body.reason)


def distrust_version(call: Call[None, Consent]) -> list[Seal]:
    """Take consent back: what serves the version stops."""
    found = find_version(call.workspace, call.body.branch, call.path["model"], call.path["version"])
    reason = checked_reason(call.body.reason, "Taking consent back")
    return revoke(call.workspace, "trust", subject_of(found), reason)


ROUTES = [
    Route("GET", f"{BASE}/models", list_models, "read"),
    Route("GET", f"{BASE}/models/{{model}}", one_model, "read"),
    Route("GET", f"{BASE}/models/{{model}}/versions/{{version}}", one_version, "read"),
    Route("GET", f"{BASE}/models/{{model}}/versions/{{version}}/safety", version_safety, "read"),
    # Whoever may do this lets a stranger's code run on the machine that serves.
    Route("POST", f"{BASE}/models/{{model}}/versions/{{version}}/trust", trust_version, "admin"),
    Route("POST", f"{BASE}/models/{{model}}/versions/{{version}}/distrust", distrust_version, "deploy"),
]
