"""The native API: one module a noun, each with a table of its routes; `API` is all of them."""

from bascule.server.api import deployments, history, journals, models, monitoring, predictions, runs, service, tables
from bascule.server.routes import join

API = join(
    service.ROUTES,
    history.ROUTES,
    tables.ROUTES,
    runs.ROUTES,
    journals.ROUTES,
    models.ROUTES,
    deployments.ROUTES,
    monitoring.ROUTES,
    predictions.ROUTES,
)

__all__ = ["API"]
