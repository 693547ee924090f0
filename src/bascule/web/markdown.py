"""Markdown that others wrote, as HTML that can do no harm: no raw HTML, no images, no links that run."""

from __future__ import annotations

from functools import cache

from markdown_it import MarkdownIt
from markupsafe import Markup


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def render_markdown(text: str) -> Markup:
    """Return a text's HTML. Its headings are put one level down, below the page's own."""
    parser = _parser()
    tokens = parser.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 1, 6)}"
        if token.type in ("th_open", "td_open"):
            # A style attribute would break the content security policy; a class says the same.
            right = "right" in str(token.attrGet("style") or "")
            scope: dict[str, str | int | float] = {"scope": "col"} if token.type == "th_open" else {}
            token.attrs = scope | ({"class": "num"} if right else {})
    return Markup(parser.renderer.render(tokens, parser.options, {}))
