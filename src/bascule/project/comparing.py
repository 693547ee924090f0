"""What differs between two states, told by kind: rows of tables, metrics of models, traffic of deployments, text."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bascule.history import Change, Workspace
from bascule.history.commits import Object
from bascule.lake import Lake, TableDiff
from bascule.project.words import counted

MOST_LINES = 40


@dataclass(frozen=True)
class Comparison:
    """How one path differs.

    Attributes:
        path: where.
        change: added, removed or changed.
        summary: one line.
        details: more lines: columns, metrics, lines of text.
        sample: some changed rows, for a table.
        data: the numbers behind it, JSON-able.
    """

    path: str
    change: str
    summary: str
    details: tuple[str, ...] = ()
    sample: tuple[dict[str, Any], ...] = ()
    data: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The comparison as one JSON object."""
        return asdict(self)


def compare(workspace: Workspace, before: str, after: str, prefix: str = "", rows: int = 5) -> list[Comparison]:
    """Return how every path differs that begins so.

    Args:
        rows: show at most so many changed rows of a table.
    """
    lake = Lake(workspace)
    found = []
    for change in workspace.history.diff(before, after, prefix):
        if change.path.startswith("tables/"):
            found.append(_table(lake, change, rows))
        else:
            found.append(KINDS.get(change.path.partition("/")[0], _text)(change))
    return found


def _table(lake: Lake, change: Change, rows: int) -> Comparison:
    diff = lake.diff(change.before, change.after, rows)
    words = [f"{diff.rows_before:,} → {diff.rows_after:,} rows"]
    for name in ("added", "removed", "changed"):
        if count := getattr(diff, name):
            words.append(f"{count:,} {name}")
    columns = tuple(
        f"column {c.column}: {c.kind}" + (f" {c.before} → {c.after}" if c.kind in ("renamed", "retyped") else "")
        for c in diff.columns
        if change.kind == "changed"
    )
    sample = tuple(_row(one.kind, one.before, one.after) for one in diff.sample) if change.kind == "changed" else ()
    return Comparison(change.path, change.kind, ", ".join(words), columns, sample, _numbers(diff))


def _row(kind: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any]:
    """A changed row as one: a cell that differs shows both values."""
    if before is None or after is None:
        return {"": {"added": "+", "removed": "-"}.get(kind, "~"), **(after or before or {})}
    cells = {k: after.get(k) if before.get(k) == after.get(k) else f"{before.get(k)} → {after.get(k)}" for k in after}
    return {"": "~", **cells}


def _numbers(diff: TableDiff) -> dict[str, Any]:
    names = ("rows_before", "rows_after", "added", "removed", "changed")
    return {name: getattr(diff, name) for name in names} | {"columns": [asdict(c) for c in diff.columns]}


def _model(change: Change) -> Comparison:
    before, after = change.before or {}, change.after or {}
    old, new = before.get("versions", {}), after.get("versions", {})
    fresh = [new[number] for number in sorted(new.keys() - old.keys(), key=int)]
    details = []
    served = old.get(str(before.get("aliases", {}).get("production")))
    for version in fresh:
        gates = "gates passed" if version["passed"] else f"forced: {version['forced']}"
        details.append(f"version {version['version']}: {gates}")
        for name, value in version["metrics"].items():
            if name.startswith("test."):
                was = served["metrics"].get(name) if served else None
                told = f" (was {was:.4f}, {value - was:+.4f})" if was is not None else ""
                details.append(f"  {name.removeprefix('test.')} {value:.4f}{told}")
    moved = [
        f"{alias}: {before.get('aliases', {}).get(alias, '-')} → {number}"
        for alias, number in after.get("aliases", {}).items()
        if before.get("aliases", {}).get(alias) != number
    ]
    return Comparison(change.path, change.kind, ", ".join([counted(len(fresh), "new version"), *moved]), tuple(details))


def _deployment(change: Change) -> Comparison:
    def traffic(obj: Object | None) -> str:
        return ", ".join(f"version {t['version']} {t['weight']} %" for t in (obj or {}).get("traffic", [])) or "nothing"

    return Comparison(change.path, change.kind, f"{traffic(change.before)} → {traffic(change.after)}")


def _text(change: Change) -> Comparison:
    old, new = (_lines(side) for side in (change.before, change.after))
    lines = [
        line for line in difflib.unified_diff(old, new, lineterm="", n=1) if not line.startswith(("---", "+++", "@@"))
    ]
    kind = (change.after or change.before or {}).get("kind", "object").replace("_", " ")
    more = [f"… and {len(lines) - MOST_LINES} lines more"] if len(lines) > MOST_LINES else []
    return Comparison(change.path, change.kind, kind, (*lines[:MOST_LINES], *more) if change.kind == "changed" else ())


def _lines(obj: Object | None) -> list[str]:
    """An object as lines: its text or SQL as it was written, and the rest as JSON."""
    if obj is None:
        return []
    written = [line for key in ("text", "sql") for line in str(obj.get(key, "")).splitlines()]
    rest = {key: value for key, value in obj.items() if key not in ("text", "sql", "kind")}
    return [*json.dumps(rest, indent=1, sort_keys=True).splitlines(), *written]


KINDS: dict[str, Callable[[Change], Comparison]] = {"models": _model, "deployments": _deployment}
