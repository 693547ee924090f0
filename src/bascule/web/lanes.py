"""The lines beside a list of commits that show which came from which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bascule.server.reads.history import CommitInfo

LANE = 14.0
MIDDLE = 50.0


@dataclass(frozen=True, slots=True)
class Lanes:
    """What to draw beside one commit, in a box `width` wide and 100 high that is stretched to the row's height."""

    x: float
    lines: list[tuple[int, str]]
    tone: int
    width: float
    is_merge: bool


def lanes(commits: Sequence[CommitInfo]) -> list[Lanes]:
    """Return the drawing for each commit of a list that has children before their parents."""
    open_lanes: list[str | None] = []
    drawn: list[tuple[int, list[tuple[int, str]], int, bool]] = []
    widest = 1
    for commit in commits:
        waiting = [at for at, name in enumerate(open_lanes) if name == commit.id]
        own = waiting[0] if waiting else _free(open_lanes)
        before = list(open_lanes)
        for at in waiting:
            open_lanes[at] = None
        parents = list(commit.parents)
        targets = []
        for place, parent in enumerate(parents):
            # The first parent keeps the lane, so that a branch is one straight line; lanes of one parent meet at it.
            waits = parent in open_lanes
            lane = own if place == 0 else open_lanes.index(parent) if waits else _free(open_lanes, own)
            _put(open_lanes, lane, parent)
            targets.append(lane)
        lines = [(at, _line(at, own, upper=True)) for at in waiting]
        for at, name in enumerate(before):
            if name is not None and at not in waiting:
                lines.append((at, _straight(at)))
        lines += [(lane, _line(lane, own, upper=False)) for lane in targets]
        widest = max(widest, len(open_lanes), own + 1)
        drawn.append((own, lines, own, len(parents) > 1))
    width = widest * LANE
    return [Lanes(_x(own), lines, tone, width, merge) for own, lines, tone, merge in drawn]


def _free(open_lanes: list[str | None], but: int = -1) -> int:
    for at, name in enumerate(open_lanes):
        if name is None and at != but:
            return at
    open_lanes.append(None)
    return len(open_lanes) - 1


def _put(open_lanes: list[str | None], at: int, name: str) -> None:
    while len(open_lanes) <= at:
        open_lanes.append(None)
    open_lanes[at] = name


def _x(lane: int) -> float:
    return lane * LANE + LANE / 2


def _straight(lane: int) -> str:
    return f"M{_x(lane):g} 0V100"


def _line(lane: int, own: int, *, upper: bool) -> str:
    edge = 0 if upper else 100
    if lane == own:
        return f"M{_x(own):g} {MIDDLE:g}V{edge}"
    bend = 20 if upper else 80
    return f"M{_x(own):g} {MIDDLE:g}C{_x(own):g} {bend} {_x(lane):g} {bend} {_x(lane):g} {edge}"
