"""A profile as HTML: a page that needs nothing else, opens without a network and prints; or its body for another."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from bascule.profiles import TableProfile
from bascule.project.profiling import drawing, filesets, wording
from bascule.project.reviewing.words import figure, share, spelt
from bascule.project.standalone import templates

MOST_NOTES = 12


def html(found: Any) -> str:
    """Return a profile as a page of its own."""
    return str(_environment().get_template("page.html").render(found=found, style=style(), body=body(found)))


def body(found: Any) -> Any:
    """Return what stands inside the page, for a page that has `style` and the colours of Bascule's pages."""
    from markupsafe import Markup

    if isinstance(found, TableProfile):
        places = {column.name: place for place, column in enumerate(found.columns)}
        text = _environment().get_template("table.html").render(found=found, places=places)
    else:
        text = _environment().get_template("files.html").render(found=found)
    return Markup(text)  # the templates have escaped all that is not ours


def style() -> str:
    """Return the style sheet of the body, as it lies beside this module."""
    return (files("bascule.project.profiling") / "profile.css").read_text(encoding="utf-8")


@cache
def _environment() -> Any:
    filters: dict[str, Any] = {"figure": figure, "share": share, "spelt": spelt}
    known = {
        "drawing": drawing,
        "wording": wording,
        "filesets": filesets,
        "most_notes": MOST_NOTES,
        "cell": drawing.CELL,
        "zip": zip,
    }
    return templates("bascule.project.profiling", filters, known)
