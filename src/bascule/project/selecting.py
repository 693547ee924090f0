"""The report on a model's features: which to keep, which to drop and why, and what each costs."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from bascule.errors import InputError, NotFound
from bascule.features.definitions import SEPARATOR
from bascule.project.place import Place
from bascule.project.viewing import FeatureInfo, list_features
from bascule.registry.withdrawals import packed
from bascule.training import read_training_set, training_rows, unpack_model
from bascule.training.selection import Judged, judge_features


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of the features of a version of a model.

    Attributes:
        model: the version, as `delays@3`.
        training_set: the set whose rows were looked at.
        rows: how many: the train split for what features tell, the validation split for permutation.
        features: each feature, the one that tells most first.
        costs: of each feature: `kind` of its view (windows are looked up once for each, rows once), `age` of its newest
            row when it is served (µs), and whether that is `fresh`; null where nothing is known.
    """

    model: str
    training_set: str
    rows: int
    features: tuple[Judged, ...]
    costs: dict[str, dict[str, Any]]


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
    time = made.columns.prediction_time
    if time is not None and time in rows.column_names:
        rows = rows.take(pa.array(np.argsort(rows.column(time).to_numpy(), kind="stable")))
    found = judge_features(
        rows,
        made.columns.features,
        regression=made.columns.target.task == "regression",
        least=least,
        correlated=correlated,
        folds=folds,
        bundle=unpack_model(packed(place.workspace, version["artifact"])),
        unseen=training_rows(place.workspace, made, "validation"),
    )
    views = {one.name: one for one in list_features(place)}
    costs = {one.feature: _cost(views.get(one.feature.split(SEPARATOR)[0])) for one in found}
    return Selection(
        model=f"{name}@{number}", training_set=made.name, rows=rows.num_rows, features=tuple(found), costs=costs
    )


def _cost(view: FeatureInfo | None) -> dict[str, Any]:
    if view is None:
        return {"kind": "request", "age": None, "fresh": None}
    return {"kind": view.kind, "age": view.age, "fresh": view.fresh}
