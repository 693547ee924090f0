"""`bascule ci lint`, and the hooks that call it before a commit."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Said, bascule, folder
from tests.project.conftest import parcels

__all__ = ["bascule", "folder", "parcels"]

Bascule = Callable[..., Said]
HOOKS = Path(__file__).parents[3] / ".pre-commit-hooks.yaml"


def hooks() -> dict[str, dict[str, object]]:
    return {hook["id"]: hook for hook in yaml.safe_load(HOOKS.read_text("utf-8"))}


def commit(bascule: Bascule, *staged: str) -> dict[str, Said]:
    """Call every hook as pre-commit does: with the staged files that are its own, and not without any."""
    said = {}
    for name, hook in hooks().items():
        files = [file for file in staged if re.search(str(hook["files"]), file)]
        if files:
            program, *words = shlex.split(str(hook["entry"]))
            assert program == "bascule"
            said[name] = bascule(*words, *files)
    return said


def test_the_manifest_is_what_pre_commit_demands() -> None:
    assert set(hooks()) == {"bascule-project", "bascule-contracts"}
    files = str(hooks()["bascule-contracts"]["files"])  # of tables, and of feature views
    assert all(re.search(files, name) for name in ("contracts/a.yaml", "sub/contracts/features/weather.yml"))
    assert not re.search(files, "contracts.d/a.yaml")
    for hook in hooks().values():
        assert {"id", "name", "entry", "language"} <= set(hook)
        assert hook["language"] == "python"
        assert set(hook) <= {"id", "name", "description", "entry", "language", "files", "types"}


@pytest.mark.slow
def test_good_files_pass_and_others_are_left(parcels: Path, bascule: Bascule) -> None:
    said = commit(bascule, "bascule.toml", "contracts/orders.yaml", "features/weather.sql", "docs/contracts.yaml")
    assert {name: one.code for name, one in said.items()} == {"bascule-project": 0, "bascule-contracts": 0}
    assert bascule("ci", "lint").out == "2 files looked at, all is well.\n"


@pytest.mark.slow
def test_every_file_with_a_mistake_is_told(parcels: Path, bascule: Bascule) -> None:
    (parcels / "bascule.toml").write_text((parcels / "bascule.toml").read_text().replace("seed =", "sed ="))
    contract = parcels / "contracts" / "orders.yaml"
    contract.write_text(contract.read_text().replace("required: true", "requird: true", 1))
    (parcels / "contracts" / "empty.yaml").write_text("")
    (parcels / "contracts" / "latin.yaml").write_bytes(b"\xff\xfe\xe4")
    names = ["contracts/orders.yaml", "contracts/empty.yaml", "contracts/latin.yaml"]
    said = commit(bascule, "bascule.toml", *names)
    assert {name: one.code for name, one in said.items()} == {"bascule-project": 2, "bascule-contracts": 2}
    assert "'sed'" in said["bascule-project"].out
    told = said["bascule-contracts"].out
    assert "'requird' is not a known key" in told
    assert "Did you mean 'required'?" in told
    assert "The file is empty" in told
    assert "cannot be read as text" in told


def test_each_table_of_a_contract_is_looked_at(parcels: Path, bascule: Bascule) -> None:
    head = "apiVersion: v3.1.0\nkind: DataContract\nid: x\nschema:\n"
    (parcels / "contracts" / "both.yaml").write_text(f"{head}  - name: a\n  - name: b\n    properties: [{{nam: x}}]\n")
    said = bascule("ci", "lint", "contracts/both.yaml", "--json")
    assert said.code == 2
    (one,) = said.json()["mistakes"]
    assert "both.yaml:7" in one["message"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nothing.yaml", "contracts"])
def test_a_file_that_is_none(parcels: Path, bascule: Bascule, name: str) -> None:
    said = bascule("ci", "lint", name)
    assert said.code == 2
    assert f"{name} cannot be read" in said.out
