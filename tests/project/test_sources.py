"""Sources in the project file that are no files: the plan knows when there is something new, and a run brings it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.history import Workspace

PROJECT = """\
[project]
name = "shop"

[source.orders]
path = "sqlite:///${SHOP}"
query = "select * from orders"
cursor = "id"
mode = "append"
key = ["id"]

[source.feed]
path = "python://feeds:rows"

[source.clicks]
path = "data/clicks.csv"
mode = "append"
tolerate = 0.2

[source.photos]
path = "folder://data/photos"
"""


@pytest.fixture
def shop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder / "bascule.toml").write_text(PROJECT)
    (folder / "feeds.py").write_text("def rows():\n    return [{'n': 1}, {'n': 2}]\n")
    (folder / "data" / "photos" / "cat").mkdir(parents=True)
    (folder / "data" / "photos" / "cat" / "1.jpg").write_bytes(b"jpeg")
    (folder / "data" / "clicks.csv").write_text("n,m\n" + "1,a\n" * 9 + "x,a\n")
    monkeypatch.setenv("SHOP", "shop.db")
    sell(folder, 1, 2, 3)
    Workspace.create(folder).close()
    return folder


def sell(folder: Path, *numbers: int) -> None:
    with sqlite3.connect(folder / "shop.db") as made:
        made.execute("create table if not exists orders (id integer, price real)")
        made.executemany("insert into orders values (?, 1.5)", [(number,) for number in numbers])
    made.close()


@pytest.mark.slow
def test_a_run_brings_what_is_new(shop: Path, bascule: Callable[..., Any]) -> None:
    said = bascule("run")
    assert said.code == 0, said
    assert "1 record in quarantine" in said.err
    told = json.loads(bascule("sql", "select count(*) as n from orders", "--json").out)
    assert "3" in json.dumps(told)
    again = bascule("run")
    assert again.code == 0
    assert "has nothing new (3 rows)" in again.err
    sell(shop, 4)
    plan = bascule("plan")
    assert plan.code == 0, plan
    assert bascule("run").code == 0
    assert "4" in bascule("sql", "select max(id) as n from orders").out
    found = bascule("sql", "select line, raw from quarantine").out
    assert "11" in found
    assert "x,a" in found
    assert "cat/1.jpg" in bascule("sql", "select path, label from photos").out


CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: clicks
name: clicks
version: 1.0.0
status: active
schema:
  - name: clicks
    properties:
      - name: n
        required: true
"""


@pytest.mark.slow
def test_the_first_batch_is_held_to_the_contract_of_the_project(shop: Path, bascule: Callable[..., Any]) -> None:
    (shop / "contracts").mkdir()
    (shop / "contracts" / "clicks.yaml").write_text(CONTRACT)
    (shop / "bascule.toml").write_text(PROJECT + '[contract.clicks]\nfile = "contracts/clicks.yaml"\n')
    (shop / "data" / "bad.csv").write_text("n,m\n1,a\n,b\n")
    said = bascule("ingest", "clicks", "data/bad.csv")
    assert said.code == 1
    assert "n" in said.err
    assert bascule("table", "list").out.count("clicks") == 0  # neither rows nor contract landed
    said = bascule("ingest", "clicks", "data/clicks.csv", "--tolerate", "0.2")
    assert said.code == 0
    assert "3 checks kept" in said.out
    assert "no contract" in bascule("ingest", "feed", "python://feeds:rows").out
    assert bascule("run").code == 0
    told = "contracts/clicks.yaml was changed since"
    assert told not in bascule("contract", "test", "clicks").err
    (shop / "contracts" / "clicks.yaml").write_text(CONTRACT.replace("required: true", "required: false"))
    assert told in bascule("contract", "test", "clicks").err


@pytest.mark.slow
def test_one_command_brings_it_too(shop: Path, bascule: Callable[..., Any]) -> None:
    address = "sqlite:///shop.db"
    said = bascule("ingest", "orders", address, "--query", "select * from orders", "--cursor", "id", "--json")
    assert said.code == 0, said
    told = json.loads(said.out)
    assert (told["rows"], told["rejected"]) == (3, 0)
    assert told["files"][0]["version"]["to"] == "3"
    said = bascule("ingest", "clicks", "data/clicks.csv")
    assert said.code == 0, said
    assert "1 record could not be read and went to quarantine" in said.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("t", "data/clicks.csv", "--tolerate", "2"), "Give a share from 0"),
        (("t", "sqlite:///shop.db"), "neither a query nor a table"),
        (("t", "sqlite:///shop.db", "--option", "table"), "says only half of it"),
        (("t", "sqlite:///shop.db", "--option", "tabel=orders"), "no option 'tabel'"),
        (("t", "postgresql://etl:${NO_SUCH}@db/shop", "--query", "select 1"), "NO_SUCH"),
        (("t", "postgres://etl:pw@127.0.0.1:1/shop", "--query", "select 1"), "does not answer"),
        (("t", "oracle://db/shop"), "no kind of source named 'oracle'"),
        (("t", "kafka://127.0.0.1:1/"), "names no topic"),
        (("t", "data/clicks.csv", "--cursor", "n"), "has no option 'cursor'"),
    ],
)
def test_what_cannot_be_meant_is_told(
    shop: Path, bascule: Callable[..., Any], arguments: tuple[str, ...], words: str
) -> None:
    said = bascule("ingest", *arguments)
    assert said.code in (2, 3), said
    assert words in said.err
    assert "Traceback" not in said.err
    assert "pw" not in said.err
