"""What commands show to a role: columns that a contract calls personal are hidden wherever rows are told of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.history import Workspace

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: people
version: 1.0.0
status: active
schema:
  - name: people
    properties:
      - {name: id, primaryKey: true}
      - {name: email, classification: pii}
      - name: score
        quality:
          - {type: custom, engine: bascule, severity: warning, implementation: {check: range, maximum: 5}}
"""
PROJECT = """\
[project]
name = "shop"
[source.people]
path = "p.csv"
mode = "append"
[contract.people]
file = "contracts/people.yaml"
"""


@pytest.fixture
def shop(folder: Path, bascule: Callable[..., Any]) -> Path:
    (folder / "bascule.toml").write_text(PROJECT)
    (folder / "contracts").mkdir()
    (folder / "contracts" / "people.yaml").write_text(CONTRACT)
    (folder / "p.csv").write_text("id,email,score\n1,ann@example.org,3\n2,bob@example.org,9\n")
    (folder / "q.csv").write_text("id,email,score\n3,cyd@example.org,9\n")
    Workspace.create(folder).close()
    assert bascule("ingest", "people", "p.csv").code == 0
    assert bascule("ingest", "people", "q.csv").code == 0
    # On a branch whose contract says nothing of it, main's still holds.
    opened = Workspace.open(folder)
    opened.history.create_branch("open")
    plain = CONTRACT.replace(", classification: pii", "")
    value = {"kind": "contract", "table": "people", "text": plain, "file": "contracts/people.yaml"}
    opened.history.commit("open", {"contracts/people": value}, message="Show it")
    opened.close()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "at_least"),
    [
        (("diff", "main~1", "main"), "(hidden)"),
        (("diff", "main~1", "main", "--json"), "(hidden)"),
        (("contract", "test", "people", "--branch", "open"), "•••"),
        (("profile", "people", "--at", "open", "--json"), "email"),
        (("profile", "people", "--at", "open", "--against", "main~1", "--json"), "email"),
        (("table", "show", "people"), "email"),
    ],
)
def test_a_role_sees_no_value_that_is_masked_for_it(
    shop: Path, bascule: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...], at_least: str
) -> None:
    monkeypatch.setenv("BASCULE_ROLE", "reader")
    said = bascule(*asked)
    assert at_least in said.out, said
    assert "@example.org" not in said.out + said.err
    monkeypatch.setenv("BASCULE_ROLE", "admin")
    seen = bascule(*asked).out
    if asked[0] in ("diff", "contract"):
        assert "@example.org" in seen


@pytest.mark.slow
def test_what_cannot_be_hidden_is_refused(
    shop: Path, bascule: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASCULE_ROLE", "reader")
    said = bascule("contract", "suggest", "people")
    assert said.code == 2
    assert "which the role reader reads masked" in said.err
    monkeypatch.setenv("BASCULE_ROLE", "raeder")
    assert "There is no role named 'raeder'" in bascule("diff", "main~1", "main").err
    monkeypatch.delenv("BASCULE_ROLE")
    assert bascule("contract", "suggest", "people").code == 0


def test_an_anonymous_copy_tells_a_role_nothing_of_what_it_reads_masked(
    shop: Path, bascule: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASCULE_ROLE", "reader")
    refused = bascule("anonymise", "people", "--quasi", "email", "--k", "2")
    assert refused.code != 0
    assert "email of people" in refused.err
    made = bascule("anonymise", "people", "--quasi", "score", "--k", "2", "--json")
    assert made.code == 0, made.err
    assert "email" in made.json()["dropped"]
