"""Where serving meets the features room: a reader for the feature set that a model was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bascule.errors import NotFound
from bascule.history import Workspace
from bascule.serving.features import MAIN, BranchReader
from bascule.serving.joining import FeatureReader
from bascule.serving.model import ReaderOf


def open_reader(ws: Workspace, branch: str = MAIN) -> ReaderOf:
    """Return what gives readers over a workspace's online store.

    A feature set is read as materialised on the branch; `BranchReader` says what is read before it is.
    """

    def reader_of(feature_set: Mapping[str, Any]) -> FeatureReader | None:
        if not ws.has_online:
            return None
        try:
            return BranchReader(ws, branch, feature_set)
        except NotFound:
            return None

    return reader_of
