"""A catalog from before tracking by numbers: what its runs said moves over."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from bascule.catalog import migrations
from bascule.catalog.database import engine_of
from bascule.history import Workspace
from bascule.history.workspace import Settings
from bascule.tracking import resume
from bascule.tracking.reading import read_run


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_runs_said_before_is_there(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = tmp_path / "project" / ".bascule"
    folder.mkdir(parents=True)
    url = request.getfixturevalue("database") if kind == "postgresql" else f"sqlite:///{folder / 'catalog.db'}"
    engine = engine_of(url)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with engine.connect() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, "0002")
        for run in ("run_a", "run_b"):
            row = f"('{run}', 'n', 'step', 'done', 'ana', 5, '{{}}')"
            columns = "id, name, kind, status, user_name, started_at, environment_json"
            conn.execute(text(f"INSERT INTO runs ({columns}) VALUES {row}"))
        for run, key, step, at, value in (
            ("run_a", "auc", 1, 10, 0.7),
            ("run_a", "auc", 2, 9, 0.8),
            ("run_b", "auc", 1, 10, 0.5),
        ):
            told = {"run": run, "key": key, "step": step, "at": at, "value": value}
            conn.execute(text("INSERT INTO metrics VALUES (:run, :key, :step, :at, :value)"), told)
        conn.execute(text("INSERT INTO params VALUES ('run_a', 'rate', '0.1')"))
        conn.execute(text("INSERT INTO tags VALUES ('run_b', 'auc', 'a tag of a metric''s name')"))
        conn.commit()
    engine.dispose()
    workspace = Workspace(folder, Settings(catalog=url if kind == "postgresql" else ""))
    first, second = read_run(workspace, "run_a"), read_run(workspace, "run_b")
    assert (first["metrics"], first["params"], first["tags"]) == ({"auc": 0.8}, {"rate": "0.1"}, {})
    assert (second["metrics"], second["tags"]) == ({"auc": 0.5}, {"auc": "a tag of a metric's name"})
    resume(workspace, "run_a").metrics([("auc", 0.9, 3), ("new", 1.0, 0)])
    assert read_run(workspace, "run_a")["metrics"] == {"auc": 0.9, "new": 1.0}
    workspace.close()
