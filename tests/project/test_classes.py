"""A label of several classes, from the project file to a canary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.history import Workspace
from tests.project.parcels import PROJECT, write

Bascule = Callable[..., Any]
LABEL = "case when minutes_late > 40 then 'very' when minutes_late > 15 then 'late' else 'fine' end"
SETTINGS = PROJECT.replace('"minutes_late > 15"', f'"{LABEL}"').replace('name = "delays"', 'name = "classes"')


@pytest.mark.slow
def test_a_model_of_several_classes_is_watched_and_shipped_as_such(trained: Path, bascule: Bascule) -> None:
    write(trained / "bascule.toml", SETTINGS)
    assert bascule("run").code == 0
    assert bascule("deploy").code == 0
    workspace = Workspace.open(trained)
    quality = workspace.history.get("main", "monitors/classes")["quality"]
    assert (quality["task"], quality["metric"]) == ("multiclass", "accuracy")

    write(trained / "bascule.toml", SETTINGS.replace("seed = 7", "seed = 8"))
    assert bascule("branch", "next").code == 0
    assert bascule("run", "--branch", "next", "--force", "a drill").code == 0
    said = bascule("merge", "next", "main")
    assert said.code == 0, said.err
    rollout = workspace.history.get("main", "deployments/classes")["rollout"]
    assert (rollout["canary"], rollout["guardrails"]["quality"]["loss"]) == (2, "error")
    workspace.close()

    write(trained / "bascule.toml", SETTINGS + '\n[deployment.guardrails.quality]\nloss = "brier"\n')
    said = bascule("deploy", "classes", "2", "--branch", "next")
    assert said.code == 2
    assert "'brier', which a multiclass model's answers do not have" in said.err
