"""The parts of the page, and where each begins."""

from __future__ import annotations

SECTIONS = (
    ("/", "Overview"),
    ("/history", "History"),
    ("/data", "Data"),
    ("/features", "Features"),
    ("/runs", "Runs"),
    ("/models", "Models"),
    ("/deployments", "Deployments"),
    ("/monitoring", "Monitoring"),
    ("/predictions", "Predictions"),
    ("/audit", "Audit"),
)
