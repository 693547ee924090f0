"""Projects that learn nothing: tables and their contracts, or not even these."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import bascule, folder

from bascule.errors import InputError
from bascule.project.beginning import begin_project

__all__ = ["bascule", "folder"]

Bascule = Callable[..., Any]


def write(place: Path, *names: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name in names:
        (place / name).write_text("id,email\n" + "".join(f"{n},p{n}@example.org\n" for n in range(60)))


@pytest.mark.slow
@pytest.mark.parametrize(("data", "given"), [("data", ("data",)), ("data", ()), (".", ())])
def test_data_without_a_label(folder: Path, bascule: Bascule, data: str, given: tuple[str, ...]) -> None:
    write(folder / data, "people.csv")
    said = bascule("init", *given)
    assert said.code == 0, said
    assert "bascule.toml says how to add a label" in said.out
    assert "a row is named by id" in said.out
    assert "bascule init DATA --label COLUMN" in (folder / "bascule.toml").read_text()
    assert "classification: pii" in (folder / "contracts" / "people.yaml").read_text()
    assert not (folder / "features").exists()
    assert bascule("run", "--quiet").code == 0
    assert bascule("sql", "select count(*) as n from people", "--json").json() == [{"n": 60}]
    assert bascule("ci", "lint", "bascule.toml").code == 0
    write(folder / data, "people.csv")
    assert "Nothing to do" in bascule("run").out


@pytest.mark.slow
def test_an_empty_folder_that_is_named_is_an_empty_project(folder: Path, bascule: Bascule) -> None:
    assert bascule("init", ".", "--label", "y").code == 2  # nothing to learn from
    said = bascule("init", ".", "--json")
    assert said.code == 0, said
    assert said.json()["files"] == [".gitignore", "bascule.toml"]
    none = bascule("sql", "select file, line, reason from quarantine", "--json")
    assert (none.code, none.json()) == (0, [])  # there is nothing in it yet


@pytest.mark.slow
def test_a_contract_is_tested_before_the_first_run(
    folder: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "data", "people.csv")
    assert bascule("init", "--into", "project").code == 0
    monkeypatch.chdir(folder / "project")
    assert bascule("ingest", "people", "../data/people.csv", "--key", "id").code == 0
    assert bascule("contract", "suggest", "people", "--write", "contracts/people.yaml").code == 0
    with Path("bascule.toml").open("a") as file:
        file.write('[source.people]\npath = "people.csv"\n[contract.people]\nfile = "contracts/people.yaml"\n')
    tested = bascule("contract", "test", "people", "--json")
    assert (tested.code, tested.json()["passed"]) == (0, True), tested
    assert bascule("contract", "show", "people").out.startswith("contracts/people.yaml")
    assert bascule("contract", "test", "people", "--explain").code == 0


@pytest.mark.slow
def test_nothing_at_all(folder: Path, bascule: Bascule) -> None:
    said = bascule("init", "--json")
    assert said.code == 0
    assert said.json()["files"] == [".gitignore", "bascule.toml"]
    assert bascule("run").code == 0
    write(folder / "later", "people.csv")
    assert bascule("ingest", "people", "later/people.csv").code == 0
    assert bascule("init").code == 2  # there is a project by now


@pytest.mark.slow
def test_pages_are_written_without_a_label(folder: Path, bascule: Bascule) -> None:
    write(folder / "data", "people.csv")
    assert bascule("init", "data", "--profile").code == 0
    assert "people" in (folder / "profiles" / "people.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"data": None, "label": "y"}, "no data"), ({"data": "d", "label": None, "template": "flights"}, "Both data")],
)
def test_what_does_not_go_together(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        begin_project(options.pop("data"), options.pop("label"), tmp_path, **options)
    assert list(tmp_path.iterdir()) == []
