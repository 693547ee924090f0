"""`bascule mock`: tables made up after those of a state, alone and together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.project.conftest import _finished, bascule, folder, trained
from tests.project.profiling.test_profile import shop

import bascule as api
from bascule.errors import AlreadyExists, InputError, NotFound

__all__ = ["_finished", "bascule", "folder", "shop", "trained"]

Bascule = Callable[..., Any]


@pytest.mark.slow
def test_references_hold_between_tables_that_are_made_together(shop: Path) -> None:
    made = api.mock(["sales", "people"], rows=300, seed=5)
    assert list(made.tables) == ["people", "sales"]  # what is referred to comes first
    people, sales = made.tables["people"], made.tables["sales"]
    assert set(sales.column("person").to_pylist()) <= set(people.column("person").to_pylist())
    assert len(set(people.column("person").to_pylist())) == 300
    assert {*sales.column("good").to_pylist()} == {"tea", "ink", "jam"}
    assert "sales.person refers to people.person (made up too)" in made.told
    assert api.mock(["sales", "people"], rows=300, seed=5).tables["sales"].equals(sales)


@pytest.mark.slow
def test_no_private_value_is_there(shop: Path) -> None:
    real = api.sql("select nickname, email from people")
    made = api.mock("people", rows=400).tables["people"].to_pylist()
    for column in ("nickname", "email"):
        assert not {row[column] for row in made} & {row[column] for row in real}
    named = api.mock("people", rows=400, private=["age"]).tables["people"]
    assert not set(named.column("age").to_pylist()) & set(range(20, 70))


@pytest.mark.slow
def test_a_reference_to_a_private_key_needs_that_table_too(shop: Path) -> None:
    with api.open() as project:
        project.table("logins").create(
            [{"login": k, "email": f"p{k % 300}@secret.example"} for k in range(600)], key=["login"]
        )
        project.table("accounts").create(
            [{"email": f"p{k}@secret.example", "plan": "a" if k % 3 else "b"} for k in range(400)], key=["email"]
        )
    with pytest.raises(InputError, match=r"logins\.email refers to accounts\.email, which is private"):
        api.mock("logins", rows=50)
    made = api.mock(["logins", "accounts"], rows=50)
    emails = set(made.tables["accounts"].column("email").to_pylist())
    assert len(emails) == 50
    assert set(made.tables["logins"].column("email").to_pylist()) <= emails
    assert not any("secret" in one for one in emails)


@pytest.mark.slow
def test_files_and_branches(shop: Path, bascule: Bascule) -> None:
    for name in ("m.parquet", "m.csv", "m.jsonl"):
        assert bascule("mock", "sales", "--rows", 20, "--output", f"out/{name}").code == 0
    assert pq.read_table(shop / "out" / "m.parquet").num_rows == 20
    assert len((shop / "out" / "m.csv").read_text().splitlines()) == 21
    assert len((shop / "out" / "m.jsonl").read_text().splitlines()) == 20
    said = bascule("mock", "sales", "people", "--rows", 30, "--output", "both")
    assert (said.code, sorted(one.name for one in (shop / "both").iterdir())) == (
        0,
        ["people.parquet", "sales.parquet"],
    )
    assert bascule("mock", "sales", "people", "--rows", 30, "--into", "playground").code == 0
    assert api.sql("select count(*) as n from sales@playground") == [{"n": 30}]
    assert api.sql("select count(*) as n from sales") == [{"n": 1510}]
    with pytest.raises(AlreadyExists):
        api.mock("sales", rows=3, into="playground")
    with pytest.raises(AlreadyExists):
        api.mock("sales", rows=3, output=shop / "out" / "m.csv")


@pytest.mark.slow
def test_rows_as_json_and_as_text(shop: Path, bascule: Bascule) -> None:
    document = bascule("mock", "sales", "--rows", 4, "--json").json()
    assert [sorted(row) for row in document["tables"]["sales"]["data"]] == [["amount", "good", "person", "sale"]] * 4
    assert "4 rows made up" in bascule("mock", "sales", "--rows", 4).out


@pytest.mark.slow
def test_mistakes(shop: Path, bascule: Bascule) -> None:
    assert bascule("mock").code == 2
    with pytest.raises(NotFound, match="'slaes'"):
        api.mock("slaes")
    with pytest.raises(NotFound, match="'aeg'"):
        api.mock("people", private=["aeg"])
    with pytest.raises(InputError, match="says no format"):
        api.mock("people", output="people.xml")
    with pytest.raises(InputError, match="one file for 2 tables"):
        api.mock(["people", "sales"], output="both.csv")
    assert not (shop / "both.csv").exists()
