"""What differs between two states, as `changes` tells it, with what takes a look at the data: rows, and answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec

from bascule.counting import counted
from bascule.errors import BasculeError, NotFound
from bascule.history import Change, Workspace
from bascule.lake import ColumnChange, Lake, RowChange, TableDiff, filesets
from bascule.lake.masking import HIDDEN, hidden_columns
from bascule.naming import PRODUCTION
from bascule.project.changes import ChangeInfo, describe
from bascule.registry.versions import read_metrics

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
        table: what differs in a table, unless only names were asked for.
    """

    info: ChangeInfo
    summary: str
    details: tuple[str, ...] = ()
    sample: tuple[dict[str, Any], ...] = ()
    data: dict[str, Any] | None = None
    table: TableDiff | None = None

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


def compare(
    workspace: Workspace,
    before: str,
    after: str,
    paths: str | Sequence[str] = "",
    rows: int = 5,
    *,
    stat: bool = False,
    whole: bool | None = None,
) -> list[Comparison]:
    """Return how every path differs that begins so.

    Args:
        paths: the beginning of a path, or several; one that neither state has is an error.
        rows: show at most so many rows of a table that were added, removed and changed, each; or files of a set.
        stat: only say which paths differ, from what the history holds: no data is read.
        whole: read all rows of tables, for each column's figures; None does so for small ones.

    Raises:
        NotFound: neither state has a path that begins so.
    """
    prefixes = tuple([paths] if isinstance(paths, str) else paths) or ("",)
    found = []
    for change in workspace.history.diff(before, after):
        if not change.path.startswith(prefixes):
            continue
        info = describe(change)
        if stat:
            found.append(Comparison(info, info.summary))
        elif change.path.startswith("tables/"):
            name, state = change.path.removeprefix("tables/"), workspace.history.resolve(after)
            hidden = hidden_columns(workspace, state, name, change.before, change.after)
            found.append(_table(Lake(workspace), change, info, rows, whole, hidden))
        elif change.path.startswith(filesets.PREFIX):
            found.append(_files(workspace, change, info, rows))
        elif change.path.startswith("models/"):
            found.append(_model(workspace, change, info))
        else:
            found.append(Comparison(info, info.summary, _lines(info)))
    _refuse_unknown(workspace, (before, after), [p for p in prefixes if p], found)
    return found


def _refuse_unknown(
    workspace: Workspace, refs: tuple[str, str], prefixes: Sequence[str], found: Sequence[Comparison]
) -> None:
    """Raise `NotFound` for a path that neither state has: to say that nothing differs there would be misleading."""
    for prefix in prefixes:
        if any(one.path.startswith(prefix) for one in found):
            continue
        known = {path for ref in refs for path in workspace.history.digests(ref)}
        if not any(path.startswith(prefix) for path in known):
            raise NotFound("path", prefix, known, where=" or ".join(dict.fromkeys(refs)))


def _table(
    lake: Lake, change: Change, info: ChangeInfo, rows: int, whole: bool | None, hidden: Collection[str]
) -> Comparison:
    diff = without_values(lake.diff(change.before, change.after, rows, whole=whole), hidden)
    words = [f"{diff.rows_before:,} → {counted(diff.rows_after, 'row')}"]
    if diff.rows_before == diff.rows_after and not (diff.added or diff.removed or diff.changed):
        words = [f"{counted(diff.rows_after, 'row')}, {'columns changed' if diff.columns else 'the same'}"]
    for name in ("added", "removed", "changed"):
        if count := getattr(diff, name):
            words.append(f"{count:,} {name}")
    details = [column_text(one) for one in diff.columns if change.kind == "changed"]
    if diff.replaced:
        details.append("another table has taken its name: columns were matched by their names")
    if diff.repeated_keys:
        details.append(
            f"{counted(diff.repeated_keys, 'key')} belong to several rows, which were matched by all their values"
        )
    sample = tuple(_row(one) for one in diff.sample) if change.kind == "changed" else ()
    return Comparison(info, ", ".join(words), tuple(details), sample, _numbers(diff), diff)


def without_values(diff: TableDiff, hidden: Collection[str]) -> TableDiff:
    """Return a comparison without the values, and without the figures, of some columns."""
    if not hidden:
        return diff

    def covered(row: dict[str, Any] | None) -> dict[str, Any] | None:
        return row and {name: HIDDEN if name in hidden else value for name, value in row.items()}

    sample = tuple(replace(one, before=covered(one.before), after=covered(one.after)) for one in diff.sample)
    return replace(diff, sample=sample, values=tuple(one for one in diff.values if one.column not in hidden))


def column_text(one: ColumnChange) -> str:
    """Return a change of a table's columns as a line."""
    if one.kind in ("added", "dropped"):
        return f"column {one.column}: {one.kind}"
    if one.kind == "moved":
        return f"column {one.column}: moved from place {one.before} to {one.after}"
    word = {"nullable": "", "renamed": "renamed "}.get(one.kind, f"{one.kind} ")
    return f"column {one.column}: {word}{one.before} → {one.after}"


def _files(workspace: Workspace, change: Change, info: ChangeInfo, limit: int) -> Comparison:
    name = change.path.removeprefix(filesets.PREFIX)
    before, after = (filesets.manifest_of(workspace.store, value, name) for value in (change.before, change.after))
    diff = filesets.compare(before, after, limit)
    counts = [int(value["files"]) if value else 0 for value in (change.before, change.after)]
    words = f"{counts[0]:,} → {counted(counts[1], 'file')}, {diff.words()}"
    signs = {"added": "+", "removed": "-", "changed": "~", "renamed": ">"}
    lines = [f"{signs[one.kind]} {f'{one.before} → ' if one.before else ''}{one.path}" for one in diff.sample]
    more = sum(diff.counts().values()) - len(lines)
    lines += [f"… and {more:,} more"] if more > 0 and lines else []
    return Comparison(info, words, tuple(lines), data={"files": counts, **diff.as_dict()})


def _row(one: RowChange) -> dict[str, Any]:
    """A changed row as one: a cell that differs shows both values."""
    before, after = one.before or {}, one.after or {}
    if one.kind != "changed":
        return {"": {"added": "+", "removed": "-"}[one.kind], **(after or before)}
    return {"": "~"} | {k: f"{before.get(k)} → {value}" if k in one.columns else value for k, value in after.items()}


def _numbers(diff: TableDiff) -> dict[str, Any]:
    names = (
        *("rows_before", "rows_after", "added", "removed", "changed", "matched_by"),
        *("repeated_keys", "replaced", "files_read", "files_shared", "whole"),
    )
    facts = {name: getattr(diff, name) for name in names}
    rows = [asdict(one) for one in diff.sample]
    return facts | {
        "columns": [asdict(c) for c in diff.columns],
        "values": [asdict(v) for v in diff.values],
        "rows": rows,
    }


def _model(workspace: Workspace, change: Change, info: ChangeInfo) -> Comparison:
    """New versions with their metrics beside those of what served, and how far the answers moved."""
    before, after = change.before or {}, change.after or {}
    old, new = before.get("versions", {}), after.get("versions", {})
    served, serving = old.get(_production(before)), new.get(_production(after))
    details = []
    for number in sorted(new.keys() - old.keys(), key=int):
        version = new[number]
        details.append(f"version {number}: {'gates passed' if version['passed'] else 'forced: ' + version['forced']}")
        details += _metrics(read_metrics(version), read_metrics(served) if served else {})
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
