"""What was said of a model's features as one HTML file: it needs nothing else, opens without a network, and prints."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from bascule.durations import rough_duration
from bascule.features.definitions import SEPARATOR
from bascule.project.cards import STYLE
from bascule.project.selecting.selection import Selection
from bascule.project.standalone import templates

WIDEST_REM = 9


class Read(NamedTuple):
    """A view that is read for the model: what that costs, and how many of its features are kept."""

    view: str
    cost: dict[str, Any]
    kept: int
    dropped: int


def html(found: Selection) -> str:
    """Return the page. Nothing that stands in the data can run there."""
    kept = [one for one in found.features if one.kept]
    dropped = [one for one in found.features if not one.kept]
    longest = max([one.information for one in found.features], default=0.0) or 1.0
    return str(_template().render(found=found, kept=kept, dropped=dropped, longest=longest, reads=reads(found)))


def reads(found: Selection) -> list[Read]:
    """The views that are read for the model, the one that takes longest first; inputs of the request take nothing."""
    by_view: dict[str, list[Any]] = {}
    for one in found.features:
        if found.costs[one.feature]["kind"] != "request":
            by_view.setdefault(one.feature.split(SEPARATOR)[0], []).append(one)
    made = [
        Read(view, found.costs[ones[0].feature], sum(one.kept for one in ones), sum(not one.kept for one in ones))
        for view, ones in by_view.items()
    ]
    return sorted(made, key=lambda one: (-(one.cost["latency"] or 0.0), one.view))


@cache
def _template() -> Any:
    known = {"style": STYLE, "widest": WIDEST_REM, "age": rough_duration}
    return templates("bascule.project.selecting", {}, known).get_template("page.html")
