"""What was recorded of a run, as far as it is needed to do it again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select

from bascule.catalog.schema import metric_points, names, run_io
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.history.workspace import FOLDER as WORKSPACE
from bascule.tracking.keeping import params_of, tags_of
from bascule.tracking.points import value_of

#: What a run that did another one again says of it.
REPRODUCES = "reproduces"
PYTHON = re.compile(r"^python(\d+(\.\d+)?)?(\.exe)?$")
_SEED = re.compile(r"^seed\.|(^|[._ ])((random_)?(state|seed)s?|\w+_seed)$", re.IGNORECASE)
_MARK = re.compile(r"^(models/.+)-[0-9a-f]{8}(/[^/]+)$")
# Of the machine and not of what was computed.
_MEASURED_TIME = re.compile(r"^system[/.]|(duration|seconds|time)(_s|_ms)?$")


@dataclass(frozen=True)
class Recorded:
    """A run as it was recorded.

    Attributes:
        row: its row in `runs`.
        environment: interpreter, machine, packages.
        inputs: what it read: path and version.
        outputs: what it wrote; a path may be there more than once.
        points: every point of its metrics: (name, step) and the values, in the order of time.
    """

    row: dict[str, Any]
    environment: dict[str, Any]
    params: dict[str, str]
    tags: dict[str, str]
    inputs: list[tuple[str, str]]
    outputs: list[tuple[str, str]]
    points: dict[tuple[str, int], list[float]]

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self.row["id"])

    @property
    def argv(self) -> list[str]:
        """The command's words.

        Raises:
            InputError: none was recorded.
        """
        words = self.environment.get("command")
        if isinstance(words, list) and words:
            return [str(word) for word in words]
        if not self.tags.get("command", "").strip():
            raise InputError(
                f"Run {self.id} ({self.row['kind']}) has no recorded command, so there is nothing to repeat.",
                hint="Runs of bascule track and of bascule run can be reproduced.",
            )
        return shlex.split(self.tags["command"])

    @property
    def has_command(self) -> bool:
        """Whether a command was recorded."""
        return bool(self.environment.get("command") or self.tags.get("command", "").strip())

    @property
    def packages(self) -> dict[str, str]:
        """The packages that were installed, by name."""
        return dict(self.environment.get("packages", {}))

    @property
    def variables(self) -> dict[str, str] | None:
        """The environment variables for seeds and threads that were set; None when they were not recorded."""
        found = self.environment.get("variables")
        return dict(found) if isinstance(found, dict) else None

    @property
    def seeds(self) -> tuple[str, ...]:
        """What was recorded of seeds, each as `name = value`."""
        told = {**self.tags, **self.params}
        found = [f"{name} = {value}" for name, value in sorted(told.items()) if _SEED.search(name)]
        seed = (self.variables or {}).get("PYTHONHASHSEED")
        return (*found, *([f"PYTHONHASHSEED = {seed}"] if seed else []))


def is_interactive(argv: Sequence[str]) -> bool:
    """Whether a command is a notebook's kernel, or an interpreter without a file: what it did came from outside."""
    if "ipykernel_launcher" in argv:
        return True
    words = [word for word in argv if word == "-" or not word.startswith("-")]
    if Path(words[-1]).name in ("ipython", "ipython3"):
        return True
    by_input = len(words) == 1 or words[1] == "-"
    return by_input and bool(PYTHON.match(Path(argv[0]).name)) and not {"-c", "-m", "-V", "--version"} & {*argv}


def recall(workspace: Workspace, row: dict[str, Any]) -> Recorded:
    """Read what belongs to a run's row."""
    p, i = metric_points.c, run_io.c
    with workspace.catalog.read() as conn:
        number = row["number"]
        touched = conn.execute(select(i.direction, i.path, i.version).where(i.run_id == row["id"]).order_by(i.path))
        # The mark of a model's folder is of the run that made it: doing it again gives another one.
        io = [(way, _MARK.sub(r"\1\2", path), version) for way, path, version in touched]
        # What a script that asks the lake does to the workspace's own files is no input or output of its own.
        io = [one for one in io if WORKSPACE not in Path(one[1]).parts]
        query = select(names.c.name, p.step, p.value, p.is_nan).join(names, names.c.number == p.name)
        points: dict[tuple[str, int], list[float]] = {}
        for name, step, value, nan in conn.execute(query.where(p.subject == number).order_by(p.at, p.value)):
            if not _MEASURED_TIME.search(name):
                points.setdefault((name, step), []).append(value_of(value, nan))
        params, tags = params_of(conn, number), tags_of(conn, number)
    return Recorded(
        row=row,
        environment=msgspec.json.decode(row["environment_json"] or "{}"),
        params=params,
        tags=tags,
        inputs=[(path, version) for way, path, version in io if way == "in"],
        outputs=[(path, version) for way, path, version in io if way == "out"],
        points=points,
    )
