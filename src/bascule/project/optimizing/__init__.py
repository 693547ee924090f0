"""`bascule optimize`: the fastest right engine for a version, found on its rows, recorded, chosen, taken back."""

from bascule.project.optimizing.deciding import Optimization, optimize, undo
from bascule.project.optimizing.page import html
from bascule.project.optimizing.terminal import text

__all__ = ["Optimization", "html", "optimize", "text", "undo"]
