"""The server's fixtures, and a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.server.conftest import client, copy, filled, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

__all__ = ["client", "copy", "filled", "serve"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium, closed after each module: while it is open its event loop runs in this thread, and no other can."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: the page is not tested in a browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens a page that notes what goes wrong in it: errors, and requests to other hosts."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def watch(page: Page, url: str) -> None:
        host = urlsplit(url).netloc
        page.on("console", lambda said: wrong.append(f"{page.url}: {said.text}") if is_trouble(said) else None)
        page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
        page.on("request", lambda asked: wrong.append(asked.url) if is_foreign(asked.url, host) else None)

    def make(url: str, **settings: Any) -> Page:
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        watch(page, url)
        page.goto(url)
        return page

    yield make
    for context in contexts:
        context.close()
    assert wrong == []


def is_trouble(said: Any) -> bool:
    # The browser says so itself when a page answers with 404, as one of them is meant to.
    return said.type in ("error", "warning") and "status of 404" not in said.text


def is_foreign(url: str, host: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("data", "blob") and parts.netloc != host
