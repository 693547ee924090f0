"""The small project after its first run, for what is killed while it serves."""

from __future__ import annotations

from tests.project.conftest import _finished, bascule, folder, start, trained

__all__ = ["_finished", "bascule", "folder", "start", "trained"]
