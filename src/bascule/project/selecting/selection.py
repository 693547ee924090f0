"""The report on a model's features: which to keep, which to drop and why, and what each costs."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from bascule.catalog import now
from bascule.errors import BasculeError, InputError, NotFound
from bascule.features.definitions import SEPARATOR
from bascule.project.place import Place
from bascule.project.viewing import FeatureInfo, list_features
from bascule.registry.bundles import packed
from bascule.serving.features import FeatureServer
from bascule.training import read_training_set, training_rows, unpack_model
from bascule.training.selection import Judged, judge_features

READS = 50


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of the features of a version of a model.

    Attributes:
        model: the version, as `delays@3`.
        training_set: the set whose rows were looked at.
        rows: how many: the train split for what features tell, the validation split for permutation.
        features: each feature, the one that tells most first.
        costs: of each feature: `kind` of its view (windows are looked up once for each, rows once), `age` of its newest
            row when it is served (µs), whether that is `fresh`, and `latency`: how long (µs) it takes to read its view
            of one entity from the online store, the median of reads now; null where nothing is known.
        least, correlated, folds: the bounds that they were judged by.
    """

    model: str
    training_set: str
    rows: int
    features: tuple[Judged, ...]
    costs: dict[str, dict[str, Any]]
    least: float
    correlated: float
    folds: int


def select_features(
    place: Place, model: str | None = None, *, least: float = 0.001, correlated: float = 0.95, folds: int = 4
) -> Selection:
    """Judge the features of a model's newest version on the branch; `OpenProject` says more.

    Raises:
        NotFound, InputError: there is no such model, or a bound makes no sense.
    """
    for name, value in (("least", least), ("correlated", correlated)):
        if not 0 <= value <= 1:
            raise InputError(
                f"{name} is {value:g}; it lies between 0 and 1.", hint="Look at: bascule features select -h"
            )
    if not 2 <= folds <= 100:
        raise InputError(f"folds is {folds}; there are 2 to 100.", hint="4 is usual.")
    name = model or (place.file.model.name if place.file.model else "")
    history = place.workspace.history
    held = history.read(place.branch, f"models/{name}")
    if not held or not held.get("versions"):
        known = [path.removeprefix("models/") for path, _ in history.entries(place.branch, "models/")]
        raise NotFound("model", name, known, hint="" if known else "Train one first: bascule run")
    number = max(map(int, held["versions"]))
    version = held["versions"][str(number)]
    if not version.get("training_set"):
        raise InputError(f"{name}@{number} has no training set here.", hint="Choose a model that bascule run trained.")
    made = read_training_set(place.workspace, version["training_set"])
    rows = training_rows(place.workspace, made, "train")
    asked = made.columns.prediction_time
    if asked is not None and asked in rows.column_names:
        rows = rows.take(pa.array(np.argsort(rows.column(asked).to_numpy(), kind="stable")))
    found = judge_features(
        rows,
        made.columns.features,
        target=made.columns.target,
        least=least,
        correlated=correlated,
        folds=folds,
        bundle=unpack_model(packed(place.workspace, version["artifact"])),
        unseen=training_rows(place.workspace, made, "validation"),
    )
    views = {one.name: one for one in list_features(place)}
    read = {one.feature.split(SEPARATOR)[0] for one in found} & set(views)
    spent = {name: _latency(place, name, rows) for name in sorted(read)}
    costs = {one.feature: _cost(views.get(view := one.feature.split(SEPARATOR)[0]), spent.get(view)) for one in found}
    return Selection(
        model=f"{name}@{number}",
        training_set=made.name,
        rows=rows.num_rows,
        features=tuple(found),
        costs=costs,
        least=least,
        correlated=correlated,
        folds=folds,
    )


def _cost(view: FeatureInfo | None, latency: float | None) -> dict[str, Any]:
    if view is None:
        return {"kind": "request", "age": None, "fresh": None, "latency": None}
    return {"kind": view.kind, "age": view.age, "fresh": view.fresh, "latency": latency}


def _latency(place: Place, view: str, rows: pa.Table) -> float | None:
    """How long (µs, the median) it takes to read a view of one entity of the training rows from the online store."""
    try:
        reader = FeatureServer(place.workspace).reader(place.branch, [view], True)
    except BasculeError:  # it is not in the store: the age says so
        return None
    if not set(reader.columns) <= set(rows.column_names):
        return None
    asked = rows.select(list(reader.columns)).slice(0, READS).to_pylist()
    spent = []
    for row in asked:
        columns = {name: [value] for name, value in row.items()}
        begin = time.perf_counter_ns()
        reader.read(columns, now())
        spent.append(time.perf_counter_ns() - begin)
    return round(float(np.median(spent)) / 1000, 1) if spent else None
