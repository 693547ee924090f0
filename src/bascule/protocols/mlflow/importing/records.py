"""What a source gives: experiments, runs, models and files, as plain values. Times are microseconds since 1970 UTC."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from bascule.errors import EnvironmentProblem
from bascule.tracking.inputs import Dataset
from bascule.tracking.points import Context, Point


class Unreachable(EnvironmentProblem):
    """Files that a source names and that cannot be read from here."""


class Unanswered(Unreachable):
    """What a source would not give now; another time it may."""


@dataclass(frozen=True)
class Experiment:
    """An experiment."""

    id: int
    name: str
    lifecycle: str
    created_at: int
    updated_at: int
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A run without its points and files.

    Attributes:
        status: as MLflow names it.
        metrics: the names of its metrics, when the source needs them to find the points.
        artifacts: where the source says that its files lie.
    """

    id: str
    experiment: int
    name: str
    user: str
    status: str
    lifecycle: str
    started_at: int
    finished_at: int | None
    artifacts: str
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[Dataset, ...] = ()
    reads: tuple[str, ...] = ()
    makes: tuple[tuple[str, int], ...] = ()
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Model:
    """A logged model without its points and files."""

    id: str
    experiment: int
    name: str
    status: str
    kind: str
    run: str
    lifecycle: str
    created_at: int
    updated_at: int
    artifacts: str
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    number: int
    source: str
    run: str
    stage: str
    user: str
    created_at: int
    updated_at: int
    description: str = ""
    run_link: str = ""
    model: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Registered:
    """A registered model. `unread` says which of its versions could not be read, and why."""

    name: str
    description: str
    created_at: int
    updated_at: int
    tags: Mapping[str, str]
    aliases: Mapping[str, int]
    versions: tuple[Version, ...]
    unread: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class File:
    """A file of a run or a model; `size` is None when the source does not say it."""

    path: str
    size: int | None
    opened: Callable[[], AbstractContextManager[BinaryIO]]


Measured = tuple[Point, Context]
# What is said of a whole trace, as version 3 of the API has it, and a function that reads its spans.
Traced = tuple[dict[str, Any], Callable[[], list[dict[str, Any]]]]


class Source(Protocol):
    """Where an import comes from. It is read, never written."""

    name: str

    def experiments(self) -> list[Experiment]:
        """All experiments, deleted ones too."""
        ...

    def runs(self, experiment: Experiment) -> Iterator[Run]:
        """The runs of an experiment, deleted ones too."""
        ...

    def points(self, run: Run) -> Iterator[Measured]:
        """All points of a run's metrics."""
        ...

    def models(self, experiment: Experiment) -> Iterator[Model]:
        """The logged models of an experiment, deleted ones too where the source tells them."""
        ...

    def model_points(self, model: Model) -> Iterator[Measured]:
        """All points of a logged model's metrics."""
        ...

    def registered(self) -> Iterator[Registered]:
        """The registered models, prompts too."""
        ...

    def traces(self, experiment: Experiment) -> Iterator[Traced]:
        """The traces of an experiment."""
        ...

    def files(self, owner: Run | Model) -> Iterator[File]:
        """The files of a run or a logged model.

        Raises:
            Unreachable: they lie where this source cannot read them.
        """
        ...

    def beside(self) -> dict[str, int]:
        """What the source has and an import does not take: how many of each."""
        ...

    def unread(self) -> list[tuple[str, str]]:
        """What was passed over by now because it is damaged: what it is, and where with why."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...
