"""Models and versions over HTTP."""

from __future__ import annotations

from bascule.server.api.history import BASE, RefQuery
from bascule.server.reads import models
from bascule.server.routes import Call, Route


def list_models(call: Call[RefQuery, None]) -> list[models.ModelInfo]:
    """The models of a state with their versions."""
    return models.list_models(call.workspace, call.query.ref)


def one_model(call: Call[RefQuery, None]) -> models.ModelInfo:
    """A model with its versions, youngest first."""
    return models.get_model(call.workspace, call.query.ref, call.path["model"])


def one_version(call: Call[RefQuery, None]) -> models.VersionDetail:
    """A version, by number or alias, with its evaluation, card and approvals."""
    return models.get_version(call.workspace, call.query.ref, call.path["model"], call.path["version"])


ROUTES = [
    Route("GET", f"{BASE}/models", list_models, "read"),
    Route("GET", f"{BASE}/models/{{model}}", one_model, "read"),
    Route("GET", f"{BASE}/models/{{model}}/versions/{{version}}", one_version, "read"),
]
