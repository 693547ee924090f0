"""Many runs side by side: what differs in their parameters, metrics, data and environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from bascule.errors import InputError
from bascule.history import Workspace
from bascule.tracking.environment import MACHINE
from bascule.tracking.listing import brief, named_run
from bascule.tracking.reading import read_run

MOST = 100
RESOURCES = "system/"
Side = dict[str, list[Any]]


@dataclass(frozen=True)
class RunTable:
    """Runs side by side. Each section has, by name, a value for each run in their order; None where a run has none.

    Attributes:
        runs: the runs, as lists show them.
        same: how many names of each section are the same in all runs and left out.
    """

    runs: list[dict[str, Any]]
    params: Side
    metrics: Side
    inputs: Side
    environment: Side
    same: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The table as one JSON object."""
        return asdict(self)


def compare_runs(workspace: Workspace, names: Sequence[str], *, everything: bool = False) -> RunTable:
    """Return runs side by side.

    Args:
        names: ids, starts of ids, or `last`; from two on.
        everything: also what is the same in all of them.

    Raises:
        NotFound: there is no such run.
        InputError: there are fewer than two, or too many to read.
    """
    ids = list(dict.fromkeys(named_run(workspace, name)["id"] for name in names))
    if len(ids) < 2:
        raise InputError("One run alone is not compared.", hint="Name two or more: bascule run compare last~1 last")
    if len(ids) > MOST:
        raise InputError(f"{len(ids)} runs are too many to read.", hint=f"Compare at most {MOST}.")
    found = [read_run(workspace, name) for name in ids]
    sides = {
        "params": [one["params"] for one in found],
        "metrics": [one["metrics"] if everything else measured(one["metrics"]) for one in found],
        "inputs": [one["inputs"] for one in found],
        "environment": [environment_of(one["environment"]) for one in found],
    }
    tables = {name: _side_by_side(side, everything) for name, side in sides.items()}
    same = {name: len({key for one in side for key in one}) - len(tables[name]) for name, side in sides.items()}
    rows = [{**brief(named_run(workspace, one["run"]["id"])), "code": _code(one["run"])} for one in found]
    return RunTable(rows, **tables, same=same)


def measured(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics without what the machine did meanwhile."""
    return {name: value for name, value in metrics.items() if not name.startswith(RESOURCES)}


def environment_of(told: Mapping[str, Any]) -> dict[str, str]:
    """Return the terms of a run's recorded environment, flat: machine, variables and packages."""
    flat = {name: str(told[name]) for name in MACHINE if told.get(name) is not None}
    flat |= {name: str(value) for name, value in (told.get("variables") or {}).items()}
    return flat | {f"package {name}": str(value) for name, value in (told.get("packages") or {}).items()}


def _code(run: Mapping[str, Any]) -> str:
    commit, tree = run["code_commit"], run["code_snapshot"]
    text = f"git {commit[:10]}{' + changes' if run['code_dirty'] else ''}" if commit else ""
    return text or (f"tree {tree[:10]}" if tree else "")


def _side_by_side(maps: Sequence[Mapping[str, Any]], everything: bool) -> Side:
    names = sorted({name for one in maps for name in one})
    table = {name: [one.get(name) for one in maps] for name in names}
    return {name: values for name, values in table.items() if everything or not _alike(values)}


def _alike(values: Sequence[Any]) -> bool:
    return len({msgspec.json.encode(str(value)) for value in values}) == 1
