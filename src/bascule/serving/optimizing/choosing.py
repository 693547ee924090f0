"""Which engine answers requests of how many rows."""

from __future__ import annotations

from collections.abc import Sequence

from bascule.serving.engines.loading import Guard, Recipe, Stage
from bascule.serving.optimizing.found import Found

GAIN = 0.9  # another engine is taken instead of a simpler one when it needs less than this share of the time


def chosen(found: Sequence[Found], sizes: Sequence[int], guard: Guard) -> Recipe:
    """Return the fastest engine of each size among those that answer as the original does.

    A request is answered by what was the fastest at the greatest measured size that it reaches. An engine that is
    hardly faster is not taken beside one that is loaded already, nor instead of a simpler one, which stands before it.
    """
    stages: list[Stage] = []
    for place, size in enumerate(sizes):
        times = {one.name: one.figures[place].typical_us for one in found if one.eligible and one.figures}
        engines = {one.name: one.engine for one in found}
        bound = min(times.values()) / GAIN
        present = stages[-1].engine.name if stages else "native"
        best = present if times[present] <= bound else next(name for name, time in times.items() if time <= bound)
        engine = engines[best]
        assert engine is not None
        if not stages or engine.name != stages[-1].engine.name:
            stages.append(Stage(rows=size if stages else 1, engine=engine))
    native_alone = all(one.engine.kind == "native" for one in stages)
    return Recipe(stages=tuple(stages), guard=Guard() if native_alone else guard)
