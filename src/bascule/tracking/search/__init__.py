"""Searching runs, experiments and models: one small language of conditions, compiled to SQL or asked of values."""

from bascule.tracking.search.grammar import Comparison, Ordering, parse_filter, parse_order
from bascule.tracking.search.pages import Page, next_token, offset_of
from bascule.tracking.search.runs import count_runs, search_runs

__all__ = [
    "Comparison",
    "Ordering",
    "Page",
    "count_runs",
    "next_token",
    "offset_of",
    "parse_filter",
    "parse_order",
    "search_runs",
]
