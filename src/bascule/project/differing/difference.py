"""Two runs compared, term by term."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import msgspec

from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.project.differing.table import environment_of, measured
from bascule.store import BlobStore
from bascule.tracking.listing import brief, named_run
from bascule.tracking.reading import read_run

LARGEST_TEXT = 1 << 20
#: (name, before, after); None where a side has none.
Pair = tuple[str, Any, Any]


@dataclass(frozen=True)
class FileDifference:
    """A file of code that differs: `lines` is a unified diff without its head, empty for a file that is gone."""

    path: str
    change: Literal["added", "removed", "changed"]
    added: int
    removed: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class RunsDiff:
    """What differs between two runs. Of each section only what differs is there.

    Attributes:
        before, after: the runs, as lists show them.
        about: command, kind, status, branch, commits, person.
        code: files.
        data: what they read, by path and version.
        environment: interpreter, machine, and variables for seeds and threads.
        packages, params, metrics: by name.
        outputs: what they wrote, by path and version.
        hints: commands that say more.
        notes: what could not be compared, and why.
    """

    before: dict[str, Any]
    after: dict[str, Any]
    about: tuple[Pair, ...]
    code: tuple[FileDifference, ...]
    data: tuple[Pair, ...]
    environment: tuple[Pair, ...]
    packages: tuple[Pair, ...]
    params: tuple[Pair, ...]
    metrics: tuple[Pair, ...]
    outputs: tuple[Pair, ...]
    hints: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def causes(self) -> list[str]:
        """What may explain that results differ, in words: code, data, environment, packages, parameters."""
        counted = (
            (len(self.code), "file of code", "files of code"),
            (len(self.data), "input", "inputs"),
            (len(self.params), "parameter", "parameters"),
            (len(self.packages), "package", "packages"),
            (len(self.environment), "term of the environment", "terms of the environment"),
        )
        told = [f"{count} {one if count == 1 else many}" for count, one, many in counted if count]
        return [*(["the command"] if any(name == "command" for name, _, _ in self.about) else []), *told]

    def as_dict(self) -> dict[str, Any]:
        """The difference as one JSON object."""
        return {**asdict(self), "causes": self.causes}


def diff_runs(workspace: Workspace, before: str, after: str) -> RunsDiff:
    """Return why two runs differ.

    Args:
        before, after: ids, starts of ids, or `last`.

    Raises:
        NotFound: there is no such run.
        InputError: both are the same run.
    """
    rows = named_run(workspace, before), named_run(workspace, after)
    if rows[0]["id"] == rows[1]["id"]:
        raise InputError(f"Both are run {rows[0]['id']}.", hint="Name two runs: bascule run diff last~1 last")
    old, new = read_run(workspace, rows[0]["id"]), read_run(workspace, rows[1]["id"])
    notes: list[str] = []
    texts = [_texts(workspace.store, one["run"], notes) for one in (old, new)]
    both = [environment_of(one["environment"]) for one in (old, new)]
    packages: list[Pair] = []
    environment: list[Pair] = []
    for name, was, now in _pairs(*both):
        is_package = name.startswith("package ")
        (packages if is_package else environment).append((name.removeprefix("package "), was, now))
    data = tuple(_pairs(old["inputs"], new["inputs"]))
    found = None not in texts
    touched = {path for one in (old, new) for side in ("inputs", "outputs") for path in one[side]}
    return RunsDiff(
        before=brief(rows[0]),
        after=brief(rows[1]),
        about=tuple(_about(old, new)),
        code=tuple(_code(workspace.store, texts[0] or {}, texts[1] or {}, touched)) if found else (),
        data=data,
        environment=tuple(environment),
        # Where much was installed on one side only, what is there in another version tells more.
        packages=tuple(sorted(packages, key=lambda pair: None in pair)),
        params=tuple(_pairs(old["params"], new["params"])),
        metrics=tuple(_pairs(measured(old["metrics"]), measured(new["metrics"]))),
        outputs=tuple(_pairs(old["outputs"], new["outputs"])),
        hints=tuple(_hints(workspace, data, rows)),
        notes=tuple(notes),
    )


def change_of(before: Any, after: Any) -> str:
    """Return how far a metric moved, as `+0.012 (+1.5 %)`; empty where there is nothing to subtract."""
    numbers = all(isinstance(one, int | float) and math.isfinite(one) for one in (before, after))
    if not numbers:
        return ""
    share = f" ({(after - before) / abs(before):+.2%})" if before else ""
    return f"{after - before:+.6g}{share}"


def _pairs(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Pair]:
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was != now and not (was != was and now != now):  # NaN is like NaN here
            yield name, was, now


def _about(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Pair]:
    for one in ("name", "kind", "step", "status", "branch", "commit_id", "code_commit", "code_dirty", "user_name"):
        if old["run"][one] != new["run"][one]:
            yield one.removesuffix("_id"), old["run"][one], new["run"][one]
    for tag in ("command", "exit_code"):
        if old["tags"].get(tag) != new["tags"].get(tag):
            yield tag, old["tags"].get(tag), new["tags"].get(tag)


def _texts(store: BlobStore, run: Mapping[str, Any], notes: list[str]) -> dict[str, str] | None:
    if not run["code_snapshot"]:
        notes.append(f"No code was kept of run {run['id']}.")
        return None
    try:
        found: dict[str, str] = msgspec.json.decode(store.get(run["code_snapshot"]))
    except NotFound:
        notes.append(f"The code of run {run['id']} is gone from the store.")
        return None
    return found


def _code(
    store: BlobStore, before: Mapping[str, str], after: Mapping[str, str], touched: set[str]
) -> Iterator[FileDifference]:
    for path, was, now in _pairs(before, after):
        if path in touched:  # text that the runs read or wrote is data, and is told there
            continue
        change: Literal["added", "removed", "changed"] = (
            "added" if was is None else "removed" if now is None else "changed"
        )
        old, new = _lines(store, was), _lines(store, now)
        if old is None or new is None:
            yield FileDifference(path, change, 0, 0, ("(the text is gone from the store)",))
            continue
        lines = [line.rstrip("\r\n") for line in difflib.unified_diff(old, new, n=3)][2:]
        added, removed = sum(line[:1] == "+" for line in lines), sum(line[:1] == "-" for line in lines)
        yield FileDifference(path, change, added, removed, tuple(lines))


def _lines(store: BlobStore, digest: str | None) -> list[str] | None:
    try:
        return store.get(digest).decode(errors="replace").splitlines(keepends=True) if digest else []
    except NotFound:
        return None


def _hints(workspace: Workspace, data: tuple[Pair, ...], rows: tuple[dict[str, Any], dict[str, Any]]) -> Iterator[str]:
    """Yield commands that compare tables and sets of files of the lake in detail."""
    commits = [row["commit_id"] for row in rows]
    if None in commits or commits[0] == commits[1]:
        return
    paths = [name for name, was, now in data if name.startswith(("tables/", "files/")) and was and now]
    if paths:
        yield f"bascule diff {commits[0][:10]} {commits[1][:10]} {' '.join(paths)}"
