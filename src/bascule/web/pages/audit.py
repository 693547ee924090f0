"""The audit log."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from bascule.server.reads import audit
from bascule.server.routes import Call, Route
from bascule.web.render import page


class AuditView(msgspec.Struct, frozen=True):
    """Which entries; `verify` walks the whole chain."""

    ref: str = "main"
    text: str | None = None
    before: int | None = None
    verify: bool = False


def log(call: Call[AuditView, None]) -> Response:
    """Who did what, youngest first, and whether the chain holds."""
    query = call.query
    found = audit.list_audit(call.workspace, before=query.before, text=query.text)
    state = audit.verify_audit(call.workspace) if query.verify else None
    return page(call, "audit.html", found=found, state=state, text=query.text or "")


ROUTES = [Route("GET", "/audit", log, "read", page=True)]
