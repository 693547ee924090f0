"""The routes of the native API, all of them."""

from bascule.server.api import (
    deployments,
    features,
    history,
    journals,
    landing,
    models,
    monitoring,
    predictions,
    privacy,
    runs,
    service,
    streams,
    tables,
)
from bascule.server.routes import join

API = join(
    service.ROUTES,
    history.ROUTES,
    landing.ROUTES,
    tables.ROUTES,
    features.ROUTES,
    streams.ROUTES,
    runs.ROUTES,
    journals.ROUTES,
    models.ROUTES,
    deployments.ROUTES,
    monitoring.ROUTES,
    predictions.ROUTES,
    privacy.ROUTES,
)

__all__ = ["API"]
