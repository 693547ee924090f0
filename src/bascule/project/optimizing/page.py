"""What was found out about a version's engines as one HTML file: it needs nothing else, and opens without a network."""

from __future__ import annotations

from functools import cache
from typing import Any

from bascule.project.cards import STYLE
from bascule.project.optimizing.deciding import Optimization, engine_at
from bascule.project.optimizing.terminal import span, spelt
from bascule.project.standalone import templates
from bascule.sizes import format_size


def html(made: Optimization) -> str:
    """Return the page. Nothing that stands in the data can run there."""
    timed = [one for one in made.found.candidates if one.figures]
    slowest = [max(one.figures[place].p50_us for one in timed) for place in range(len(made.found.batch_sizes))]
    return str(
        _template().render(
            made=made,
            found=made.found,
            applied=[one for one in made.found.candidates if one.parity is not None],
            left=[one for one in made.found.candidates if one.parity is None],
            timed=timed,
            slowest=slowest,
            recipe=made.chosen or made.found.fastest,
            metric=next((one.accuracy.metric for one in made.found.candidates if one.accuracy), ""),
            style=STYLE,
        )
    )


@cache
def _template() -> Any:
    filters = {"span": span, "spelt": spelt, "size": format_size}
    known = {"engine_at": engine_at}
    return templates("bascule.project.optimizing", filters, known).get_template("page.html")
