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
# Pages beside a section's own that belong to it, by the first word of their address.
ALSO = {"releases": "/history", "commits": "/history", "compare": "/history", "preview": "/deployments"}
