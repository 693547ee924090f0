"""The pages for people: history, data, runs, models, deployments, monitoring, predictions and the audit log.

The room owns templates, styles, scripts and the drawing of charts and graphs. Pages read through the server's read
functions and change things by the same functions as the API and the command line; nothing exists only in a page. The
command line calls `create_app`; nobody else needs to.
"""

from bascule.web.app import create_app

__all__ = ["create_app"]
