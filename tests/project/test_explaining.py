"""What made an answer is told as far as it is known, also of a version that a client registered."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from bascule.cli.asking import _chain
from bascule.history import Workspace
from bascule.project import explaining


def test_a_version_that_a_client_registered_has_no_training_set(tmp_path: Path) -> None:
    with closing(Workspace.create(tmp_path)) as ws:
        made = explaining._training_set(ws, {"training_set": ""})
        assert made == {}
        assert explaining._tables(ws, made) == {}


def test_a_run_without_code_and_a_training_set_is_told_of() -> None:
    at = "2026-01-02T03:04:05+00:00"
    text = _chain(
        {
            "prediction": {"prediction_id": "pred_1", "score": 0.5, "at": at, "event_time": at, "arm": "stable"},
            "truth": {},
            "deployment": {"name": "m", "revision": 1, "branch": "main", "commit": "c" * 64, "change": {}},
            "version": {"model": "m", "version": 1, "artifact": "mlflow-artifacts:/0/m-1", "format": "mlflow"},
            "evaluation": {},
            "approvals": {"decisions": []},
            "run": {"id": "a1", "name": "r0", "step": None, "user_name": "ana", "branch": "main", "started_at": at},
            "code": {"code_commit": None, "code_dirty": None, "code_snapshot": None},
            "training_set": {},
            "tables": {},
            "contracts": {},
            "people": {"names": []},
        }
    )
    assert "a1 (r0) by ana on main" in text
    assert "snapshot none" in text
    assert "training set  not recorded: a client registered the version" in text
