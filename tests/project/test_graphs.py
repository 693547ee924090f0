"""What `[model.steps]` may say of the models around a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from bascule.errors import ProjectFileError
from bascule.project import parse_project
from bascule.project.graphs import check_steps

TEXT = """[project]
name = "p"
[training]
label = "late"
population = "select 1"
[model]
name = "delays"
[model.steps]
"""


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('combine = "s:f"\nmembers = { delays = "delays@1" }', "has 'delays', which is the model itself"),
        ('combine = "s:f"', "has no members"),
        ('route = "s:f"\ncombine = "s:f"\nmembers = { a = "b" }', "stands beside route"),
        ('before = "s:f"\nmembers = { a = "b" }', "are asked by nothing"),
        ('combine = "s:g"\nmembers = { a = "b" }', "no function in s.py named 'g'"),
    ],
)
def test_steps_that_cannot_be(tmp_path: Path, written: str, said: str) -> None:
    (tmp_path / "s.py").write_text("def f(rows, outputs):\n    return outputs\n")
    with pytest.raises(ProjectFileError, match=said) as error:
        check_steps(parse_project(f"{TEXT}{written}\n", tmp_path / "bascule.toml"))
    assert "bascule.toml:" in str(error.value)
