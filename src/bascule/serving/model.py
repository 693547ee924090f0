"""One version of a model in memory: it turns rows into outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bascule.errors import EnvironmentProblem, InputError
from bascule.serving.encoding import Encoder, extra
from bascule.serving.joining import FeatureReader, Joiner
from bascule.serving.rows import Columns, Rows
from bascule.serving.runtime import Runtime, load_runtime
from bascule.training import ModelBundle, Signature

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


class LoadedModel:
    """A bundle with its runtime, its encoder and, when it has a feature set, the way to join features.

    It may be used from several threads.

    Attributes:
        unjoined: the model has a feature set, but the features were not materialised when it was loaded.
        runtime: what scores.
        sent_plainly: the last request brought one row, a plain value a column; the next one likely will.
    """

    def __init__(
        self, name: str, version: int, bundle: ModelBundle, runtime: Runtime, joiner: Joiner | None = None
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
        self.unjoined = joiner is None and bundle.feature_set is not None
        self.sent_plainly = True
        self.numeric = not bundle.signature.categorical()
        self.runtime = runtime
        self._single = self.task != "multiclass"
        waits = getattr(runtime, "apart", False)
        self.inline_rows = 0 if waits else JOINED_INLINE_ROWS if joiner else INLINE_ROWS
        self._beside = frozenset(joiner.columns) - self.encoder.known if joiner else frozenset[str]()

    @property
    def columns(self) -> list[Column]:
        """The columns that a request brings: the joiner's when there is one, else the model's inputs."""
        if self.joiner is not None:
            return [Column(name, kind) for name, kind in self.joiner.types.items()]
        return [Column(field.name, field.type) for field in self.signature.inputs]

    def score(self, rows: Rows, now: int) -> Scored:
        """Score rows: features that were sent, or keys to join features by.

        Raises:
            InputError: a column is missing, not known, or has a value of the wrong type; the text names it.
        """
        columns = rows.columns
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
        read = dict(zip(self.encoder.names, map(list, zip(*joined, strict=True)), strict=True))
        if rows.count == 1:
            return [self._predict_one(self.encoder.encode_one(read))], joined, at
        return self._predict(self.encoder.encode(read, rows.count)), joined, at

    def subject(self, rows: Rows) -> str | None:
        """Return what the first row is about: its keys and the time asked for; None when the request brings no keys."""
        if self.joiner is None or rows.columns is None or not self.joiner.keys:
            return None
        names = (*self.joiner.keys, self.joiner.prediction_time)
        values = [rows.columns[name][0] for name in names if name in rows.columns]
        return repr(values) if values else None

    @property
    def answers(self) -> bool:
        """Whether it may answer: of a pickle, whether consent to it holds."""
        return bool(getattr(self.runtime, "allowed", True))

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the outputs [rows] or [rows, classes] of rows that were encoded, as float64 [rows, inputs]."""
        return self.runtime.predict(matrix)

    @property
    def explains(self) -> bool:
        """Whether the model tells what each input adds to a score."""
        return getattr(self.runtime, "contributions", None) is not None

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return what each input adds to the raw score, and the base last: [rows, outputs, inputs + 1]."""
        found: np.ndarray = self.runtime.contributions(matrix)  # type: ignore[attr-defined]
        return found

    def _score_numbers(self, rows: Rows) -> list[Output]:
        width = len(rows.row) if rows.row is not None else rows.matrix.shape[1] if rows.matrix is not None else 0
        if width != self.width or not self.numeric:
            what = f"{self.width} inputs a row" if self.numeric else "texts too"
            raise InputError(f"The model reads {what}; the request has rows of {width} numbers.")
        if rows.row is not None:
            return [self._predict_one(rows.row)]
        assert rows.matrix is not None
        return self._predict(rows.matrix)

    def _predict(self, matrix: np.ndarray) -> list[Output]:
        if len(matrix) == 1:
            return [self._predict_one(matrix[0].tolist())]
        found: list[Output] = self.runtime.predict(matrix).tolist()
        return found

    def _predict_one(self, row: Sequence[float]) -> Output:
        found = self.runtime.predict_one(row)
        return found[0] if self._single else list(found)

    def _are_features(self, columns: Columns) -> bool:
        """Return True when the request brings the model's inputs, False when it brings keys to join them by.

        Whatever is neither is an error that names it.
        """
        known = self.encoder.known
        if len(columns) == self.width and columns.keys() == known:
            return True
        unknown = columns.keys() - known - self._beside
        if unknown and self.unjoined:
            raise EnvironmentProblem(
                f"The features of model {self.name!r} were not materialised here, so keys cannot be joined with them.",
                hint="Fill the online store with: bascule run; or send the model's inputs themselves.",
            )
        if unknown:
            raise extra(sorted(unknown), self._meant(columns))
        if self.joiner is None:
            return True
        return known <= columns.keys() or bool(columns.keys() - self.joiner.columns.keys())

    def _meant(self, columns: Columns) -> list[str]:
        """Return the names that a request may bring: the model's own inputs only to one that brings some of them."""
        asked = [column.name for column in self.columns]
        brings_inputs = bool(self.encoder.known & (columns.keys() - set(asked)))
        return sorted(self.encoder.known | self._beside if brings_inputs else asked)


def load_model(
    name: str, version: int, bundle: ModelBundle, reader_of: ReaderOf, runtime: Runtime | None = None
) -> LoadedModel:
    """Load a version for serving.

    Args:
        reader_of: gives a reader for a feature set's JSON, or None when features cannot be joined here; requests then
            bring the model's inputs.
        runtime: what scores; that of the bundle's format when None.

    Raises:
        InputError: the bundle cannot be used.
        MissingExtra: the library of its format is not installed.
    """
    joiner = None
    if bundle.feature_set is not None:
        reader = reader_of(bundle.feature_set)
        if reader is not None:
            joiner = _joiner(bundle.feature_set, reader)
    return LoadedModel(name, version, bundle, runtime or load_runtime(bundle), joiner)


def _joiner(feature_set: Mapping[str, Any], reader: FeatureReader) -> Joiner:
    try:
        keys = [key for entity in feature_set["entities"] for key in entity["keys"]]
        return Joiner(feature_set["columns"], feature_set["prediction_time"], list(dict.fromkeys(keys)), reader)
    except (KeyError, TypeError) as error:
        raise InputError(f"The model's feature set cannot be read: {error!r} is missing.") from None
