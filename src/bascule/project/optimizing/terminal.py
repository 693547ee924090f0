"""What was found out about a version's engines, as a person reads it in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bascule.project.optimizing.deciding import Optimization, engine_at
from bascule.serving.optimizing import Found
from bascule.sizes import format_size

MOST_INPUTS = 8


def text(made: Optimization) -> str:
    """Return the tables, the reasons and the outcome."""
    found = made.found
    applied = [one for one in found.candidates if one.parity is not None]
    metric = next((one.accuracy.metric for one in applied if one.accuracy), "")
    heads = ["engine", "answers alike", "rows", "worst difference", "on disk", "memory"]
    lines = [f"{made.model}, on {found.real_rows:,} {made.source}", ""]
    lines += _aligned(
        [heads + ([metric, "change"] if metric else [])] + [_engine(one, bool(metric)) for one in applied]
    )
    lines += ["", *_aligned(_speed(made))]
    lines += [line for one in applied if not one.eligible for line in ("", *_failing(one, found.tolerance))]
    left = [one for one in found.candidates if one.parity is None]
    if left:
        lines += ["", "Not tried:"] + [f"  {one.name}: {one.reason.rstrip('.')}." for one in left]
    if found.refused:
        told = ", ".join(f"{count:,} of {kind}" for kind, count in found.refused.items())
        lines += ["", f"The original refuses rows, and goes on to: {told}."]
    return "\n".join([*lines, "", *_outcome(made)])


def _engine(one: Found, metric: bool) -> list[str]:
    parity, worth = one.parity, one.accuracy
    row = [
        one.name,
        "it is the original" if one.name == "native" else "yes" if parity.passed else "NO",
        f"{sum(parity.rows.values()):,}",
        spelt(parity.worst),
        format_size(one.size or 0),
        format_size(one.memory) if one.memory is not None else "",
    ]
    if metric:
        row += [f"{worth.value:.6g}", spelt(worth.change)] if worth else ["", ""]
    return row


def spelt(value: float) -> str:
    """Return a difference: 0, or two digits."""
    return "0" if value == 0 else f"{value:.1e}" if abs(value) < 1e-3 else f"{value:.3g}"


def _speed(made: Optimization) -> list[list[str]]:
    money = bool(made.currency)
    heads = ["rows", "engine", "p50", "p99", "rows/s"] + ([f"{made.currency} per million"] if money else [])
    table = [[*heads, ""]]
    recipe = made.chosen or made.found.fastest
    for place, size in enumerate(made.found.batch_sizes):
        timed = [one for one in made.found.candidates if one.figures]
        for first, one in enumerate(sorted(timed, key=lambda one: one.figures[place].typical_us)):
            row = one.figures[place]
            told = [f"{size:,}" if not first else "", one.name, span(row.p50_us), span(row.p99_us)]
            told += [f"{row.throughput:,.0f}"] + ([f"{row.cost:.3g}" if row.cost is not None else ""] if money else [])
            mark = "chosen" if made.chosen else "fastest"
            table.append([*told, f"<- {mark}" if engine_at(recipe, size) == one.name else ""])
    return table


def span(micros: float) -> str:
    """Return a time as `2.1 µs` or `3.40 ms`."""
    return f"{micros:.1f} µs" if micros < 1_000 else f"{micros / 1_000:.2f} ms"


def _failing(one: Found, tolerance: float) -> Iterator[str]:
    parity = one.parity
    told = ", ".join(f"{count:,} of {parity.rows[kind]:,} at {kind}" for kind, count in parity.differing.items())
    if told:
        yield f"{one.name} differs by more than {tolerance:g}: {told}."
    if parity.problem:
        yield f"{one.name}: {parity.problem}."
    worst = parity.example
    if worst is not None:
        answers = f"{_shown(worst.original)} by the original, {_shown(worst.candidate)} by {one.name}"
        yield f"  worst, of {worst.kind}: {answers}"
        given = [f"{name}={value!r}" for name, value in worst.inputs.items()]
        more = f", and {len(given) - MOST_INPUTS} more" if len(given) > MOST_INPUTS else ""
        yield f"  for {', '.join(given[:MOST_INPUTS])}{more}"


def _shown(values: Sequence[float]) -> str:
    return ", ".join(f"{one:.6g}" for one in values[:5])


def _outcome(made: Optimization) -> Iterator[str]:
    before = made.before.names() if made.before else "its own library (native)"
    if made.chosen is None:
        yield f"Nothing was changed: {made.model} is answered by {before}."
        yield f"The fastest of those that answer alike: {made.found.fastest.names()}."
    elif made.commit is None:
        yield f"{made.model} goes on being answered by its own library: nothing that answers alike is faster."
    else:
        yield f"{made.model} is answered by {made.chosen.names()} from now on; till now by {before}."
        yield f"Take it back with: bascule optimize {made.model} --undo"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    right = [all(_is_figure(row[place]) for row in rows[1:]) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if at_right else cell.ljust(width)
            for cell, width, at_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _is_figure(cell: str) -> bool:
    return not cell or cell[0].isdigit() or (cell[0] == "-" and cell[1:2].isdigit())
