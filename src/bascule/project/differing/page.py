"""A difference of two runs as one HTML file: it needs nothing else, opens without a network, and prints."""

from __future__ import annotations

from functools import cache
from typing import Any

from bascule.project.differing import forms
from bascule.project.differing.difference import RunsDiff
from bascule.project.reviewing.words import spelt


def html(found: RunsDiff) -> str:
    """Return a difference as a page."""
    return str(_template().render(found=found, because=forms.because(found), sections=forms.SECTIONS))


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("bascule.project.differing", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"spelt": spelt}
    made.globals |= {"shown": forms.shown, "moved": forms.moved, "signs": forms.SIGNS, "cut": forms.cut}
    return made.get_template("page.html")
