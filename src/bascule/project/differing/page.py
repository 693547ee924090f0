"""A difference of two runs as one HTML file: it needs nothing else, opens without a network, and prints."""

from __future__ import annotations

from functools import cache
from typing import Any

from bascule.project.differing import forms
from bascule.project.differing.difference import RunsDiff
from bascule.project.reviewing.words import spelt
from bascule.project.standalone import templates


def html(found: RunsDiff) -> str:
    """Return a difference as a page."""
    return str(_template().render(found=found, because=forms.because(found), sections=forms.SECTIONS))


@cache
def _template() -> Any:
    filters = {"spelt": spelt}
    known = {"shown": forms.shown, "moved": forms.moved, "signs": forms.SIGNS, "cut": forms.cut}
    return templates("bascule.project.differing", filters, known).get_template("page.html")
