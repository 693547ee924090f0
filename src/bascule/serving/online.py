"""Where serving meets the features room: a reader for the feature set that a model was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bascule.errors import NotFound
from bascule.features import FeatureSet, LmdbStore, OnlineReader
from bascule.history import Workspace
from bascule.serving.joining import FeatureReader
from bascule.serving.model import ReaderOf

MAIN = "main"


def open_reader(ws: Workspace) -> ReaderOf:
    """Return what gives readers over a workspace's online store.

    A feature set is read as materialised on `main` when all of its views were, else as on the first branch where they
    were: a preview of new features.
    """

    def reader_of(feature_set: Mapping[str, Any]) -> FeatureReader | None:
        features = msgspec.convert(dict(feature_set), FeatureSet)
        names = [ref.name for ref in ws.history.branches()]
        for name in sorted(names, key=lambda branch: branch != MAIN):
            try:
                return OnlineReader(features, LmdbStore(ws.online_folder, name))
            except NotFound:
                continue
        return None

    return reader_of
