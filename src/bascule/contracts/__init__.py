"""Data contracts: what a table promises, whether it keeps it, and what it could promise.

The room owns the contract file (Open Data Contract Standard, with Bascule's own rules where the standard has none), the
checks and how they become one scan, the report of a run, the profile of a relation and the contract that a profile
supports. It reads any relation that DuckDB can read and knows nothing of branches or lakes. Ingestion, merging, the
project and the pages may call it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.ondemand import on_demand

if TYPE_CHECKING:
    from bascule.contracts.checks import Check
    from bascule.contracts.contract import Column, Contract
    from bascule.contracts.implications import implied
    from bascule.contracts.junit import render_junit
    from bascule.contracts.page import render_html
    from bascule.contracts.profiling import ColumnProfile, Profile, profile
    from bascule.contracts.render import render_json, render_markdown, render_text, surprise_text
    from bascule.contracts.report import CheckResult, Report
    from bascule.contracts.run import explain, run_checks
    from bascule.contracts.sarif import render_sarif
    from bascule.contracts.suggestion import suggest

__all__ = [
    "Check",
    "CheckResult",
    "Column",
    "ColumnProfile",
    "Contract",
    "Profile",
    "Report",
    "explain",
    "implied",
    "profile",
    "render_html",
    "render_json",
    "render_junit",
    "render_markdown",
    "render_sarif",
    "render_text",
    "run_checks",
    "suggest",
    "surprise_text",
]

# The process of a Python check needs none of the lake: what is public is loaded when it is asked for.
__getattr__ = on_demand(
    __name__,
    {
        "checks": ("Check",),
        "contract": ("Column", "Contract"),
        "implications": ("implied",),
        "junit": ("render_junit",),
        "page": ("render_html",),
        "profiling": ("ColumnProfile", "Profile", "profile"),
        "render": ("render_json", "render_markdown", "render_text", "surprise_text"),
        "report": ("CheckResult", "Report"),
        "run": ("explain", "run_checks"),
        "sarif": ("render_sarif",),
        "suggestion": ("suggest",),
    },
)
