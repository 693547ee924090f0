"""Projects that come with Bascule."""

from __future__ import annotations

from pathlib import Path

import pytest

from bascule.errors import AlreadyExists, NotFound
from bascule.project import load_project
from bascule.project.init import copy_template, templates


def test_flights_is_copied_whole(tmp_path: Path) -> None:
    report = copy_template("flights", tmp_path / "flights")
    source = templates()["flights"]
    assert {"bascule.toml", "data.py", "README.md", "contracts/flights.yaml", "features/population.sql"} <= {
        one.as_posix() for one in report.files
    }
    assert all((tmp_path / "flights" / one).read_bytes() == (source / one).read_bytes() for one in report.files)
    assert not (tmp_path / "flights" / "data").exists()
    assert load_project(tmp_path / "flights").project.name == "flights"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text("mine")
    with pytest.raises(AlreadyExists, match=r"data\.py"):
        copy_template("flights", tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["data.py"]


def test_an_unknown_template(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as told:
        copy_template("flight", tmp_path)
    assert told.value.hint == "Did you mean 'flights'?"
