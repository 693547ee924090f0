"""Where serving meets the features room: a reader for the feature set that a model was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bascule.history import Workspace
from bascule.serving.joining import FeatureReader
from bascule.serving.model import ReaderOf


def open_reader(ws: Workspace) -> ReaderOf:
    """Return what gives readers over a workspace's online store."""

    def reader_of(feature_set: Mapping[str, Any]) -> FeatureReader | None:
        return None

    return reader_of
