"""Every page of the filled workspace, by its address."""

from __future__ import annotations

from tests.server.filled import Filled


def pages(filled: Filled) -> list[str]:
    """One address for each page that there is."""
    return [
        "/",
        "/history",
        "/history?path=tables",
        "/history?ref=windier-features",
        f"/commits/{filled.commit}",
        "/compare?before=main&after=windier-features",
        "/data",
        "/data/flights",
        "/data/flights/profile",
        f"/data/flights/rows?before={filled.commit}~1&after={filled.commit}",
        "/features",
        "/features/views/weather?ref=windier-features",
        "/features/impact",
        "/features/impact?column=weather.visib",
        "/runs",
        "/runs?status=failed",
        f"/runs/{filled.train_run}",
        f"/runs/{filled.pipeline_run}",
        f"/runs/compare?run={filled.train_run}&run={filled.pipeline_run}",
        "/models",
        "/models/delays",
        "/models/delays/2",
        "/models/delays/3",
        "/deployments",
        "/deployments/delays",
        "/deployments/delays/rollback",
        "/deployments/delays/promote",
        "/deployments/delays/power",
        "/deployments/delays/power?effect=x&ref=main",
        "/preview",
        "/preview?ref=windier-features",
        "/releases",
        "/releases/v1.0",
        "/monitoring",
        "/monitoring/delays",
        "/monitoring/delays/columns/weather__wind_speed",
        f"/alerts/{filled.alert}",
        "/predictions",
        f"/predictions/{filled.prediction}",
        "/audit?verify=true",
        "/login",
        "/nothing-here",
    ]
