"""How values are written, and that every colour can be read."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from bascule.catalog import now
from bascule.web import text
from bascule.web.markdown import render_markdown
from bascule.web.render import href, local_path
from bascule.web.static import static_files


@pytest.mark.parametrize(
    ("span", "expected"),
    [(870, "870 µs"), (12_400, "12.4 ms"), (3_200_000, "3.2 s"), (240_000_000, "4 min"), (None, "–")],
)
def test_durations(span: int | None, expected: str) -> None:
    assert text.duration(span) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.71234, "0.7123"), (3.0, "3"), (123456.7, "123,457"), (None, "–"), (float("nan"), "–"), (1e-9, "1e-09")],
)
def test_metrics(value: float | None, expected: str) -> None:
    assert text.metric(value) == expected


def test_sizes_and_ids() -> None:
    assert text.size(0) == "0 B"
    assert text.size(12_400_000) == "12.4 MB"
    assert text.short("a" * 64) == "a" * 10
    assert text.short("run_06f3k8vabcdef", 6) == "run_06f3k8"
    assert text.short(None) == "–"
    assert text.plural(1, "row") == "1 row"
    assert text.plural(3000, "row") == "3,000 rows"
    assert text.ago(now() - 200_000_000) == "3 min ago"
    assert text.plain([{"version": 2, "weight": 90}]) == "version 2 90 %"
    assert text.plain({"a": [1]}) == '{"a":[1]}'


def test_long_names_may_break_and_stay_escaped() -> None:
    assert text.breakable("a/b_c") == "a/<wbr>b_<wbr>c"
    assert text.breakable("<a/b>") == "&lt;a/b&gt;"


def test_a_column_with_nulls_is_still_one_of_numbers() -> None:
    rows = [[None, 1, "a", None, True], [2.5, None, "b", None, False]]
    assert text.numeric_columns(rows) == [True, True, False, False, False]
    assert text.numeric_columns([]) == []


def test_people_are_named_shortly_in_lists() -> None:
    assert text.who("ann@example.org") == '<span class="who" title="ann@example.org">ann</span>'
    assert text.who("scheduler") == "scheduler"
    assert text.who("@x") == "@x"
    assert text.who(None) == "–"
    assert text.who('"<b>@x') == '<span class="who" title="&#34;&lt;b&gt;@x">&#34;&lt;b&gt;</span>'


def test_links_keep_the_state_and_quote() -> None:
    assert href("/data/a b", "main") == "/data/a%20b"
    assert href("/data", "feature/x", limit=5, path=None) == "/data?limit=5&ref=feature%2Fx"
    assert href("/data/x#contract", "v1") == "/data/x?ref=v1#contract"
    assert href("/history", "main", path="tables/x") == "/history?path=tables%2Fx"


@pytest.mark.parametrize(
    ("address", "expected"), [("/runs?a=1", "/runs?a=1"), ("//x", "/"), ("http://x", "/"), ("", "/"), ("/a\rb", "/")]
)
def test_only_own_paths_are_followed(address: str, expected: str) -> None:
    assert local_path(address) == expected


def test_markdown_is_tame() -> None:
    html = render_markdown("# A\n\n<b>x</b> [y](javascript:alert(1)) ![z](http://a.b/c.png)\n\n[ok](https://a.b)")
    assert "<h2>A</h2>" in html
    assert "<b>" not in html
    assert "<img" not in html
    assert 'href="javascript' not in html
    assert 'href="https://a.b"' in html


def test_every_file_comes_with_a_licence() -> None:
    names = set(static_files())
    assert {"vendor/htmx.min.js", "vendor/htmx.LICENSE", "vendor/uPlot.iife.min.js", "vendor/uPlot.LICENSE"} <= names
    own = [static_files()[name].body.decode() for name in names if not name.startswith("vendor/")]
    assert not any(re.search(r"(@import|url\(|https?://(?!www\.w3\.org))", body) for body in own)


def colours(css: str) -> list[dict[str, str]]:
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in blocks)
    return [light, {**light, **dark}]


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(share * value for share, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a: str, b: str) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_all_text_can_be_read(mode: int) -> None:
    """WCAG 2.2 asks for 4.5 to 1 for text, 3 to 1 for lines that mean something."""
    found = colours(static_files()["bascule.css"].body.decode())[mode]
    on_all = ("bg", "surface", "sunk")
    pairs = [(ink, paper) for ink in ("text", "muted", "accent", "ok", "warn", "bad") for paper in on_all]
    pairs += [(name, f"{name}-soft") for name in ("accent", "ok", "warn", "bad")]
    pairs += [("text", f"{name}-soft") for name in ("accent", "ok", "warn", "bad")] + [("on-accent", "accent")]
    weak = [(a, b, round(contrast(found[a], found[b]), 2)) for a, b in pairs if contrast(found[a], found[b]) < 4.5]
    assert weak == []
    # A legend is written in its line's colour, so the lines' colours are held to what text needs.
    series = [found[f"tone{n}"] for n in range(1, 7)]
    assert min(contrast(tone, found[paper]) for tone in series for paper in ("surface", "bg")) >= 4.5
    assert contrast(found["surface"], found["bad"]) >= 4.5, "the button that rolls back"
    # The ring around what has the focus, and the frames of fields, against what they stand on.
    assert min(contrast(found["accent"], found[paper]) for paper in (*on_all, "accent-soft")) >= 3
    assert min(contrast(found["field"], found[paper]) for paper in on_all) >= 3
    assert len(set(series)) == 6
    assert all(a != b for a, b in pairwise(series))
