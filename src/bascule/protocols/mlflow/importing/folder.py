"""An `mlruns` folder as a source: files that MLflow wrote one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from bascule.errors import InputError
from bascule.protocols.mlflow.importing.database import STATUSES
from bascule.protocols.mlflow.importing.local import files_below, folder_of
from bascule.protocols.mlflow.importing.records import (
    Experiment,
    File,
    Measured,
    Model,
    Registered,
    Run,
    Traced,
    Version,
)
from bascule.protocols.mlflow.importing.traces import PLACE, info_of, spans_at
from bascule.tracking.inputs import Dataset
from bascule.tracking.points import Context, Point
from bascule.tracking.status import NUMBERS

T = TypeVar("T")
META = "meta.yaml"
MODELS, TRASH, TRACES = "models", ".trash", "traces"
TRACE = "trace_info.yaml"
BESIDE_RUNS = (MODELS, "datasets", TRACES, "tags", "assessments")
LARGEST = 16 << 20
LARGEST_NUMBER = 2**63 - 1
# What meta.yaml says in whole numbers.
NUMBERS_IN_META = (
    *("creation_time", "last_update_time", "creation_timestamp", "last_updated_timestamp", "start_time", "end_time"),
    *("version", "step"),
)
# And in one text, or a number that stands for it.
TEXTS_IN_META = (
    *("name", "run_id", "run_uuid", "run_name", "user_id", "status", "lifecycle_stage", "artifact_uri", "description"),
    *("digest", "source", "source_id", "source_type", "destination_id", "source_run_id", "model_id", "model_type"),
    *("current_stage", "run_link", "schema", "profile"),
)


class FolderSource:
    """An `mlruns` folder.

    Args:
        path: the folder with the experiments in it.
        roots: folders that artifacts may be read from besides.

    Raises:
        InputError: it holds no experiments.
    """

    def __init__(self, path: Path, roots: Sequence[Path] = ()) -> None:
        self.name = str(path)
        self._root = path.resolve()
        self._roots = [self._root, *roots]
        self._folders: dict[int, Path] = {}
        self._unreadable = 0
        self._outside: set[Path] = set()
        self._damaged: dict[tuple[str, Path], str] = {}
        for folder in (self._root, self._root / TRASH):
            for one in sorted(folder.iterdir()) if folder.is_dir() else ():
                if one.name.isdecimal() and self._is_there(one):
                    self._folders[int(one.name)] = one
        if not self._folders:
            raise InputError(f"There are no experiments of MLflow's in {str(path)!r}.", hint="Name an mlruns folder.")

    def experiments(self) -> list[Experiment]:
        """All experiments, deleted ones too."""
        numbers = {folder: number for number, folder in sorted(self._folders.items())}

        def made(folder: Path) -> Experiment:
            meta = _meta(folder / META)
            return Experiment(
                id=numbers[folder],
                name=str(meta.get("name", numbers[folder])),
                lifecycle=_lifecycle(meta),
                created_at=_us(meta.get("creation_time")),
                updated_at=_us(meta.get("last_update_time")),
                tags=_texts(folder / "tags"),
            )

        return list(self._readable("experiments", numbers, made))

    def _readable(self, what: str, folders: Iterable[Path], made: Callable[[Path], T]) -> Iterator[T]:
        """Yield what is made of each folder; one that is damaged is noted, and the others go on."""
        for folder in folders:
            try:
                found = made(folder)
            except InputError as error:
                self._damaged[what, folder] = error.message
            except (KeyError, TypeError, ValueError) as error:
                self._damaged[what, folder] = f"its {META} lacks or misstates {error}"
            else:
                yield found

    def unread(self) -> list[tuple[str, str]]:
        """What is damaged: what it is, and where with why."""
        return [(what, f"{one.relative_to(self._root)}: {why}"[:300]) for (what, one), why in self._damaged.items()]

    def runs(self, experiment: Experiment) -> Iterator[Run]:
        """The runs of an experiment."""
        folder = self._folders[experiment.id]
        below = (one for one in sorted(folder.iterdir()) if one.name not in BESIDE_RUNS and self._is_there(one))
        yield from self._readable("runs", below, partial(self._run, experiment))

    def _run(self, experiment: Experiment, one: Path) -> Run:
        meta, tags = _meta(one / META), _texts(one / "tags")
        status = meta.get("status", "RUNNING")
        return Run(
            id=str(meta.get("run_id") or meta.get("run_uuid") or one.name),
            experiment=experiment.id,
            name=str(meta.get("run_name") or meta.get("name") or tags.get("mlflow.runName", "")),
            user=str(meta.get("user_id") or ""),
            status=NUMBERS.get(status, "RUNNING") if isinstance(status, int) else str(status),
            lifecycle=_lifecycle(meta),
            started_at=_us(meta.get("start_time")),
            finished_at=_us(meta["end_time"]) if meta.get("end_time") else None,
            artifacts=str(one / "artifacts"),
            params=_texts(one / "params"),
            tags=tags,
            datasets=tuple(self._datasets(one.parent, one)),
            reads=tuple(str(m["source_id"]) for m in _metas(one / "inputs") if m.get("source_type") == "MODEL"),
            makes=tuple((str(m["destination_id"]), int(m.get("step") or 0)) for m in _metas(one / "outputs")),
        )

    def _datasets(self, experiment: Path, run: Path) -> Iterator[Dataset]:
        for link in _metas(run / "inputs"):
            if link.get("source_type") != "DATASET":
                continue
            place = experiment / "datasets" / str(link["source_id"]) / META
            if "/" in str(link["source_id"]) or not self._is_there(place.parent):
                continue
            meta = _meta(place)
            yield Dataset(
                name=str(meta["name"]),
                digest=str(meta["digest"]),
                source_type=str(meta.get("source_type") or "unknown"),
                source=str(meta.get("source") or ""),
                schema=meta.get("schema"),
                profile=meta.get("profile"),
                tags={str(key): str(value) for key, value in (link.get("tags") or {}).items()},
            )

    def points(self, run: Run) -> Iterator[Measured]:
        """All points of a run's metrics."""
        for name, line in _lines(Path(run.artifacts).parent / "metrics"):
            if point := self._point(name, line):
                yield point, Context("", *line[3:5]) if len(line) > 4 else Context()

    def models(self, experiment: Experiment) -> Iterator[Model]:
        """The logged models of an experiment."""
        place = self._folders[experiment.id] / MODELS
        below = (one for one in (sorted(place.iterdir()) if place.is_dir() else ()) if self._is_there(one))
        yield from self._readable("logged models", below, partial(self._model, experiment))

    def _model(self, experiment: Experiment, folder: Path) -> Model:
        meta = _meta(folder / META)
        return Model(
            id=str(meta["model_id"]),
            experiment=experiment.id,
            name=str(meta.get("name") or folder.name),
            status=STATUSES.get(int(meta.get("status") or 2), "READY"),
            kind=str(meta.get("model_type") or ""),
            run=str(meta.get("source_run_id") or ""),
            lifecycle=_lifecycle(meta),
            created_at=_us(meta.get("creation_timestamp")),
            updated_at=_us(meta.get("last_updated_timestamp")),
            artifacts=str(folder / "artifacts"),
            params=_texts(folder / "params"),
            tags=_texts(folder / "tags"),
        )

    def model_points(self, model: Model) -> Iterator[Measured]:
        """All points of a logged model's metrics."""
        for name, line in _lines(Path(model.artifacts).parent / "metrics"):
            if point := self._point(name, line):
                yield point, Context(*line[3:6]) if len(line) > 5 else Context(*line[3:4])

    def _point(self, name: str, line: list[str]) -> Point | None:
        try:
            # Before version 1 of MLflow the step was not kept.
            point = Point(name, float(line[1]), _us(int(line[0])), int(line[2]) if len(line) > 2 else 0)
        except ValueError:
            point = None
        if point is None or max(abs(point.at), abs(point.step)) > LARGEST_NUMBER:
            self._unreadable += 1
            return None
        return point

    def registered(self) -> Iterator[Registered]:
        """The registered models."""
        place = self._root / MODELS
        below = (one for one in (sorted(place.iterdir()) if place.is_dir() else ()) if self._is_there(one))
        yield from self._readable("registered models", below, self._registered)

    def _registered(self, folder: Path) -> Registered:
        meta = _meta(folder / META)
        versions, unread = self._versions(folder)
        aliases = {name: int(text) for name, text in _texts(folder / "aliases").items() if text.isdecimal()}
        return Registered(
            name=str(meta["name"]),
            description=str(meta.get("description") or ""),
            created_at=_us(meta.get("creation_timestamp")),
            updated_at=_us(meta.get("last_updated_timestamp")),
            tags=_texts(folder / "tags"),
            aliases=aliases,
            versions=tuple(sorted(versions, key=lambda one: one.number)),
            unread=tuple(unread),
        )

    def _versions(self, folder: Path) -> tuple[list[Version], list[tuple[str, str]]]:
        """Return the versions of a registered model, and those that cannot be read with why."""
        found, unread = [], []
        for one in sorted(folder.glob("version-*")):
            if not self._is_there(one):
                continue
            try:
                version = _version(one)
            except InputError as error:
                unread.append((one.name, error.message))
            except (KeyError, TypeError, ValueError) as error:
                unread.append((one.name, f"its {META} lacks or misstates {error}"))
            else:
                found += [version] if version is not None else []
        return found, unread

    def _is_there(self, folder: Path) -> bool:
        """Tell whether a folder is one that says what it is; what leads out of the named folders is passed over."""
        meta = folder / META
        if not meta.is_file():
            return False
        place = meta.resolve()
        if any(place.is_relative_to(root.resolve()) for root in self._roots):
            return True
        self._outside.add(folder)
        return False

    def files(self, owner: Run | Model) -> Iterator[File]:
        """The files of a run or a logged model: those in its own folder, else those where it says that they are."""
        folder = Path(owner.artifacts)
        if folder.is_dir():
            folder = folder_of(str(folder), self._roots)  # a link may lead elsewhere
        else:
            said = str(_meta(folder.parent / META).get("artifact_uri") or "")
            if not said:
                return
            try:
                folder = folder_of(said, self._roots)
            except FileNotFoundError:
                return
        yield from files_below(folder)

    def traces(self, experiment: Experiment) -> Iterator[Traced]:
        """The traces of an experiment, with the spans in their files."""
        for place in sorted((self._folders[experiment.id] / TRACES).glob(f"*/{TRACE}")):
            folder = place.parent
            if folder.is_symlink() or place.is_symlink():
                continue
            said = [_meta(path, nested=True) for path in _named(folder / "assessments") if path.suffix == ".yaml"]
            metadata = _texts(folder / "request_metadata") | _texts(folder / "trace_metadata")
            info = info_of(_meta(place, nested=True), _texts(folder / "tags"), metadata, said)
            yield info, partial(self._spans, folder, info["tags"].get(PLACE, ""))

    def _spans(self, folder: Path, place: str) -> list[dict[str, Any]]:
        own = folder / "artifacts"
        return spans_at(lambda: folder_of(str(own) if own.is_dir() or not place else place, self._roots))

    def beside(self) -> dict[str, int]:
        """What an import does not take."""
        outside = "links that lead out of the folder that was named (name theirs too: --artifacts FOLDER)"
        found = {"lines of metrics that cannot be read": self._unreadable, outside: len(self._outside)}
        return {what: count for what, count in found.items() if count}

    def close(self) -> None:
        """There is nothing to give back."""


def _version(folder: Path) -> Version | None:
    meta = _meta(folder / META)
    if meta.get("current_stage") == "Deleted_Internal":
        return None
    source = str(meta.get("source") or "")
    return Version(
        number=int(meta["version"]),
        source=source,
        run=str(meta.get("run_id") or ""),
        stage=str(meta.get("current_stage") or "None"),
        user=str(meta.get("user_id") or ""),
        created_at=_us(meta.get("creation_timestamp")),
        updated_at=_us(meta.get("last_updated_timestamp")),
        description=str(meta.get("description") or ""),
        run_link=str(meta.get("run_link") or ""),
        model=str(meta.get("model_id") or (source.removeprefix("models:/") if source.startswith("models:/m-") else "")),
        tags=_texts(folder / "tags"),
    )


def _lines(folder: Path) -> Iterator[tuple[str, list[str]]]:
    for path in _named(folder):
        name = path.relative_to(folder).as_posix()
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                parts = line.split()
                if len(parts) >= 2:
                    yield name, parts


def _texts(folder: Path) -> dict[str, str]:
    """Return the files of a folder, and of those in it, as texts by their paths."""
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8", errors="replace")
        for path in _named(folder)
        if path.stat().st_size <= LARGEST
    }


def _named(folder: Path) -> Iterator[Path]:
    if folder.is_dir() and not folder.is_symlink():
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def _metas(folder: Path) -> list[dict[str, Any]]:
    found = sorted(folder.glob(f"*/{META}")) if folder.is_dir() and not folder.is_symlink() else []
    return [_meta(path) for path in found if not path.is_symlink() and not path.parent.is_symlink()]


def _meta(path: Path, *, nested: bool = False) -> dict[str, Any]:
    try:
        found = yaml.load(path.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}.", hint="Mend or remove it, and repeat.") from None
    if not isinstance(found, dict):
        raise InputError(f"{str(path)!r} says nothing.", hint="Mend or remove it, and repeat.")
    odd = [key for key in TEXTS_IN_META if isinstance(found.get(key), list | dict | bytes)]
    if odd and not nested:
        raise InputError(f"{str(path)!r} says {odd[0]} in more than a text.", hint="Mend or remove it, and repeat.")
    for key in NUMBERS_IN_META:
        try:
            fits = abs(int(found.get(key) or 0)) * 1000 <= LARGEST_NUMBER
        except (TypeError, ValueError, OverflowError):
            fits = False
        if not fits:
            told = f"{str(path)!r} says {key}: {_shown(found[key])!r}, which is no number of that kind."
            raise InputError(told, hint="Mend or remove it, and repeat.")
    return found


def _shown(value: Any) -> str:
    # A few bytes of YAML may stand for lists that no memory holds.
    return f"a {type(value).__name__}" if isinstance(value, list | dict) else str(value)[:60]


def _lifecycle(meta: dict[str, Any]) -> str:
    return "deleted" if meta.get("lifecycle_stage") == "deleted" else "active"


def _us(at: Any) -> int:
    return int(at or 0) * 1000
