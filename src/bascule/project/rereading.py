"""Rows of a training set as another version of the model reads them, and what that version says about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from bascule.features import FeatureSet
from bascule.features import training_rows as join_features
from bascule.history import Workspace
from bascule.project.tables import opened_tables
from bascule.registry.bundles import packed
from bascule.registry.versions import served
from bascule.training import ModelBundle, TrainingSet, read_training_set, training_rows, unpack_model


def rows_for(workspace: Workspace, source: TrainingSet, rows: pa.Table, bundle: ModelBundle) -> pa.Table | None:
    """Return the rows themselves when they have all that a model reads, else with its own features joined to them.

    None when the model reads something that cannot be joined.
    """
    if set(bundle.signature.names()) <= set(rows.column_names):
        return rows
    if bundle.feature_set is None:
        return None
    features = msgspec.convert(bundle.feature_set, FeatureSet)
    paths = workspace.history.digests(source.commit_id, "tables/")
    tables = sorted(path.removeprefix("tables/") for path in paths)
    with opened_tables(workspace, source.commit_id, tables) as connection:
        # Columns of the request may be features themselves: they stay, and what is joined is joined anew.
        joined = set(features.features) - set(features.columns)
        keep = [name for name in rows.column_names if name not in joined]
        connection.register("test_rows", rows.select(keep))
        return join_features(connection, features, "SELECT * FROM test_rows").to_arrow_table()


@dataclass(frozen=True)
class Shift:
    """How the answers of two versions differ on the same rows.

    Attributes:
        rows: how many were asked about: the test rows of the later version.
        moved: the share whose likeliest class is another; None for a regression.
        mean, largest: how far the answers are apart: probabilities (of all classes, half the sum), or values.
    """

    rows: int
    moved: float | None
    mean: float
    largest: float


def answers_shift(workspace: Workspace, before: Mapping[str, Any], after: Mapping[str, Any]) -> Shift | None:
    """Compare the answers of two registered versions on the test rows of the later one.

    None when the earlier one cannot read them, or answers another question.
    """
    source = read_training_set(workspace, after["training_set"])
    old, new = (unpack_model(packed(workspace, served(version)["artifact"])) for version in (before, after))
    if old.signature.output != new.signature.output:
        return None
    rows = training_rows(workspace, source, "test")
    readable = rows_for(workspace, source, rows, old)
    if readable is None or not rows.num_rows:
        return None
    a, b = (np.asarray(one, dtype=np.float64) for one in (old.predict(readable), new.predict(rows)))
    task = new.signature.output.task
    apart = np.abs(a - b) if a.ndim == 1 else np.abs(a - b).sum(axis=1) / 2
    moved = None
    if task == "binary":
        moved = float(np.mean((a >= 0.5) != (b >= 0.5)))
    elif task == "multiclass":
        moved = float(np.mean(a.argmax(axis=1) != b.argmax(axis=1)))
    return Shift(rows.num_rows, moved, float(apart.mean()), float(apart.max()))
