"""HTML files that need nothing else: how their templates are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def templates(package: str, filters: Mapping[str, Callable[..., Any]], known: Mapping[str, Any]) -> Any:
    """Return the templates that lie in a package: all that they are given is escaped, and an unknown name is an error.

    Args:
        filters, known: the functions and the values that they may name.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= filters
    made.globals |= known
    return made
