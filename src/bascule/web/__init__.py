"""The pages for people: history, data, runs, models, deployments, monitoring, predictions and the audit log.

The room owns templates, styles, scripts and the drawing of charts and graphs. Pages read through the server's read
functions and change things by the same functions as the API and the command line; nothing exists only in a page. The
command line calls `create_early_app`, which loads the pages when one is asked for, and `at_hand`, which loads them
before that where something is deployed; nobody else needs to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.ondemand import on_demand
from bascule.web.early import at_hand, create_early_app

if TYPE_CHECKING:
    from bascule.web.app import create_app

__all__ = ["at_hand", "create_app", "create_early_app"]

__getattr__ = on_demand(__name__, {"app": ("create_app",)})
