"""Data contracts: what a table promises, whether it keeps it, and what it could promise.

The room owns the contract file (Open Data Contract Standard, with Bascule's own rules where the standard has none), the
checks and how they become one scan, the report of a run, the profile of a relation and the contract that a profile
supports. It reads any relation that DuckDB can read and knows nothing of branches or lakes. Ingestion, merging, the
project and the pages may call it.
"""

from bascule.contracts.checks import Check
from bascule.contracts.contract import Column, Contract
from bascule.contracts.implied import implied
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
