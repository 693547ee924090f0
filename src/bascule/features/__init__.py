"""Entities, feature views, point-in-time joins, leak detection and the online store.

The room owns what features mean: one definition, read the same in training and in serving. It reads any relation that
DuckDB can read; training, serving and the project call it.
"""

from bascule.features.building import build_feature_set
from bascule.features.definitions import Entity, FeatureSet, FeatureView, RequestView, feature_view
from bascule.features.leaks import Leak, find_leaks
from bascule.features.materialising import MaterialiseReport, materialise
from bascule.features.point_in_time import training_rows

__all__ = [
    "Entity",
    "FeatureSet",
    "FeatureView",
    "Leak",
    "MaterialiseReport",
    "RequestView",
    "build_feature_set",
    "feature_view",
    "find_leaks",
    "materialise",
    "training_rows",
]
