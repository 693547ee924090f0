"""Entities, feature views, point-in-time joins and the online store.

One definition of a feature, read two ways: as of any past moment for training, by one DuckDB query over tables; and as
of now for serving, from a store that holds every key's timeline. Both give the same values, and tests hold them to it.
The room owns the definitions, their compilation, leak detection and the online store's files. It works on any DuckDB
connection on which the tables are visible and knows nothing of where they come from; training, serving and the project
call it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule import ondemand
from bascule.features.definitions import Entity, FeatureSet, FeatureView, RequestView, definition_digest, feature_view
from bascule.features.online import LmdbStore, OnlineReader, OnlineStore, open_online

if TYPE_CHECKING:
    from bascule.features.binding import bind_view, build_feature_set
    from bascule.features.leaks import Leak, LeakReport, find_leaks, leak_report
    from bascule.features.materialising import MaterialiseReport, ViewReport, materialise
    from bascule.features.point_in_time import training_rows

__all__ = [
    "Entity",
    "FeatureSet",
    "FeatureView",
    "Leak",
    "LeakReport",
    "LmdbStore",
    "MaterialiseReport",
    "OnlineReader",
    "OnlineStore",
    "RequestView",
    "ViewReport",
    "bind_view",
    "build_feature_set",
    "definition_digest",
    "feature_view",
    "find_leaks",
    "leak_report",
    "materialise",
    "open_online",
    "training_rows",
]

# What is read online needs no DuckDB, and an inference process has none.
__getattr__ = ondemand.on_demand(
    __name__,
    {
        "binding": ("bind_view", "build_feature_set"),
        "leaks": ("Leak", "LeakReport", "find_leaks", "leak_report"),
        "materialising": ("MaterialiseReport", "ViewReport", "materialise"),
        "point_in_time": ("training_rows",),
    },
)
