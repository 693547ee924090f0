"""The drawing of a small directed graph in layers, left to right: where things come from, on the way to what they made.

Layers by longest path, order within a layer by the neighbours' barycentre (Sugiyama, Tagawa and Toda 1981), long edges
through places of their own so that they do not run under boxes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# Six layers, the most that a prediction's chain has, are 1020 wide: what a window of 1280 leaves beside the sections.
BOX_WIDTH, LINE_HEIGHT, BOX_PAD = 148, 16, 9
GAP_X, GAP_Y, MARGIN = 24, 16, 6
SWEEPS = 8
# How many characters fit into a box: of its title in bold 12 px, of its lines in 11 px, in a wide font.
TITLE_CHARACTERS, LINE_CHARACTERS = 17, 20


@dataclass(frozen=True, slots=True)
class Node:
    """A box: what it is, its name, a few lines about it, and where it leads."""

    id: str
    kind: str
    title: str
    lines: tuple[str, ...] = ()
    href: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """From what was used to what was made with it."""

    source: str
    target: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """A node with its place, in pixels."""

    node: Node
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """A laid-out graph: boxes, the edges as SVG paths, and the size of it all."""

    boxes: list[Box]
    paths: list[str]
    width: float
    height: float


def layout(nodes: Sequence[Node], edges: Iterable[Edge]) -> Drawing:
    """Place the nodes of an acyclic graph. Edges to unknown nodes are left out; a cycle is cut where it closes."""
    known = {node.id: node for node in nodes}
    kept = [edge for edge in edges if edge.source in known and edge.target in known and edge.source != edge.target]
    layers_of = _layers([node.id for node in nodes], kept)
    columns, links = _columns(layers_of, kept)
    _untangle(columns, links)
    heights = {name: _height(known[name]) if name in known else float(LINE_HEIGHT) for c in columns for name in c}
    y = _rows(columns, heights, links)
    x = {name: MARGIN + at * (BOX_WIDTH + GAP_X) for at, column in enumerate(columns) for name in column}
    boxes = [Box(known[n], x[n], y[n], BOX_WIDTH, heights[n]) for column in columns for n in column if n in known]
    paths = [_edge_path(chain, x, y, heights, known) for chain in _chains(links, known)]
    bottom = max((y[name] + heights[name] for column in columns for name in column), default=0.0)
    width = MARGIN * 2 + len(columns) * BOX_WIDTH + max(len(columns) - 1, 0) * GAP_X
    return Drawing(boxes, paths, width, bottom + MARGIN)


def order(nodes: Sequence[Node], edges: Iterable[Edge]) -> list[Node]:
    """Return the nodes so that what was used comes before what was made: the graph as a list to read."""
    layers = _layers([node.id for node in nodes], list(edges))
    return sorted(nodes, key=lambda node: layers[node.id])


def _layers(names: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """The longest way to each node from a node without sources; then each source is drawn next to what it feeds."""
    before: dict[str, list[str]] = {name: [] for name in names}
    after: dict[str, list[str]] = {name: [] for name in names}
    for edge in edges:
        if edge.source in before and edge.target in before:
            before[edge.target].append(edge.source)
            after[edge.source].append(edge.target)
    layers: dict[str, int] = {}

    def depth(name: str, above: frozenset[str]) -> int:
        if name not in layers:
            inside = above | {name}
            layers[name] = max((depth(b, inside) + 1 for b in before[name] if b not in inside), default=0)
        return layers[name]

    for name in names:
        depth(name, frozenset())
    for name in sorted(names, key=lambda n: -layers[n]):
        if after[name]:
            layers[name] = max(layers[name], min(layers[a] for a in after[name]) - 1)
    return layers


def _columns(layers: Mapping[str, int], edges: Sequence[Edge]) -> tuple[list[list[str]], list[tuple[str, str, str]]]:
    """The names by layer, with places for edges that pass; and the links between neighbours (edge, from, to)."""
    columns: list[list[str]] = [[] for _ in range(max(layers.values(), default=-1) + 1)]
    for name, at in layers.items():
        columns[at].append(name)
    links = []
    for edge in edges:
        if layers[edge.source] >= layers[edge.target]:
            continue
        key, previous = f"{edge.source}\0{edge.target}", edge.source
        for at in range(layers[edge.source] + 1, layers[edge.target]):
            place = f"{key}\0{at}"
            columns[at].append(place)
            links.append((key, previous, place))
            previous = place
        links.append((key, previous, edge.target))
    return columns, links


def _untangle(columns: list[list[str]], links: Sequence[tuple[str, str, str]]) -> None:
    """Order each layer by the mean place of its neighbours, down and up in turn."""
    left: dict[str, list[str]] = {}
    right: dict[str, list[str]] = {}
    for _, source, target in links:
        left.setdefault(target, []).append(source)
        right.setdefault(source, []).append(target)
    place = {name: at for column in columns for at, name in enumerate(column)}
    for sweep in range(SWEEPS):
        neighbours = left if sweep % 2 == 0 else right
        for column in columns if sweep % 2 == 0 else reversed(columns):
            column.sort(key=lambda name: _mean([place[n] for n in neighbours.get(name, [])], place[name]))
            place.update({name: at for at, name in enumerate(column)})


def _rows(
    columns: Sequence[Sequence[str]], heights: Mapping[str, float], links: Sequence[tuple[str, str, str]]
) -> dict[str, float]:
    """Heights on the page: each column stacked and centred, then pulled towards its neighbours without overlap."""
    near: dict[str, list[str]] = {}
    for _, source, target in links:
        near.setdefault(source, []).append(target)
        near.setdefault(target, []).append(source)
    tall = max((_stack(column, heights) for column in columns), default=0.0)
    y: dict[str, float] = {}
    for column in columns:
        top = MARGIN + (tall - _stack(column, heights)) / 2
        for name in column:
            y[name] = top
            top += heights[name] + GAP_Y
    for _ in range(SWEEPS):
        for column in columns:
            wish = {n: _mean([y[m] + heights[m] / 2 for m in near.get(n, [])], y[n] + heights[n] / 2) for n in column}
            _settle(column, heights, wish, y)
    shift = MARGIN - min(y.values(), default=MARGIN)
    return {name: at + shift for name, at in y.items()}


def _settle(
    column: Sequence[str], heights: Mapping[str, float], wish: Mapping[str, float], y: dict[str, float]
) -> None:
    """Put each box as near to its wish as its neighbours in the column let it."""
    below = -float("inf")
    for name in column:
        y[name] = max(wish[name] - heights[name] / 2, below)
        below = y[name] + heights[name] + GAP_Y
    # The pass above only pushes down; half of what it pushed is taken back, so that a column stays centred.
    pushed = [y[name] + heights[name] / 2 - wish[name] for name in column]
    shift = sum(pushed) / len(pushed) if pushed else 0.0
    for name in column:
        y[name] -= shift


def _chains(links: Sequence[tuple[str, str, str]], known: Mapping[str, Node]) -> list[list[str]]:
    chains: dict[str, list[str]] = {}
    for key, source, target in links:
        chains.setdefault(key, [source]).append(target)
    return list(chains.values())


def _edge_path(
    chain: Sequence[str],
    x: Mapping[str, float],
    y: Mapping[str, float],
    heights: Mapping[str, float],
    known: Mapping[str, Node],
) -> str:
    parts: list[str] = []
    for source, target in itertools.pairwise(chain):
        start = (x[source] + BOX_WIDTH, y[source] + heights[source] / 2)
        end = (x[target], y[target] + heights[target] / 2)
        bend = GAP_X / 2
        if not parts:
            parts.append(f"M{start[0]:.1f} {start[1]:.1f}")
        elif source not in known:
            parts.append(f"H{start[0]:.1f}")
        parts.append(
            f"C{start[0] + bend:.1f} {start[1]:.1f} {end[0] - bend:.1f} {end[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
        )
    return "".join(parts)


def _height(node: Node) -> float:
    return float(BOX_PAD * 2 + LINE_HEIGHT * (2 + len(node.lines)))


def _stack(column: Sequence[str], heights: Mapping[str, float]) -> float:
    return sum(heights[name] for name in column) + GAP_Y * max(len(column) - 1, 0)


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
