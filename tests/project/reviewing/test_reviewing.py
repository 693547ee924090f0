"""Comparisons as text, Markdown and a page: the facts are there, and no value of a cell can become anything else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bascule.history import Workspace
from bascule.lake import Lake
from bascule.project import reviewing
from bascule.project.comparing import Comparison, compare
from bascule.project.reviewing import words
from bascule.project.reviewing.request import LIMIT, code

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "`code` | @someone | ``` ```` [x](javascript:1)",
    "\u202egnp.exe\x1b[31m\x07\r\nnext",
    "long " * 5000,
    "</code></pre></details>",
    "",
    "null",
]


@pytest.fixture
def lake(local_workspace: Workspace) -> Lake:
    return Lake(local_workspace)


@pytest.fixture
def found(lake: Lake) -> list[Comparison]:
    """A table with hostile values and names, of which rows came, went and changed; one that came; and a contract."""
    history = lake.workspace.history
    name = "v|a<b>`"
    rows = pa.table({"id": range(8), name: HOSTILE, "n": [1.5, float("nan"), None, -0.0, 1e300, 0.1, 7.0, 8.0]})
    lake.append("hostile", rows, key=["id"])
    history.commit("main", {"contracts/c": {"kind": "contract", "text": "a\n```\n"}}, message="contract")
    history.create_branch("dev")
    changed = pa.table({"id": range(1, 10), name: ["new", *HOSTILE[::-1]], "n": [2.5] * 9})
    lake.overwrite("hostile", changed, branch="dev")
    lake.append("other", pa.table({"x": [1]}), branch="dev")
    history.commit("dev", {"contracts/c": {"kind": "contract", "text": "a\n<b>\n"}}, message="contract")
    return compare(lake.workspace, "main", "dev", rows=20)


class TestText:
    def test_what_differs_is_told(self, found: list[Comparison]) -> None:
        text = reviewing.text(found)
        assert "~ tables/hostile  8 → 9 rows, 2 added, 1 removed, 7 changed" in text
        assert "+ tables/other  0 → 1 rows, 1 added" in text
        assert "7 rows changed, matched by id:" in text
        assert re.search(r"n +DOUBLE +7 \(100 %\)", text)
        assert "n: NaN → 2.5" in text
        assert "… (25,000 characters)" in text
        assert reviewing.text([]) == "Nothing differs."

    def test_nothing_hidden_reaches_the_terminal(self, found: list[Comparison]) -> None:
        text = reviewing.text(found, columns=True, width=80)
        assert all(character.isprintable() or character == "\n" for character in text)
        assert "\\u202egnp.exe\\x1b[31m\\x07\\r\\nnext" in text.replace("\n", "").replace(" ", "")
        coloured = reviewing.text(found, color=True)
        assert "\x1b[32m+ tables/other" in coloured
        assert "\x07" not in coloured

    def test_columns_that_tell_nothing_are_left_out_until_asked_for(self, lake: Lake) -> None:
        rows = pa.table({"id": range(9), "same": range(9), "other": [0.0] * 9})
        lake.append("t", rows, key=["id"])
        lake.workspace.history.create_branch("dev")
        lake.overwrite("t", rows.set_column(2, "other", pa.array([1.0] * 9)), branch="dev")
        found = compare(lake.workspace, "main", "dev")
        assert "2 more columns with --columns" in reviewing.text(found)
        assert not re.search(r"^ +same ", reviewing.text(found), re.MULTILINE)
        assert re.search(r"^ +same +BIGINT", reviewing.text(found, columns=True), re.MULTILINE)


class TestMarkdown:
    def test_it_has_a_table_of_paths_and_folded_details(self, found: list[Comparison]) -> None:
        text = reviewing.markdown(found, "main", "dev")
        assert "| ✏️ | `tables/hostile` | 8 → 9 rows, 2 added, 1 removed, 7 changed |" in text
        assert len(re.findall("^<details>", text, re.MULTILINE)) == 3
        assert len(re.findall("^</details>", text, re.MULTILINE)) == 3
        assert "Kolmogorov-Smirnov" in text
        assert "````diff\n" in text
        assert "Nothing differs." in reviewing.markdown([], "main", "dev")

    def test_no_value_becomes_markup(self, found: list[Comparison]) -> None:
        page = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(reviewing.markdown(found, "a|b", "`@x`"))
        tags = Tags.of(page)
        assert set(tags) <= ALLOWED
        assert "alert(1)" in page
        # Every row of a table has as many cells as its head: no value ends a cell.
        for table in re.findall(r"<table>.*?</table>", page, re.DOTALL):
            widths = {len(re.findall("<t[hd]", row)) for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)}
            assert len(widths) == 1

    @pytest.mark.slow
    def test_what_does_not_fit_is_cut_at_a_whole_part_and_said(self, lake: Lake) -> None:
        for number in range(30):
            lake.append(f"t{number}", pa.table({f"column {n}": ["x" * 100] * 20 for n in range(8)}))
        empty = str(lake.workspace.history.log("main")[-1].id)
        found = compare(lake.workspace, empty, "main", rows=20)
        text = reviewing.markdown(found, "a", "main")
        assert len(text) <= LIMIT
        assert "**Cut**: not all of `tables/t" in text
        assert "`bascule diff a main`" in text
        assert text.count("<details>") == text.count("</details>") < 30
        assert text.count("| `tables/t") == 30
        for limit in (3_000, 5_000, 20_000):
            short = reviewing.markdown(found, "a", "main", limit=limit)
            assert len(short) <= limit
            assert short.count("<details>") == short.count("</details>")

    @given(st.text())
    def test_a_code_span_holds_exactly_its_text(self, value: str) -> None:
        page = MarkdownIt("gfm-like", {"linkify": False}).render(f"| a |\n|---|\n| {code(value)} |\n")
        assert set(Tags.of(page)) == {"table", "thead", "tbody", "tr", "th", "td", "code"}
        assert Tags.text(page, "code").strip() == words.spelt(value).strip()


class TestPage:
    def test_it_needs_nothing_else_and_no_value_becomes_markup(self, found: list[Comparison]) -> None:
        page = reviewing.html(found, "main", "<b>dev</b>")
        tags = Tags.of(page)
        assert not {"script", "img", "link", "iframe", "b"} & set(tags)
        assert "http-equiv" in page
        assert "default-src 'none'" in page
        assert not re.search(r"(src|href)=.(https?:|//)", page)
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "\u202e" not in page
        assert "\x1b" not in page
        assert "Nothing differs." in reviewing.html([], "a", "b")

    def test_it_shows_both_values_and_where_they_lie(self, found: list[Comparison]) -> None:
        page = reviewing.html(found, "main", "dev")
        assert "<del>NaN</del> <ins>2.5</ins>" in page
        assert 'id="p2"' in page
        assert "<svg" in page
        assert "7 rows changed" in page


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        ("null", '"null"'),
        ("", '""'),
        (" x", '" x"'),
        ("x" * 61, "x" * 60 + "… (61 characters)"),
        (b"\x00\xff", "0x00ff"),
        (b"\x01" * 40, "0x" + "01" * 30 + "… (40 bytes)"),
        (0.1 + 0.2, "0.30000000000000004"),
        (True, "true"),
        (Decimal("1.10"), "1.10"),
        ({"a": None, "b": [1, "x"]}, "{a: null, b: [1, x]}"),
        ("a\tb\u200b", "a\\tb\\u200b"),
    ],
)
def test_cells(value: Any, shown: str) -> None:
    assert words.cell(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (1234567, "1,234,567"),
        (12.3456, "12.35"),
        (0.00012345, "0.000123"),
        (1e12, "1e+12"),
        (-0.0, "0"),
        (2.0, "2"),
    ],
)
def test_figures(value: Any, shown: str) -> None:
    assert words.figure(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0, "0 %"), (1, "100 %"), (0.5, "50 %"), (1e-9, "<0.01 %"), (1 - 1e-9, ">99.99 %")],
)
def test_shares(value: float | None, shown: str) -> None:
    assert words.share(value) == shown


def test_two_values_that_differ_look_different(lake: Lake) -> None:
    """Long texts that differ behind where they are cut are cut elsewhere."""
    lake.append("t", pa.table({"id": [1], "x": ["a" * 200 + "b"]}), key=["id"])
    lake.workspace.history.create_branch("dev")
    lake.overwrite("t", pa.table({"id": [1], "x": ["a" * 200 + "c"]}), branch="dev")
    (one,) = compare(lake.workspace, "main", "dev")
    assert one.table is not None
    ((_, old, new),) = words.cells(one.table.sample[0], ["id"])
    assert old != new
    assert old.endswith("ab")


ALLOWED = {"h3", "code", "p", "sub", "br", "ul", "li", "pre", "details", "summary"}
ALLOWED |= {"table", "thead", "tbody", "tr", "th", "td"}


class Tags(HTMLParser):
    """The tags of a page, and the text in one kind of them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, ""))
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        if self.found:
            tag, text = self.found[-1]
            self.found[-1] = tag, text + data

    @classmethod
    def read(cls, page: str) -> Iterator[tuple[str, str]]:
        parser = cls()
        parser.feed(page)
        parser.close()
        yield from parser.found

    @classmethod
    def of(cls, page: str) -> list[str]:
        return [tag for tag, _ in cls.read(page)]

    @classmethod
    def text(cls, page: str, tag: str) -> str:
        return next(text for name, text in cls.read(page) if name == tag)
