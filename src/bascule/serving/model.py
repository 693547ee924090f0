"""One version of a model in memory: it turns rows into outputs."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bascule.errors import EnvironmentProblem, InputError
from bascule.serving.case import Case
from bascule.serving.encoding import Encoder, extra, wrong_type
from bascule.serving.graph import Graph
from bascule.serving.joining import FeatureReader, Joiner
from bascule.serving.log.asked import Asked
from bascule.serving.rows import Columns, Rows, by_name
from bascule.serving.runtime import NATIVE, Runtime, load_runtime, warm
from bascule.serving.shapley import Explainer
from bascule.serving.workers import Job, Lane, WorkerRuntime
from bascule.serving.workers.job import BEFORE, PREDICT
from bascule.training import ModelBundle, Signature

BLOB = "blob"
_TAKEN: dict[str, tuple[str, frozenset[type]]] = {
    "varchar": ("a text", frozenset((str,))),
    "double": ("a number", frozenset((float, int))),
    "bigint": ("a whole number", frozenset((int,))),
    "boolean": ("true or false", frozenset((bool,))),
}
ReaderOf = Callable[[Mapping[str, Any]], FeatureReader | None]
Output = float | list[float]

# How many rows are scored where the request came in; more go to a thread, so that others need not wait for them.
INLINE_ROWS, JOINED_INLINE_ROWS = 128, 8


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a request may bring: its name, and its type as `double`, `bigint`, `boolean`, `varchar` or a
    DuckDB type."""

    name: str
    type: str


# What a model says about rows: for each the positive class' probability, each class' probability, or the value; then
# the model's inputs row by row when they were joined and not sent; then as of when, for each row, if anything says so.
Scored = tuple[list[Output], list[list[Any]] | None, list[int] | None]


class Prepared(NamedTuple):
    """Rows as a model reads them.

    Attributes:
        matrix: float64 [rows, inputs].
        columns: all that is known of the rows, for the steps of a graph; None when none looks at it.
        joined: the model's inputs row by row when they were joined and not sent.
        at: as of when, for each row, if anything says so.
    """

    matrix: np.ndarray
    columns: Columns | None = None
    joined: list[list[Any]] | None = None
    at: list[int] | None = None


class LoadedModel:
    """A bundle with its runtime, its encoder and, when it has a feature set, the way to join features.

    It may be used from several threads.

    Attributes:
        unjoined: the model reads features that are joined, and they were not materialised when it was loaded.
        workers, lane: its workers and their queue, when it answers from processes of its own.
        graph: the steps around it.
        batches: requests that wait anyway had better be scored together.
        blobs: columns of bytes; they are base64 until a step reads them.
        runtime: what scores; explainer: what tells why.
        sent_plainly: the last request brought one row, a plain value a column; the next one likely will.
        sent_numbers: it brought one row as a tensor of numbers.
        case: where it is noted what becomes of it.
        kinds: the types of its inputs and of what requests bring, by name.
        asked: what it was asked lately; None where no log is kept.
        numeric: its inputs are numbers and truths.
        lone_text: the name of its only input, if that is a text.
    """

    def __init__(
        self,
        name: str,
        version: int,
        bundle: ModelBundle,
        runtime: Runtime,
        joiner: Joiner | None = None,
        graph: Graph | None = None,
        batches: bool = False,
    ) -> None:
        self.name = name
        self.version = version
        self.format = bundle.format
        self.signature: Signature = bundle.signature
        self.task = bundle.signature.output.task
        self.classes = bundle.signature.output.classes
        self.encoder = Encoder(bundle.signature)
        self.width = len(self.encoder.names)
        self.joiner = joiner
        self.unjoined = joiner is None and _joins(bundle.feature_set)
        self.sent_plainly = True
        self.sent_numbers = False
        inputs = {field.name: str(field.type) for field in bundle.signature.inputs}
        self.case = Case(name, version)
        self.asked: Asked | None = None
        self.numeric = not bundle.signature.categorical() and not bundle.signature.is_raw
        # The only input of a model that reads one text a row: whatever a tensor alone is called, it is that.
        self.lone_text = _lone_text(bundle.signature)
        self.runtime = runtime
        self.workers = runtime if isinstance(runtime, WorkerRuntime) else None
        self.lane = self.workers.lane if self.workers is not None else None
        self.explainer = self.workers or Explainer(name, bundle, runtime)
        self.graph = graph or Graph()
        self.batches = batches
        self.kinds = inputs | {column.name: column.type for column in self.columns}
        self._looks = bool(self.graph.after or self.graph.route or self.graph.combine)
        self.blobs = frozenset(name for name, kind in self.graph.takes.items() if kind == BLOB)
        self._single = self.task != "multiclass"
        self.inline_rows = JOINED_INLINE_ROWS if joiner else INLINE_ROWS
        if getattr(runtime, "apart", False):
            self.inline_rows = 0  # an answer waits for another process
        if bundle.signature.is_raw:
            self.inline_rows = 0  # a text may be long, and what is made of it takes long
        if joiner is not None and getattr(joiner.reader, "far", False):
            self.inline_rows = 0  # a read waits for a server: never on the event loop
        self._beside = frozenset(joiner.columns) - self.encoder.known if joiner else frozenset[str]()
        self._taken = frozenset(self.graph.takes) or self.encoder.known | self._beside

    @property
    def waits(self) -> bool:
        """Whether requests may be scored together with others, or by workers."""
        return self.lane is not None or self.batches

    @property
    def engine(self) -> str:
        """Which engines answer, in words; the version's own library (`native`) where none was chosen."""
        return str(getattr(self.runtime, "engine", NATIVE))

    @property
    def columns(self) -> list[Column]:
        """The columns that a request brings: the joiner's when there is one, else the model's inputs."""
        if self.graph.takes:
            return [Column(name, kind) for name, kind in self.graph.takes.items()]
        if self.joiner is not None:
            return [Column(name, kind) for name, kind in self.joiner.types.items()]
        return [Column(field.name, field.type) for field in self.signature.inputs]

    def taken(self) -> frozenset[str]:
        """Return the names of the columns that rows may bring: the model's inputs, or what joins them."""
        return self._taken

    def score(self, rows: Rows, now: int) -> Scored:
        """Score rows: features that were sent, or keys to join features by.

        Raises:
            InputError: a column is missing, not known, or has a value of the wrong type; the text names it.
        """
        columns = rows.columns
        if self.lane is not None and rows.count:
            return self._score_there(self.lane, rows, now)
        if self.graph.before:
            self.named(rows)  # no rows: neither the steps nor the model are asked
            return [], None, None
        if columns is None:
            return self._score_numbers(rows), None, None
        if rows.count == 1 and len(columns) == self.width:
            try:
                return [self._predict_one(self.encoder.encode_one(columns))], None, None
            except KeyError:
                pass  # as many columns, but not these: below they are told apart
        if self._are_features(columns):
            times = None
            if self.joiner is not None and self.joiner.prediction_time in columns:
                times = self.joiner.times(columns, rows.count, now)
            return self._predict(self.encoder.encode(columns, rows.count)), None, times
        assert self.joiner is not None
        joined, at = self.joiner.join(columns, rows.count, now)
        read = by_name(self.encoder.names, joined)
        if rows.count == 1:
            return [self._predict_one(self.encoder.encode_one(read))], joined, at
        return self._predict(self.encoder.encode(read, rows.count)), joined, at

    def prepare(self, rows: Rows, now: int) -> Prepared:
        """Return rows as the model reads them, to be scored together with others.

        Raises:
            InputError: as `score`.
        """
        columns = rows.columns
        if columns is None:
            self._check_width(rows)
            return Prepared(np.array([rows.row]) if rows.row is not None else rows.owned())  # type: ignore[arg-type]
        if self._are_features(columns):
            times = None
            if self.joiner is not None and self.joiner.prediction_time in columns:
                times = self.joiner.times(columns, rows.count, now)
            matrix = self.encoder.encode(columns, rows.count)
            return Prepared(matrix, columns if self._looks else None, None, times)
        assert self.joiner is not None
        joined, at = self.joiner.join(columns, rows.count, now)
        read = by_name(self.encoder.names, joined)
        return Prepared(self.encoder.encode(read, rows.count), {**columns, **read} if self._looks else None, joined, at)

    def prepare_after(self, columns: Columns, count: int, now: int) -> tuple[Rows, Prepared]:
        """Return what the first step made of rows, and that as the model reads it.

        Raises:
            InputError: as `score`; it says that these are the step's rows, and not those that were sent.
        """
        rows = Rows(count, columns)
        try:
            return rows, self.prepare(rows, now)
        except InputError as error:
            told = f"After the step {self.graph.before!r}: {error.message}"
            raise InputError(told, hint=error.hint) from None

    def _score_there(self, lane: Lane, rows: Rows, now: int) -> Scored:
        """Score rows by the workers, in a thread that may wait."""
        if self.graph.before:
            columns = lane.ask(Job(BEFORE, rows.count, columns=self.named(rows)))
            rows, prepared = self.prepare_after(columns, rows.count, now)
        else:
            prepared = self.prepare(rows, now)
        try:
            found = lane.ask(Job(PREDICT, rows.count, prepared.matrix, prepared.columns))
        except Exception as error:
            self.encoder.blame(prepared.matrix, error)
            raise
        read = self.read_of(rows) if prepared.joined is None and self.graph.before else prepared.joined
        return found.tolist(), read, prepared.at

    def named(self, rows: Rows) -> Columns:
        """Return rows by the names of their columns, also when they came as numbers alone. Blobs are bytes here.

        Raises:
            InputError: a column is not among those that the steps take, where they say which, or has a value of another
                type; a blob is no base64. A column that is not there is missing in each row.
        """
        if rows.columns is not None:
            takes = self.graph.takes
            if takes and (unknown := rows.columns.keys() - takes.keys()):
                raise extra(sorted(unknown), list(takes))
            for name, values in rows.columns.items():
                _check(name, takes.get(name, ""), values)
            absent = {name: [None] * rows.count for name in takes if name not in rows.columns}
            return {n: _bytes_of(n, v) if n in self.blobs else v for n, v in rows.columns.items()} | absent
        self._check_width(rows)
        matrix = np.array([rows.row]) if rows.row is not None else rows.matrix
        assert matrix is not None
        return dict(zip(self.encoder.names, matrix.T.tolist(), strict=True))

    def read_of(self, rows: Rows) -> list[list[Any]] | None:
        """Return the model's inputs row by row, of rows that bring them by name."""
        columns = rows.columns
        if columns is None:
            return None
        absent = [None] * rows.count
        return [list(row) for row in zip(*(columns.get(name, absent) for name in self.encoder.names), strict=True)]

    def subject(self, rows: Rows) -> str | None:
        """Return what the first row is about: its keys and the time asked for; None when the request brings no keys."""
        if self.joiner is None or rows.columns is None or not self.joiner.keys:
            return None
        names = (*self.joiner.keys, self.joiner.prediction_time)
        values = [rows.columns[name][0] for name in names if name in rows.columns and rows.count]
        return repr(values) if values else None

    @property
    def answers(self) -> bool:
        """Whether it may answer: of a pickle, whether consent to it holds."""
        return bool(getattr(self.runtime, "allowed", True))

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the outputs [rows] or [rows, classes] of rows that were encoded, as float64 [rows, inputs]."""
        if not len(matrix):  # many libraries refuse to be asked about none
            return np.empty((0,) if self._single else (0, len(self.classes)), dtype=np.float64)
        return self.runtime.predict(matrix)

    def _check_width(self, rows: Rows) -> None:
        width = len(rows.row) if rows.row is not None else rows.matrix.shape[1] if rows.matrix is not None else 0
        if width != self.width or not self.numeric:
            what = f"{self.width} inputs a row" if self.numeric else "texts too"
            raise InputError(f"The model reads {what}; the request has rows of {width} numbers.")

    def _score_numbers(self, rows: Rows) -> list[Output]:
        self._check_width(rows)
        if rows.row is not None:
            return [self._predict_one(rows.row)]
        matrix = rows.matrix if getattr(self.runtime, "only_reads", False) else rows.owned()
        assert matrix is not None
        return self._predict(matrix)

    def _predict(self, matrix: np.ndarray) -> list[Output]:
        if not len(matrix):
            return []  # many models fail on no rows
        if len(matrix) == 1:
            return [self._predict_one(matrix[0].tolist())]
        try:
            found: list[Output] = self.predict(matrix).tolist()
        except Exception as error:
            self.encoder.blame(matrix, error)
            raise
        return found

    def _predict_one(self, row: Sequence[float]) -> Output:
        try:
            found = self.runtime.predict_one(row)
        except Exception as error:
            self.encoder.blame(np.array([row], dtype=object if self.encoder.is_raw else np.float64), error)
            raise
        return found[0] if self._single else list(found)

    def brings_inputs(self, columns: Columns) -> bool:
        """Whether a request brings the model's inputs, so that nothing is read from the online store."""
        return self.encoder.known <= columns.keys()

    def _are_features(self, columns: Columns) -> bool:
        """Return True when the request brings the model's inputs, False when it brings keys to join them by.

        Whatever is neither is an error that names it.
        """
        known = self.encoder.known
        if len(columns) == self.width and columns.keys() == known:
            return True
        unknown = columns.keys() - known - self._beside
        if unknown:
            self.demand_joined()
            raise extra(sorted(unknown), self._meant(columns))
        if self.joiner is None:
            return True
        return known <= columns.keys() or bool(columns.keys() - self.joiner.columns.keys())

    def demand_joined(self) -> None:
        """Raise `EnvironmentProblem` when its features cannot be joined, because there are none here."""
        if self.unjoined:
            raise EnvironmentProblem(
                f"The features of model {self.name!r} were not materialised here, so keys cannot be joined with them.",
                hint="Fill the online store with: bascule run, of streams: bascule stream run; "
                "or send the model's inputs themselves.",
            )

    def _meant(self, columns: Columns) -> list[str]:
        """Return the names that a request may bring: the model's own inputs only to one that brings some of them."""
        asked = [column.name for column in self.columns]
        brings_inputs = bool(self.encoder.known & (columns.keys() - set(asked)))
        return sorted(self.encoder.known | self._beside if brings_inputs else asked)


def _check(name: str, kind: str, values: Sequence[Any]) -> None:
    """Refuse a value that a column of the steps cannot hold; of other types than these the steps say it."""
    wanted, kinds = _TAKEN.get(kind.lower(), ("", None))
    if kinds is not None:
        for row, value in enumerate(values):
            if value is not None and type(value) not in kinds:
                raise wrong_type(name, wanted, value, row)


def _bytes_of(name: str, values: Sequence[Any]) -> list[bytes | None]:
    """Return a column of bytes, which travels and is logged as base64."""
    found: list[bytes | None] = []
    for row, value in enumerate(values):
        try:
            found.append(None if value is None else b64decode(value, validate=True))
        except (TypeError, ValueError):
            raise wrong_type(name, "bytes as base64", value, row) from None
    return found


def load_model(
    name: str,
    version: int,
    bundle: ModelBundle,
    reader_of: ReaderOf,
    runtime: Runtime | None = None,
    graph: Graph | None = None,
) -> LoadedModel:
    """Load a version for serving, and warm it up.

    Args:
        reader_of: gives a reader for a feature set's JSON, or None when features cannot be joined here; requests then
            bring the model's inputs.
        runtime: what answers, such as workers that have loaded it; that of the version's own library when not given.
        graph: the steps around it, which the workers know too.

    Raises:
        InputError: the bundle cannot be used.
        MissingExtra: the library of its format is not installed.
    """
    joiner = None
    if bundle.feature_set is not None:
        reader = reader_of(bundle.feature_set)
        if reader is not None:
            joiner = _joiner(bundle.feature_set, reader)
    if runtime is not None and (isinstance(runtime, WorkerRuntime) or getattr(runtime, "apart", False)):
        return LoadedModel(name, version, bundle, runtime, joiner, graph)
    answering = runtime or load_runtime(bundle)
    batches = not bundle.signature.is_raw and warm(answering, len(bundle.signature.inputs))
    return LoadedModel(name, version, bundle, answering, joiner, batches=batches)


def _lone_text(signature: Signature) -> str | None:
    only = signature.inputs[0] if len(signature.inputs) == 1 else None
    return only.name if only is not None and only.type == "varchar" and only.is_raw else None


def _joins(feature_set: Mapping[str, Any] | None) -> bool:
    """Return whether features are read, or computed, for a request; else it brings all that the model reads."""
    return feature_set is not None and bool(feature_set.get("views") or feature_set.get("request"))


def _joiner(feature_set: Mapping[str, Any], reader: FeatureReader) -> Joiner:
    try:
        keys = [key for entity in feature_set["entities"] for key in entity["keys"]]
        return Joiner(feature_set["columns"], feature_set["prediction_time"], list(dict.fromkeys(keys)), reader)
    except (KeyError, TypeError) as error:
        raise InputError(f"The model's feature set cannot be read: {error!r} is missing.") from None
