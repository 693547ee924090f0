"""Models that MLflow's full client logs as pickles, and their answers here: by consent, in a process of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bascule.delivery import deploy
from bascule.errors import CheckFailed
from bascule.history import Workspace
from bascule.registry import get_version
from bascule.registry.versions import served
from bascule.serving.loading import Loader
from bascule.serving.pickled.process import PYTHON
from bascule.serving.rows import Rows
from bascule.tracking import vouching
from tests.protocols.mlflow.test_clients import served as server
from tests.protocols.mlflow.test_clients import tell

pytestmark = pytest.mark.slow
STORY = Path(__file__).with_name("pickled_story.py")


@pytest.fixture(scope="module")
def full() -> str:
    """A Python with MLflow and scikit-learn."""
    found = os.environ.get("BASCULE_MLFLOW_PYTHON", "")
    if not found or subprocess.run([found, "-c", "import mlflow.sklearn"], check=False, capture_output=True).returncode:
        pytest.skip("BASCULE_MLFLOW_PYTHON names no Python with mlflow and scikit-learn")
    return found


def test_pickles_of_the_real_client_are_served(
    local_workspace: Workspace, full: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = local_workspace
    with server(ws) as address:
        wanted = tell(Path(full), STORY, address)
    monkeypatch.setenv(PYTHON, full)
    rows = np.random.default_rng(0).normal(size=(80, 2))[:3]
    for model in ("clf", "own"):
        with pytest.raises(CheckFailed, match=f"model trust {model}@1|nobody has consented"):
            deploy(ws, "main", model, model, 1, by="ana")
        vouching.trust(ws, get_version(ws, "main", model, 1), "made by us")
        deploy(ws, "main", model, model, 1, by="ana")
        entry = ws.history.get("main", f"models/{model}")["versions"]["1"]
        loaded = Loader(ws, lambda _: None).load(model, 1, str(served(entry)["artifact"]))
        columns = {name: rows[:, place].tolist() for place, name in enumerate("ab")}
        assert loaded.score(Rows(columns=columns, count=3), 0)[0] == pytest.approx(wanted[model])
