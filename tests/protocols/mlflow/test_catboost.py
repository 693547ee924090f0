"""A CatBoost model of texts that MLflow's full client logs, deployed and asked here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bascule.delivery import deploy
from bascule.history import Workspace
from bascule.registry.versions import served
from bascule.serving.loading import Loader
from bascule.serving.rows import rows_of_records
from tests.protocols.mlflow.test_clients import served as server
from tests.protocols.mlflow.test_clients import tell

pytestmark = pytest.mark.slow
STORY = Path(__file__).with_name("catboost_story.py")
ASKED = [("Oslo", 0.1, 3), ("Zürich", -1.0, 1), ("nan", 0.4, 2), ("unseen", 2.0, 77), (None, 0.4, 2)]


def test_a_model_of_texts_is_served(local_workspace: Workspace) -> None:
    pytest.importorskip("catboost")
    full = os.environ.get("BASCULE_MLFLOW_PYTHON", "")
    lines = "import mlflow.catboost, catboost"
    if not full or subprocess.run([full, "-c", lines], check=False, capture_output=True).returncode:
        pytest.skip("BASCULE_MLFLOW_PYTHON names no Python with mlflow and CatBoost")
    with server(local_workspace) as address:
        wanted = tell(Path(full), STORY, address)
    deploy(local_workspace, "main", "cats", "cats", 1, by="ana")
    entry = local_workspace.history.get("main", "models/cats")["versions"]["1"]
    loaded = Loader(local_workspace, lambda _: None).load("cats", 1, str(served(entry)["artifact"]))
    rows = rows_of_records([{"city": city, "x": x, "desk": desk} for city, x, desk in ASKED])
    assert loaded.score(rows, 0)[0] == [*wanted, wanted[2]]  # a missing text is the text `nan`
