"""One HTTP application for a workspace, and the process that keeps it, the inference worker and the scheduler alive.

The server owns the route table with its permissions, who is behind a request, what is answered to whom, the native API
and its OpenAPI document, tokens, settings, and `bascule up`. It changes nothing by itself: it calls the rooms below.
The web room adds its pages; the command line starts it.
"""

from bascule.server.access import ROLES, Principal
from bascule.server.app import create_app, create_early_app
from bascule.server.routes import Call, Route, UndeclaredPermission
from bascule.server.scheduler import Scheduler, Tick
from bascule.server.settings import ServerSettings
from bascule.server.supervisor import up
from bascule.server.tokens import Token, create_token, list_tokens, revoke_token

__all__ = [
    "ROLES",
    "Call",
    "Principal",
    "Route",
    "Scheduler",
    "ServerSettings",
    "Tick",
    "Token",
    "UndeclaredPermission",
    "create_app",
    "create_early_app",
    "create_token",
    "list_tokens",
    "revoke_token",
    "up",
]
