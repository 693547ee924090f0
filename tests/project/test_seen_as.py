"""What commands show to a role: columns that a contract calls personal are hidden wherever rows are told of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bascule as sdk
from bascule.errors import CheckFailed
from bascule.history import Workspace
from bascule.project.pushing import push_rows

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


@pytest.mark.slow
def test_masks_are_not_written_over_the_values(
    shop: Path, bascule: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a query in any form, and by files and rows that were read masked."""
    contract = CONTRACT.replace(
        "score\n", "phone\n        classification: pii\n        customProperties: PARTIAL\n      - name: score\n"
    )
    contract = contract.replace("PARTIAL", "[{property: mask, value: partial(2)}]")
    (shop / "contracts" / "people.yaml").write_text(contract)
    rows = [{"id": n, "email": f"p{n}@example.org", "phone": f"+49151{n}4711{n}", "score": 3} for n in (1, 2, 3)]
    with sdk.open(shop) as project:
        people = project.table("people")
        people.drop()
        people.create(rows, key=["id"])
        value = {"kind": "contract", "table": "people", "text": contract, "file": "contracts/people.yaml"}
        project.workspace.history.commit("main", {"contracts/people": value}, message="Tell of phones")
        masked = project.sql("select * from people", role="reader")
        assert masked != rows
        with pytest.raises(CheckFailed, match=r"3 of the new values of people.email are the masks") as refused:
            people.upsert(masked)
        assert "Leave email out" in refused.value.hint
        with pytest.raises(CheckFailed, match=r"people\.phone"):
            people.upsert([{**row, "email": f"p{row['id']}@example.org"} for row in masked])
        (shop / "m.csv").write_text(
            "id,email,phone,score\n" + "".join(f"9{r['id']},{r['email']},x,1\n" for r in masked)
        )
        new = [{**row, "id": 10 + row["id"]} for row in masked]
        with pytest.raises(CheckFailed, match=r"people\.email are the masks"):  # what `POST …/rows` does
            push_rows(project.workspace, "people", json.dumps(new).encode(), "json", into="main")
    assert "people.email are the masks" in bascule("ingest", "people", "m.csv").err

    monkeypatch.setenv("BASCULE_ROLE", "reader")
    for sql in (
        "select * from people",
        "select id, lower(email) as email, score from people",
        "select id, max(email) as email from people group by id",
        "with p as (select * from people) select p.id, p.email from p",
        "select id from people where email like 'a%'",
    ):
        for command in ("upsert", "append", "overwrite"):
            said = bascule("table", command, "people", "--sql", sql)
            assert said.code == 2, sql
            assert "sees email, phone masked: the masks would be written into people" in said.err
    assert "the masks would be written" in bascule("table", "create", "copy", "--sql", "from people").err
    assert bascule("table", "create", "scores", "--sql", "select id, score, 'x' as email from people").code == 0
    assert bascule("table", "create", "counts", "--sql", "select count(*) as n from people").code == 0
    monkeypatch.delenv("BASCULE_ROLE")
    with sdk.open(shop) as project:
        assert project.sql("select * from people order by id") == rows
        assert project.sql("select n from counts") == [{"n": 3}]
