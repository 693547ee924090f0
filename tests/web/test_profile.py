"""The page that `bascule profile --html` writes, in a browser without a network."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pytest

from bascule.history import Workspace
from bascule.lake import Lake
from bascule.project.profiling import html
from bascule.project.profiling.profile import profile_at
from tests.web.test_browser import WEAK_TEXT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def file(local_workspace: Workspace, tmp_path: Path) -> Path:
    lake, count = Lake(local_workspace), range(600)
    rows: dict[str, Any] = {
        "id": count,
        "size": [math.sin(k) * k for k in count],
        "twin": [math.sin(k) * k * 2 + k % 7 if k % 9 else None for k in count],
        "kind <img src=x onerror=alert(1)>": [f"<b>{'abc'[k % 3]}</b>" for k in count],
        "a_rather_long_name_for_a_column_that_nobody_would_type": [k % 13 for k in count],
        "mail": [f"p{k}@secret.example" for k in count],
        "at": [f"2026-{1 + k // 60:02d}-{1 + k % 28:02d}" for k in count],
        **{f"more {n}": [float((k * (n + 3)) % 101) for k in count] for n in range(20)},
    }
    lake.append("things", pa.table(rows), key=["id"])
    page = tmp_path / "profile.html"
    page.write_text(html(profile_at(local_workspace, "things", "main")), encoding="utf-8")
    return page


def opened(browser: Browser, file: Path, wrong: list[str], **settings: Any) -> Page:
    page = browser.new_context(offline=True, **settings).new_page()
    page.on("console", lambda said: wrong.append(said.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append("dialog"), dialog.dismiss()))
    page.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith("file:") else None)
    page.goto(file.as_uri())
    return page


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_has_contrast_and_fetches_nothing(
    file: Path, browser: Browser, scheme: Literal["light", "dark"], width: int
) -> None:
    wrong: list[str] = []
    page = opened(browser, file, wrong, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(248, 249, 249)" if scheme == "light" else "rgb(18, 22, 26)"
    )
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate(WEAK_TEXT) == []
    assert page.locator("article").count() == 27
    assert "secret.example" not in page.content()
    assert wrong == []
    page.context.close()


@pytest.mark.slow
def test_it_can_be_read_by_keyboard_and_by_name(file: Path, browser: Browser) -> None:
    wrong: list[str] = []
    page = opened(browser, file, wrong, viewport={"width": 1280, "height": 900})
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Overview"
    page.get_by_role("link", name="How it was measured").press("Enter")
    assert page.evaluate("location.hash") == "#basis"
    page.get_by_role("link", name="twin", exact=True).first.press("Enter")
    assert page.evaluate("document.querySelector(location.hash).querySelector('h3').textContent") == "twin"
    assert page.get_by_role("img", name="Histogram of size").count() == 2
    unreachable = page.evaluate(
        "[...document.querySelectorAll('.p-scroll')]"
        ".filter(one => one.scrollWidth > one.clientWidth && one.tabIndex < 0).length"
    )
    assert unreachable == 0
    assert wrong == []
    page.context.close()


@pytest.mark.slow
def test_it_prints_with_all_that_is_folded(file: Path, browser: Browser) -> None:
    wrong: list[str] = []
    page = opened(browser, file, wrong, viewport={"width": 718, "height": 1000}, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    assert page.evaluate(WEAK_TEXT) == []
    assert not page.get_by_role("navigation").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert wrong == []
    page.context.close()
