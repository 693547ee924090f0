"""Threads that sleep while they wait."""

from __future__ import annotations

import os

THREADS = 2  # fixed: the number of threads decides the order of sums, and so the last bits of a model


def calm_threads() -> None:
    """Make OpenMP's threads sleep at a barrier instead of spinning. Call it before LightGBM is imported.

    A spinning thread keeps the core that its neighbour needs: on two cores shared with other processes a fit took seven
    to fifteen times as long. OpenMP reads the setting once, when it is loaded; a user's own setting is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
