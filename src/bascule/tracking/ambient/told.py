"""What a journal says of runs, collected entry by entry, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3

from bascule.capture import module
from bascule.tracking.ambient.findings import Findings
from bascule.tracking.artifacts import confined
from bascule.tracking.values import as_text

legible = module("bascule_session").legible
LONGEST_NAME = 250  # of a parameter, a metric, a tag, and a path that was touched
WARNINGS = "warnings"
AT_ONCE = 1 << 23
# They are for people: the first few tell the story.
MOST_WARNINGS = 20


class Touch(msgspec.Struct, frozen=True, array_like=True):
    """Something that was read (`in`) or written (`out`): its path and the version of it."""

    direction: str
    path: str
    version: str
    rows: int | None = None
    size: int | None = None


class Begun(msgspec.Struct, frozen=True):
    """A run below another one; `experiment` and `parent` as they were said."""

    name: str
    parent: str | None
    at: int
    resumes: bool = False
    experiment: str | None = None
    kind: str = "track"


class Finished(msgspec.Struct, frozen=True):
    """How a run ended, and when: microseconds since 1970 UTC."""

    status: str
    error: str | None
    at: int


class Told(msgspec.Struct):
    """What is said of one run. It has the methods of `tracking.Run`, but nothing is written when they are called.

    Attributes:
        points: (name, value, time, step), the time in microseconds since 1970 UTC.
        blobs: files to put into the store, by the digest of their content.
        artifacts: files to keep with the run, by their path there.
        environment: what is added to the run's environment; what is there stays.
        findings: tables, models and candidates of searches.
        folder: the project's, which files are named from.
        spool: where files of the session lie.
    """

    id: str
    folder: str = ""
    spool: str = ""
    params_told: dict[str, str] = {}
    tags_told: dict[str, str] = {}
    points: list[tuple[str, float, int, int]] = []
    touched: list[Touch] = []
    blobs: dict[str, str] = {}
    artifacts: dict[str, str] = {}
    environment: dict[str, Any] = {}
    findings: Findings = msgspec.field(default_factory=Findings)
    begun: Begun | None = None
    finished: Finished | None = None

    def params(self, values: Mapping[str, Any]) -> None:
        """Say parameters; the first value of a name stands."""
        for key, value in values.items():
            self.params_told.setdefault(str(key)[:LONGEST_NAME], as_text(value))

    def tags(self, values: Mapping[str, str]) -> None:
        """Say labels; the last value of a name stands."""
        self.tags_told.update({str(key)[:LONGEST_NAME]: as_text(value) for key, value in values.items()})

    def metric(self, key: str, value: float, step: int = 0, at: int = 0) -> None:
        """Say one point."""
        self.points.append((str(key)[:LONGEST_NAME], float(value), at, step))

    def metrics(self, points: Iterable[tuple[str, float, int]], at: int = 0) -> None:
        """Say many points, each (name, value, step)."""
        for key, value, step in points:
            self.metric(key, value, step, at)

    def reads(self, path: str, version: str, rows: int | None = None, size: int | None = None) -> None:
        """Say what was read."""
        self._touch("in", path, version, rows, size)

    def writes(self, path: str, version: str, rows: int | None = None, size: int | None = None) -> None:
        """Say what was written."""
        self._touch("out", path, version, rows, size)

    def _touch(self, direction: str, path: str, version: str, rows: int | None, size: int | None) -> None:
        self.touched.append(Touch(direction, legible(path)[-LONGEST_NAME:], version[:80], rows, size))

    def keep(self, path: Path) -> str:
        """Have a file's content kept in the store, and return its digest.

        Raises:
            OSError: when it cannot be read.
        """
        digest = digest_of_file(path)
        self.blobs[digest] = str(path)
        return digest

    def artifact(self, name: str, path: Path) -> None:
        """Have a file kept with the run under a path, and say that it was written.

        Raises:
            OSError: when it cannot be read.
            InputError: when the path leads out of the run's folder, or no system takes it.
        """
        name = confined(name)
        self.artifacts[name] = str(path)
        self.writes(f"artifacts/{name}", digest_of_file(path), size=path.stat().st_size)

    def warn(self, text: str) -> None:
        """Note a warning in the run's tags; of many the first few."""
        before = self.tags_told.get(WARNINGS, "")
        if text and before.count("\n") < MOST_WARNINGS - 1 and text not in before:
            self.tags_told[WARNINGS] = f"{before}\n{text}" if before else text


def digest_of_file(path: Path) -> str:
    """Return the BLAKE3 digest of a file's content. It is read and not mapped: it may get shorter meanwhile.

    Raises:
        OSError: when it cannot be read.
    """
    hasher = blake3(max_threads=blake3.AUTO)
    with open(path, "rb", buffering=0) as source:
        while part := source.read(AT_ONCE):
            hasher.update(part)
    return hasher.hexdigest()
