"""`bascule profile`: a table or a set of files of a state, beside the other tables and what is learned."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.project.conftest import _finished, bascule, folder, trained

import bascule as api
from bascule.profiles import FilesProfile, TableProfile

__all__ = ["_finished", "bascule", "folder", "trained"]

Bascule = Callable[..., Any]
CONTRACT = """\
kind: DataContract
apiVersion: v3.1.0
id: people
version: 1.0.0
status: active
schema:
  - name: people
    properties:
      - name: nickname
        classification: restricted
"""


@pytest.fixture
def shop(trained: Path) -> Path:
    """Beside the parcels of the project: people, what they bought, and a folder of notes."""
    people = [
        {
            "person": k,
            "nickname": f"nick{k}",
            "email": f"p{k}@secret.example",
            "town": ("Ulm", "Bonn")[k % 2],
            "age": 20 + k % 50,
        }
        for k in range(400)
    ]
    sales = [
        {"sale": k, "person": k % 390, "amount": round(k * 0.37, 2), "good": ("tea", "ink", "jam")[k % 3]}
        for k in range(1500)
    ]
    with api.open() as project:
        project.table("people").create(people, key=["person"])
        project.table("sales").create([*sales, *sales[:10]])
        contract = {"kind": "contract", "text": CONTRACT, "file": "contracts/people.yaml"}
        project.workspace.history.commit("main", {"contracts/people": contract}, message="Contract")
    (trained / "notes").mkdir()
    for k in range(8):
        (trained / "notes" / f"n{k}.txt").write_text("The tea is in the house and it is for you. " * (1 + k // 2))
    return trained


@pytest.mark.slow
def test_a_table_beside_others_and_its_label(shop: Path, bascule: Bascule) -> None:
    found = bascule("profile", "orders", "--json").json()
    assert (found["kind"], found["name"], found["rows"]) == ("table", "orders", 2400)
    assert found["commit"] == api.log(limit=1)[0].commit.id
    meanings = {one["name"]: one["meaning"] for one in found["columns"]}
    assert (meanings["order_id"], meanings["depot"], meanings["ordered_at"]) == (
        "identifier",
        "category",
        "date and time",
    )
    assert found["keys"][0] == {
        "columns": ["order_id"],
        "how": "declared",
        "repeats": 0,
        "missing": 0,
        "sampled": False,
    }
    assert found["labels"][0]["declared"]  # the project says what is learned
    said = bascule("profile", "orders").out
    for words in ("orders: rows 2,400", "order_id: the table's key, in every row", "What could be learned"):
        assert words in said


@pytest.mark.slow
def test_joins_in_both_directions_and_copies(shop: Path, bascule: Bascule) -> None:
    sales = api.profile("sales")
    assert isinstance(sales, TableProfile)
    assert [(one.table, one.pairs, one.how) for one in sales.joins] == [
        ("people", (("person", "person"),), "reference")
    ]
    assert sales.duplicates is not None
    assert (sales.duplicates.copies, sales.duplicates.repeated, sales.duplicates.most) == (10, 10, 2)
    assert [(one.columns, one.how, one.repeats) for one in sales.keys] == [(("sale",), "nearly", 20)]
    people = api.profile("people")
    assert [(one.table, one.how) for one in people.joins] == [("sales", "referenced by")]


@pytest.mark.slow
def test_what_is_private_is_shown_nowhere(shop: Path, bascule: Bascule) -> None:
    page = shop / "pages" / "people.html"
    said = bascule("profile", "people", "--html", page)
    assert said.code == 0
    for text in (said.out, page.read_text(), bascule("profile", "people", "--json").out):
        assert "nick1" not in text
        assert "secret.example" not in text
    found = api.profile("people")
    assert {one.name: one.private for one in found.private} == {"nickname": "user name", "email": "email"}


class _Page(HTMLParser):
    """What a page would fetch, and whether its elements end."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.fetched += [str(told[name]) for name in ("src", "srcset", "data") if told.get(name)]
        self.fetched += [tag] if tag in ("script", "link", "iframe", "object") else []
        self.ids += [str(told["id"])] if "id" in told else []
        if tag == "a":
            self.links.append(str(told.get("href")))


@pytest.mark.slow
def test_the_page_fetches_nothing_and_its_links_lead_somewhere(shop: Path, bascule: Bascule) -> None:
    with api.open() as project:
        odd = [{"<b>&": k, 'a"b': "<script>alert(1)</script>", "ünï": k * 1.5} for k in range(60)]
        project.table("odd").create(odd)
    for name in ("orders", "sales", "odd"):
        page = shop / f"{name}.html"
        assert bascule("profile", name, "--html", page, "--against", "main").code == 0
        text = page.read_text("utf-8")
        found = _Page()
        found.feed(text)
        assert found.fetched == []
        assert "url(" not in text
        assert "<script" not in text
        assert len(found.ids) == len(set(found.ids))
        assert {one.removeprefix("#") for one in found.links} <= set(found.ids)
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.slow
def test_against_another_state(shop: Path, bascule: Bascule) -> None:
    api.tag("before")
    with api.open() as project:
        project.table("sales").append(
            [{"sale": 9000 + k, "person": 1, "amount": 5000.0, "good": "tea"} for k in range(500)]
        )
        project.table("sales").columns(add={"note": "varchar"})
    change = api.profile("sales", against="before").change
    assert change is not None
    assert (change.rows_before, change.rows, change.added) == (1510, 2010, 500)
    assert "column note: added" in change.schema
    amount = next(one for one in change.columns if one.column == "amount")
    assert amount.shift is not None
    assert amount.shift > 0.2
    assert "500 added" in bascule("profile", "sales", "--against", "before").out
    old = api.profile("sales", at="before")
    assert old.rows == 1510
    said = bascule("profile", "people", "--against", api.log(limit=None)[-1].commit.id)
    assert (said.code, "nothing to compare with" in said.err) == (2, True)


@pytest.mark.slow
def test_a_label_and_what_gives_it_away(shop: Path) -> None:
    with api.open() as project:
        rows = [
            {
                "id": k,
                "size": k % 17,
                "late": (k * 7919) % 5 == 0,
                "refund": 10.0 + k % 3 if (k * 7919) % 5 == 0 else 0.0,
            }
            for k in range(2000)
        ]
        project.table("trips").create(rows, key=["id"])
    found = api.profile("trips", label="late")
    assert [(one.column, one.declared) for one in found.labels][:1] == [("late", True)]
    assert [one.column for one in found.leaks] == ["refund"]
    assert any(note.column == "refund" and "give late away" in note.text for note in found.notes)


@pytest.mark.slow
def test_a_sample_says_that_it_is_one(shop: Path, bascule: Bascule) -> None:
    found = api.profile("orders", sample=500)
    assert found.rows == 2400
    assert 350 < found.rows_read < 650
    assert found == api.profile("orders", sample=500).__class__(**{**_fields(found), "made_at": found.made_at})
    assert "sample" in found.basis["everything"]
    assert "every row of the sample" in bascule("profile", "orders", "--sample", 500).out


def _fields(found: TableProfile) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__struct_fields__}


@pytest.mark.slow
def test_only_some_columns(shop: Path, bascule: Bascule) -> None:
    found = bascule("profile", "orders", "--columns", "weight", "--columns", "depot", "--json").json()
    assert [one["name"] for one in found["columns"]] == ["depot", "weight"]


@pytest.mark.slow
def test_a_set_of_files(shop: Path, bascule: Bascule) -> None:
    assert bascule("files", "add", "notes", "notes").code == 0
    found = api.profile("notes")
    assert isinstance(found, FilesProfile)
    assert (found.content, found.files, found.looked_at, found.copied) == ("texts", 8, 8, 4)
    assert bascule("profile", "files/notes", "--json").json()["kind"] == "files"
    page = shop / "notes.html"
    said = bascule("profile", "notes", "--html", page)
    assert "Languages: English 8" in said.out
    assert "Equal files" in page.read_text()
    said = bascule("profile", "notes", "--against", "main")
    assert (said.code, "bascule files diff notes main" in said.err) == (2, True)


@pytest.mark.slow
def test_a_folder_that_was_ingested_says_where_the_profile_of_its_contents_is(shop: Path, bascule: Bascule) -> None:
    bascule("ingest", "letters", "folder://notes")
    with api.open() as project:
        table, files = project.profile("letters"), project.profile("files/letters")
    assert isinstance(table, TableProfile)
    assert table.notes[-1].text.endswith("bascule profile files/letters")
    assert isinstance(files, FilesProfile)
    assert files.content == "texts"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("ordres",), "Did you mean 'orders'?"),
        (("orders", "--columns", "wieght"), "Did you mean 'weight'?"),
        (("orders", "--at", "mian"), "'mian'"),
        (("orders", "--label", "weihgt"), "Did you mean 'weight'?"),
        (("orders", "--label", "depot; drop table x"), "label"),
    ],
)
def test_mistakes(shop: Path, bascule: Bascule, call: tuple[str, ...], words: str) -> None:
    said = bascule("profile", *call)
    assert said.code == 2
    assert words in said.err
    assert said.out == ""


@pytest.mark.slow
def test_a_page_that_cannot_be_written(shop: Path, bascule: Bascule) -> None:
    (shop / "file").write_text("")
    said = bascule("profile", "orders", "--html", "file/page.html")
    assert (said.code, "Cannot write" in said.err) == (3, True)


@pytest.mark.slow
def test_texts_that_are_no_times_do_not_stop_it(shop: Path) -> None:
    with api.open() as project:
        project.table("odd").create([{"at": "2026-01-01" if k else "2026-13-45"} for k in range(50)])
    found = api.profile("odd")
    assert any("cannot be read" in note.text for note in found.notes)
    assert json.dumps(found.as_dict())


@pytest.mark.slow
def test_an_empty_table(shop: Path, bascule: Bascule) -> None:
    with api.open() as project:
        project.table("none").create(columns={"a": "bigint", "b": "varchar", "at": "timestamp"}, key=["a"])
    page = shop / "none.html"
    said = bascule("profile", "none", "--html", page)
    assert (said.code, "the table has no rows" in said.out) == (0, True)
    assert bascule("mock", "none").code == 2
