"""Models as functions of SQL: `predict('delays@production', f)` of the rows of `flights f`, while they stream by."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from bascule.errors import BasculeError, InputError
from bascule.lake import Session
from bascule.project.scoring import load_at
from bascule.serving.log.predictions import label, score
from bascule.serving.model import LoadedModel
from bascule.serving.rows import Rows, rows_of_columns, rows_of_split

PREDICT, LABEL = "predict", "predict_label"
MOST_ARGUMENTS = 40
_strict = msgspec.json.Decoder().decode


def _decode(text: str) -> Any:
    """Read JSON as DuckDB writes it: with NaN and Infinity, which JSON itself has not."""
    try:
        return _strict(text)
    except msgspec.DecodeError:
        return json.loads(text)


def teach(session: Session) -> AskedModels:
    """Let the queries of a session ask models.

    `predict(MODEL, ROW)` is the positive class' probability, the likeliest class' probability or the value;
    `predict_label(MODEL, ROW)` is the class. MODEL is written as for `bascule predict`, at the session's state. ROW is
    a table's alias or a struct, and may have more columns than the model reads; or the columns that it reads follow one
    by one, in its order.
    """
    asked = AskedModels(session)
    options: dict[str, Any] = {"type": "arrow", "null_handling": "special"}
    for name, kind, work in ((PREDICT, "DOUBLE", asked.scores), (LABEL, "VARCHAR", asked.labels)):
        session.connection.create_function(f"__{name}", work, ["VARCHAR", "VARCHAR"], kind, **options)
        forms = [f"(model, one) AS __{name}(model, to_json(one)::VARCHAR)"]
        for count in range(2, MOST_ARGUMENTS + 1):
            names = ", ".join(f"a{place}" for place in range(count))
            forms.append(f"(model, {names}) AS __{name}(model, json_array({names})::VARCHAR)")
        session.connection.execute(f"CREATE MACRO {name} {', '.join(forms)}")
    return asked


class AskedModels:
    """The models that one session has asked. It may be called from several threads.

    Attributes:
        failure: why one could not answer.
    """

    def __init__(self, session: Session) -> None:
        self._workspace, self._ref, self._connection = session.workspace, session.commit.id, session.connection
        self._now = time.time_ns() // 1_000
        self._loaded: dict[str, LoadedModel] = {}
        self._lock = threading.Lock()
        self.failure: BasculeError | None = None

    def forget(self) -> None:
        """Take the functions away again: the engine never frees a connection that has some."""
        for name in (PREDICT, LABEL):
            with suppress(duckdb.Error):  # closed already
                self._connection.execute(f"DROP MACRO {name}")
                self._connection.remove_function(f"__{name}")
        self._loaded.clear()
        self.failure = None  # its traceback leads to here and to the models: nothing else would end that circle

    def scores(self, models: pa.Array, rows: pa.Array) -> pa.Array:
        """Return the number that stands for each row's output."""
        return pa.array(self._each(models, rows, lambda model, output: score(output)), pa.float64())

    def labels(self, models: pa.Array, rows: pa.Array) -> pa.Array:
        """Return each row's class."""
        return pa.array(self._each(models, rows, _label), pa.string())

    def _each(self, models: Any, rows: Any, say: Callable[[LoadedModel, Any], Any]) -> list[Any]:
        try:
            return self._answers(models, rows, say)
        except BasculeError as error:
            self.failure = error
            raise

    def _answers(self, models: Any, rows: Any, say: Callable[[LoadedModel, Any], Any]) -> list[Any]:
        names, texts = models.to_pylist(), rows.to_pylist()
        found: list[Any] = [None] * len(texts)
        for name in dict.fromkeys(names):
            if name is None:
                continue
            places = [at for at, one in enumerate(names) if one == name and texts[at] is not None]
            model = self._model(name)
            outputs = model.score(_rows(model, [_decode(texts[at]) for at in places]), self._now)[0] if places else []
            for at, output in zip(places, outputs, strict=True):
                found[at] = say(model, output)
        return found

    def _model(self, name: str) -> LoadedModel:
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = load_at(self._workspace, self._ref, name)
            return self._loaded[name]


def _label(model: LoadedModel, output: Any) -> str | None:
    if model.task == "regression":
        raise InputError(f"Model {model.name!r} says values and no classes.", hint="Ask it by predict(…).")
    return label(model.classes, output)


def _rows(model: LoadedModel, asked: list[Any]) -> Rows:
    """Return rows that came as structs, of which only what the model takes is read, or as values in its order."""
    if all(type(row) is dict for row in asked):
        known = {name.casefold(): name for name in model.taken()}
        brought = dict.fromkeys(chain.from_iterable(asked))  # nearly always those of the first row
        taken = {name: known[name.casefold()] for name in brought if name.casefold() in known}
        return rows_of_columns({to: [row.get(name) for row in asked] for name, to in taken.items()}, len(asked))
    values = [row if type(row) is list else [row] for row in asked]
    width = len(values[0])
    for names in (list(model.encoder.names), [column.name for column in model.columns]):
        if len(names) == width:
            return rows_of_split(names, values)
    raise InputError(
        f"Model {model.name!r} takes {len(model.columns)} columns; {width} came.",
        hint=f"Give a row by its table's alias: predict('{model.name}', t) from … t",
    )
