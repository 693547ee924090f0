"""What differs between two states, as `changes` tells it, with what takes a look at the data: rows, and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from bascule.errors import BasculeError
from bascule.history import Change, Workspace
from bascule.lake import Lake, TableDiff
from bascule.naming import PRODUCTION
from bascule.project.changes import ChangeInfo, describe

MOST_LINES = 40


@dataclass(frozen=True)
class Comparison:
    """How one path differs.

    Attributes:
        info: the change in the words of its kind.
        summary: one line; for a table with the rows that came, went and changed.
        details: more lines: columns, metrics, answers, lines of text.
        sample: some changed rows, for a table.
        data: the numbers behind it, JSON-able.
    """

    info: ChangeInfo
    summary: str
    details: tuple[str, ...] = ()
    sample: tuple[dict[str, Any], ...] = ()
    data: dict[str, Any] | None = None

    @property
    def path(self) -> str:
        """Where."""
        return self.info.path

    @property
    def change(self) -> str:
        """Whether the path was added, removed or changed."""
        return self.info.change

    def as_dict(self) -> dict[str, Any]:
        """The comparison as one JSON object."""
        more = {"summary": self.summary, "details": self.details, "sample": self.sample, "data": self.data}
        return msgspec.structs.asdict(self.info) | {"facts": msgspec.to_builtins(self.info.facts)} | more


def compare(workspace: Workspace, before: str, after: str, prefix: str = "", rows: int = 5) -> list[Comparison]:
    """Return how every path differs that begins so.

    Args:
        rows: show at most so many changed rows of a table.
    """
    found = []
    for change in workspace.history.diff(before, after, prefix):
        info = describe(change)
        if change.path.startswith("tables/"):
            found.append(_table(Lake(workspace), change, info, rows))
        elif change.path.startswith("models/"):
            found.append(_model(workspace, change, info))
        else:
            found.append(Comparison(info, info.summary, _lines(info)))
    return found


def _table(lake: Lake, change: Change, info: ChangeInfo, rows: int) -> Comparison:
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
    return Comparison(info, ", ".join(words), columns, sample, _numbers(diff))


def _row(kind: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any]:
    """A changed row as one: a cell that differs shows both values."""
    if before is None or after is None:
        return {"": {"added": "+", "removed": "-"}.get(kind, "~"), **(after or before or {})}
    cells = {k: after.get(k) if before.get(k) == after.get(k) else f"{before.get(k)} → {after.get(k)}" for k in after}
    return {"": "~", **cells}


def _numbers(diff: TableDiff) -> dict[str, Any]:
    names = ("rows_before", "rows_after", "added", "removed", "changed")
    return {name: getattr(diff, name) for name in names} | {"columns": [asdict(c) for c in diff.columns]}


def _model(workspace: Workspace, change: Change, info: ChangeInfo) -> Comparison:
    """New versions with their metrics beside those of what served, and how far the answers moved."""
    before, after = change.before or {}, change.after or {}
    old, new = before.get("versions", {}), after.get("versions", {})
    served, serving = old.get(_production(before)), new.get(_production(after))
    details = []
    for number in sorted(new.keys() - old.keys(), key=int):
        version = new[number]
        details.append(f"version {number}: {'gates passed' if version['passed'] else 'forced: ' + version['forced']}")
        details += _metrics(version["metrics"], served["metrics"] if served else {})
    data = None
    if served and serving and served["artifact"] != serving["artifact"]:
        data, line = _answers(workspace, served, serving)
        details.append(line)
    return Comparison(info, info.summary, tuple(details), data=data)


def _production(model: Mapping[str, Any]) -> str:
    return str(model.get("aliases", {}).get(PRODUCTION))


def _metrics(metrics: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    lines = []
    for name, value in metrics.items():
        if name.startswith("test."):
            was = before.get(name)
            told = f" (was {was:.4f}, {value - was:+.4f})" if was is not None else ""
            lines.append(f"  {name.removeprefix('test.')} {value:.4f}{told}")
    return lines


def _answers(
    workspace: Workspace, before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, str]:
    from bascule.project.rereading import answers_shift  # it needs what trains; most comparisons do not

    what = f"predictions of version {after['version']} against version {before['version']}"
    try:
        shift = answers_shift(workspace, before, after)
    except BasculeError as error:
        return None, f"{what}: not compared ({error.message})"
    if shift is None:
        return None, f"{what}: not compared, because they do not answer the same question about the same rows"
    words = [f"{shift.moved:.1%} of {shift.rows:,} test rows get another label"] if shift.moved is not None else []
    words.append(f"on average {shift.mean:.4g} apart, at most {shift.largest:.4g}")
    return {"predictions": asdict(shift)}, f"{what}: {', '.join(words)}"


def _lines(info: ChangeInfo) -> tuple[str, ...]:
    """The lines of text that differ, or else the values; nothing of what came or went whole."""
    if info.change != "changed":
        return ()
    lines = [line for line in info.text if not line.startswith("@@")]
    lines = lines or [f"{fact.name}: {fact.before or 'none'} → {fact.after or 'none'}" for fact in info.facts]
    more = [f"… and {len(lines) - MOST_LINES} lines more"] if len(lines) > MOST_LINES else []
    return (*lines[:MOST_LINES], *more)
