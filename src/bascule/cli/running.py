"""Commands over runs: list, show, compare, diff."""

from __future__ import annotations

import csv
import io
import math
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from bascule.cli.comparing import write
from bascule.cli.options import COMMON, Common, Limit
from bascule.cli.output import answer, columns, document_text, indented, say
from bascule.counting import counted

if TYPE_CHECKING:
    from bascule.project.differing import RunTable

HEAD = ("run", "kind", "name", "status", "branch", "started", "seconds")
BARS = "▁▂▃▄▅▆▇█"
LONGEST_CURVE = 60
MOST_PRINTED = 15
MOST_VALUES = 40  # of a section
SAME = {
    "params": ("parameter",),
    "metrics": ("metric",),
    "inputs": ("input",),
    "environment": ("term of the environment", "terms of the environment"),
}

runs = App(name="runs", help="Runs: list, show, compare, and say why two differ.")


@runs.default
def list_runs(
    run: str | None = None,
    /,
    *,
    experiment: Annotated[str | None, Parameter(help="Only of this experiment.")] = None,
    kind: Annotated[str | None, Parameter(help="Only of this kind: pipeline, step, track, reproduce, …")] = None,
    status: Annotated[str | None, Parameter(help="Only so: running, done, cached, failed, cancelled.")] = None,
    since: Annotated[str | None, Parameter(help="Begun since: a span (7d, 12h) or a day (2026-03-01).")] = None,
    text: Annotated[str | None, Parameter(help="With this in the id, the name, the step or the person.")] = None,
    filter: Annotated[
        str, Parameter(help="Conditions: \"metrics.auc > 0.8 AND params.depth = '6' AND tags.stage LIKE 'f%'\".")
    ] = "",
    order: Annotated[
        list[str] | None,
        Parameter(name=["--order", "--sort"], help="Order by, such as 'metrics.auc DESC'; repeatable."),
    ] = None,
    param: Annotated[list[str] | None, Parameter(help="Show this parameter, or 'lightgbm.*'; repeatable.")] = None,
    metric: Annotated[list[str] | None, Parameter(help="Show the last value of this metric; repeatable.")] = None,
    limit: Limit = 20,
    form: Annotated[Literal["text", "json", "csv"], Parameter(name="--format", help="How it is written.")] = "text",
    common: Common = COMMON,
) -> None:
    """List the last runs, or show one. With --branch, only those on that branch.

    Args:
        run: show this one: its id, the start of it, or last (last~1 is the one before).
    """
    if run is not None:
        show(run, common=common)
        return
    listed = common.open().runs(
        limit,
        experiment=experiment,
        kind=kind,
        status=status,
        branch=common.branch,
        since=since,
        text=text,
        filter=filter,
        order=order or (),
        param=param or (),
        metric=metric or (),
    )
    if form == "csv":
        sys.stdout.write(_csv(listed))
        return
    if form == "json":
        sys.stdout.write(document_text(listed))
        return
    more = [(part, name) for part in ("params", "metrics") for name in _names(listed, part)]
    rows = [[row[key] for key in HEAD] + [row[part].get(name) for part, name in more] for row in listed]
    answer(common, listed, columns(rows, [*HEAD, *(name for _, name in more)], none=_none(listed, common)))


@runs.command
def show(run: str, /, *, common: Common = COMMON) -> None:
    """Show all of a run: parameters, metrics, curves, inputs, outputs, environment, children, what it printed.

    Args:
        run: its id, the start of it, or last (last~1 is the one before).
    """
    found = common.open().read_run(run)
    answer(common, found, _shown(found))


@runs.command
def compare(
    *names: str,
    all: Annotated[bool, Parameter(help="Also what is the same in all of them.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Set runs side by side: what differs in parameters, metrics, inputs and environment.

    Of a section forty lines are shown, packages in other versions first; --all and --json have every line.

    Args:
        names: runs: ids, starts of ids, or last and last~1.
    """
    found = common.open().compare_runs(names, all=all)
    answer(common, found.as_dict(), _table(found, everything=all))


@runs.command
def diff(
    before: str,
    after: str = "last",
    /,
    *,
    form: Annotated[
        Literal["text", "json", "html", "markdown"], Parameter(name="--format", help="How it is written.")
    ] = "text",
    output: Annotated[Path | None, Parameter(help="Write it to this file.")] = None,
    exit_code: Annotated[
        bool, Parameter(help="End with 1 when a cause of a difference is found.", negative="")
    ] = False,
    common: Common = COMMON,
) -> int:
    """Say why two runs differ: code, data, environment, parameters; and what came of it.

    Args:
        before: a run: its id, the start of it, or last~1.
        after: the other one.
    """
    from bascule.project import differing

    found = common.open().diff_runs(before, after)
    color = output is None and not common.json and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    if form == "json":
        written = document_text(found.as_dict())
    elif form == "html":
        written = differing.html(found)
    elif form == "markdown":
        written = differing.markdown(found)
    else:
        written = differing.text(found)
    if output is not None:
        write(output, written)
        say(f"{output} is written.")
        answer(common, found.as_dict(), "")
    elif common.json:
        answer(common, found.as_dict(), "")
    elif color and form == "text":  # what others wrote is spelt out in it already: the colours are ours
        sys.stdout.write(differing.text(found, color=True) + "\n")
    else:
        answer(common, None, written)
    return int(exit_code and bool(found.causes))


def sparkline(values: Sequence[float]) -> str:
    """Return a curve as a line of bars; what is no number is a gap."""
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((v - low) * scale)] if math.isfinite(v) else " " for v in values)


def _names(listed: Sequence[Mapping[str, Any]], part: str) -> list[str]:
    return sorted({name for row in listed for name in row.get(part, ())})


def _none(listed: Sequence[Any], common: Common) -> str:
    if listed:
        return ""
    return "No runs are so." if common.open().runs(1) else "No runs yet."


def _csv(listed: Sequence[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    more = [(part, name) for part in ("params", "metrics") for name in _names(listed, part)]
    head = [*HEAD, "user", "error"]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*head, *(f"{part}.{name}" for part, name in more)])
    for row in listed:
        writer.writerow([*(row[key] for key in head), *(row.get(part, {}).get(name) for part, name in more)])
    return out.getvalue()


def _shown(found: Mapping[str, Any]) -> str:
    told = {key: value for key, value in found["run"].items() if value is not None}
    parts = [columns(list(told.items()))]
    tags = {key: value.replace("\n", "; ") for key, value in found["tags"].items() if key != "output"}
    for name in ("params", "metrics", "tags", "inputs", "outputs", "artifacts", "reproductions"):
        rows = [("", key, value) for key, value in (tags if name == "tags" else found[name]).items()]
        more = [f"  and {len(rows) - MOST_VALUES} more (--json has all)"] if len(rows) > MOST_VALUES else []
        parts += ["\n".join([name, columns(rows[:MOST_VALUES]), *more])] if rows else []
    parts += _curves(found["curves"])
    if found["children"]:
        keys = ("run", "name", "status", "started", "seconds")
        parts.append("children\n" + columns([["", *(child[key] for key in keys)] for child in found["children"]]))
    if found["environment"]:
        parts.append("environment\n" + columns(_environment(found["environment"])))
    if found["output"].strip():
        last = found["output"].rstrip().splitlines()[-MOST_PRINTED:]
        parts.append("the end of its output\n" + "\n".join(f"  {indented(line, '  ')}" for line in last))
    return "\n\n".join(parts)


def _curves(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    rows = []
    for name, curve in curves.items():
        values = list(curve["values"])
        stride = -(-len(values) // LONGEST_CURVE)
        drawn = values[::-stride][::-1]
        rows.append(("", name, sparkline(drawn), f"{values[0]:.4g} → {values[-1]:.4g}"))
    return ["curves\n" + columns(rows)] if rows else []


def _environment(told: Mapping[str, Any]) -> list[tuple[str, str, object]]:
    simple = [("", key, value) for key, value in told.items() if not isinstance(value, Mapping | list)]
    variables = [("", name, value) for name, value in (told.get("variables") or {}).items()]
    return [*simple, *variables, ("", "packages", f"{len(told.get('packages') or {})} (--json has all)")]


def _table(found: RunTable, *, everything: bool = False) -> str:
    head = ["", *(row["name"] for row in found.runs)]
    about = [[key, *(row[key] for row in found.runs)] for key in ("run", "status", "started", "seconds", "code")]
    parts = [columns(about, head)]
    for name in ("metrics", "params", "inputs", "environment"):
        side: Mapping[str, Sequence[Any]] = getattr(found, name)
        if side:
            shown = list(side.items()) if everything else sorted(side.items(), key=_tells)[:MOST_VALUES]
            rows = [["", key, *("–" if value is None else _short(value) for value in values)] for key, values in shown]
            left = len(side) - len(shown)
            parts.append(f"{name}\n{columns(rows)}" + (f"\n  and {left} more (--all has all)" if left else ""))
    same = [counted(count, *SAME[name]) for name, count in found.same.items() if count]
    if same:
        parts.append(f"the same in all: {', '.join(same)}")
    return "\n\n".join(parts)


def _tells(term: tuple[str, Sequence[Any]]) -> int:
    """Return the place of a term by how much it tells: a package that only some runs have is last."""
    return 1 + (None in term[1]) if term[0].startswith("package ") else 0


def _short(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    longest = max(20, shutil.get_terminal_size().columns // 4)
    is_digest = len(value) == 64 and set(value) <= set("0123456789abcdef")
    return value[:16] if is_digest else value if len(value) <= longest else f"{value[:longest]}…"
