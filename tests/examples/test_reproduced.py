"""The scripts of `examples/reproduce`, tracked and done again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from bascule.catalog.schema import metric_points
from bascule.history import Workspace

EXAMPLE = Path(__file__).parents[2] / "examples" / "reproduce"
TORCH = os.environ.get("BASCULE_TORCH_PYTHON", sys.executable)

pytestmark = pytest.mark.slow


@pytest.fixture
def example(tmp_path: Path) -> Path:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    place = tmp_path / "example"
    shutil.copytree(EXAMPLE, place)
    Workspace.create(place).close()
    subprocess.run([sys.executable, "prepare.py"], cwd=place, check=True)
    return place


def bascule(place: Path, *words: str) -> tuple[int, Any]:
    """Run a command there; return its exit code and its document."""
    command = [sys.executable, "-m", "bascule", *words[:1], "--json", *words[1:]]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def done_again(place: Path, python: str, script: str, outputs: set[str]) -> dict[str, Any]:
    """Track a script and do it again: its outputs are the same in every byte, and all else in content."""
    code, run = bascule(place, "track", python, script)
    assert (code, set(run["outputs"]) >= outputs) == (0, True)
    for name in outputs:  # it is not found by chance: what is there now is another's
        shutil.move(place / name, place / f"first-{name}")
    code, done = bascule(place, "reproduce", run["run_id"], "--environment", "present")
    verdicts = {one["path"]: one["verdict"] for one in done["compared"]}
    assert code == 0, done
    assert {verdicts[name] for name in outputs} == {"identical"}
    assert max(one["relative"] for one in done["compared"]) == 0
    assert not any((place / name).exists() for name in outputs)
    return dict(done)


def test_scikit_learn(example: Path) -> None:
    done = done_again(example, sys.executable, "forest.py", {"predictions.csv", "importance.npz"})
    assert {"metric r2_score", "metric mean_absolute_error"} <= {one["path"] for one in done["compared"]}
    workspace = Workspace.open(example)
    with workspace.catalog.write() as conn:
        conn.execute(update(metric_points).values(value=metric_points.c.value * (1 + 1e-12)))
    workspace.close()
    code, near = bascule(example, "reproduce", done["of"], "--environment", "present")
    assert (code, near["verdict"]) == (0, "equal")
    assert 0 < max(one["relative"] for one in near["compared"]) < 1e-11
    code, far = bascule(example, "reproduce", done["of"], "--environment", "present", "--tolerance", "0")
    assert (code, far["verdict"]) == (1, "different")


def test_lightgbm(example: Path) -> None:
    pytest.importorskip("lightgbm", reason="LightGBM is not installed")
    done_again(example, sys.executable, "boosting.py", {"model.txt", "scores.json"})


def test_pytorch(example: Path) -> None:
    found = subprocess.run([TORCH, "-c", "import numpy, torch"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip("PyTorch is not installed; BASCULE_TORCH_PYTHON names a Python that has it")
    done_again(example, TORCH, "network.py", {"weights.pt", "losses.npy"})
