"""The page in a real browser: nothing is fetched elsewhere, all fits on a phone, and Roll back rolls back."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
import uvicorn

from bascule.history import Workspace
from bascule.server import ServerSettings
from bascule.server.ports import listen
from bascule.web import create_app
from tests.server.filled import Filled
from tests.web.addresses import pages
from tests.web.conftest import Open

pytestmark = pytest.mark.slow

LOOKS = ((320, "light"), (390, "dark"), (768, "light"), (1440, "dark"))  # pixels wide, and the colours
CUT = """() => [...document.querySelectorAll('.scroll:has(.cards)')]
    .filter(one => one.scrollWidth > one.clientWidth).map(one => one.getAttribute('aria-label'))"""
WEAK_TEXT = (Path(__file__).parent / "contrast.js").read_text()


class Served:
    """A server in a thread."""

    def __init__(self, ws: Workspace) -> None:
        self.sock = listen("127.0.0.1", 0)
        port = self.sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        app = create_app(ws, ServerSettings(port=port))
        self.server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.sock]})

    def __enter__(self) -> Served:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        self.sock.close()


@pytest.fixture(scope="session")
def site(filled: Filled) -> Iterator[str]:
    """The address of a server over the shared workspace."""
    with Served(filled.ws) as served:
        yield served.url


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_page_fits_and_fetches_nothing_elsewhere(
    open_page: Open, site: str, filled: Filled, width: int, scheme: str
) -> None:
    """And on a phone or a tablet no list is cut."""
    page = open_page(site, viewport={"width": width, "height": 800}, color_scheme=scheme)
    too_wide, cut = [], []
    for address in pages(filled):
        page.goto(site + address)
        page.wait_for_load_state("load")
        if page.evaluate("document.documentElement.scrollWidth") > width:
            too_wide.append(address)
        cut += [(address, label) for label in page.evaluate(CUT) if label and 390 <= width <= 768]
    assert too_wide == []
    assert cut == []


def test_words_in_charts_do_not_lie_on_each_other(open_page: Open, site: str) -> None:
    page = open_page(f"{site}/deployments/delays", viewport={"width": 390, "height": 800}, java_script_enabled=False)
    words = [text.bounding_box() for text in page.locator(".words text").all() if text.inner_html()]
    assert len(words) >= 2
    for one, other in combinations(words, 2):
        apart = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
        assert apart or abs(one["y"] - other["y"]) >= 11


def test_pages_can_be_printed(open_page: Open, site: str, filled: Filled) -> None:
    """On A4, from a dark screen: black on white, nothing cut at the edge, no buttons, and charts are drawn."""
    page = open_page(site, viewport={"width": 718, "height": 1000}, color_scheme="dark")
    wrong = []
    for address in pages(filled):
        page.goto(site + address)
        page.emulate_media(media="print")
        wrong += [(address, *found) for found in page.evaluate(WEAK_TEXT)]
        wrong += [
            (address, label) for label in page.evaluate(CUT.replace(".scroll:has(.cards)", ".scroll:not(.drawn)"))
        ]
        assert page.evaluate("document.documentElement.scrollWidth") <= 718, address
        assert not page.locator(".side").is_visible()
        page.emulate_media(media="screen")
    assert wrong == []
    page.goto(f"{site}/deployments/delays")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("figure.chart .frame").first.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.locator(".live canvas").first.wait_for()
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_a_click_on_roll_back_rolls_back(open_page: Open, copy: Filled) -> None:
    with Served(copy.ws) as served:
        page = open_page(f"{served.url}/deployments/delays")
        page.get_by_role("link", name="Roll back").click()
        page.get_by_role(
            "heading", name="Roll back delays from version 2 at 50 % and version 3 at 50 % to version 2?"
        ).wait_for()
        assert copy.ws.history.get("main", "deployments/delays")["revision"] == 5, "it asks first"
        page.get_by_label("Why").fill("seen in the browser")
        page.get_by_role("button", name="Roll back").click()
        page.get_by_role("status").wait_for()
        assert "Now version 2 at 100 % answers" in page.get_by_role("status").inner_text()
        after = copy.ws.history.get("main", "deployments/delays")
        assert (after["revision"], after["traffic"]) == (6, [{"version": 2, "weight": 100}])
        assert copy.ws.history.resolve("main").message.endswith("(seen in the browser)")


def test_it_can_be_left_as_it_is(open_page: Open, copy: Filled) -> None:
    with Served(copy.ws) as served:
        page = open_page(f"{served.url}/deployments/delays/rollback")
        page.get_by_role("link", name="Leave it as it is").click()
        page.wait_for_url("**/deployments/delays")
        page.get_by_role("link", name="Roll back").click()
        page.get_by_label("Why").press("Escape")
        page.wait_for_url("**/deployments/delays")
        assert copy.ws.history.get("main", "deployments/delays")["revision"] == 5


def test_everything_works_without_script(open_page: Open, copy: Filled) -> None:
    with Served(copy.ws) as served:
        page = open_page(served.url, java_script_enabled=False)
        page.get_by_label("Branch").select_option("windier-features")
        page.get_by_role("button", name="Show").click()
        page.wait_for_url("**ref=windier-features")
        page.goto(f"{served.url}/monitoring/delays")
        assert page.locator("figure.chart .frame").first.is_visible()
        page.goto(f"{served.url}/deployments/delays")
        page.get_by_role("link", name="Roll back").click()
        page.get_by_role("button", name="Roll back").click()
        page.get_by_role("status").wait_for()
        assert copy.ws.history.get("main", "deployments/delays")["revision"] == 6


def test_with_script_charts_tell_the_value_under_the_cursor(open_page: Open, site: str, filled: Filled) -> None:
    page = open_page(f"{site}/runs/{filled.train_run}")
    figure = page.locator("figure.chart").first
    figure.locator(".u-over").hover()
    readout = figure.locator(".readout")
    assert "train 0." in readout.inner_text()
    assert "validation 0." in readout.inner_text()
    assert figure.locator(".frame").is_hidden()
    label = figure.get_by_role("img").get_attribute("aria-label")
    assert re.search(r"from 1 to \d+ \(step\); last: train 0\.\d+, validation 0\.", label)


def test_text_has_contrast_where_it_stands(open_page: Open, site: str, filled: Filled) -> None:
    """WCAG 2.2, level AA, of each text against what is painted behind it; the palette's pairs are in test_text.py."""
    weak = []
    for scheme in ("light", "dark"):
        page = open_page(site, viewport={"width": 1280, "height": 900}, color_scheme=scheme)
        for address in pages(filled):
            page.goto(site + address)
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            weak += [(scheme, address, *found) for found in page.evaluate(WEAK_TEXT)]
    assert weak == []


def test_all_can_be_reached_by_keyboard(open_page: Open, site: str) -> None:
    page = open_page(f"{site}/deployments/delays", reduced_motion="reduce")
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    assert skip.inner_text() == "Skip to the content"
    assert skip.bounding_box()["y"] >= 0, "it can be seen when it has the focus"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if focused.count() == 0:
            break
        reached.add(focused.evaluate("e => e.textContent.trim() || e.getAttribute('aria-label')"))
        outline = focused.evaluate("e => getComputedStyle(e).outlineStyle")
        assert outline != "none", "what has the focus can be seen"
    assert {"Roll back", "Promote"} <= reached
    page.goto(site)
    page.keyboard.press("/")
    page.keyboard.type("flights")
    page.keyboard.press("Enter")
    page.wait_for_url("**/data/flights")


def test_filters_answer_while_one_types(open_page: Open, site: str) -> None:
    from playwright.sync_api import expect

    page = open_page(f"{site}/runs")
    page.get_by_label("Text").press_sequentially("pipel")
    expect(page.locator("#found tbody tr")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"/runs\?text=pipel"))
    page.get_by_label("Status").select_option("failed")
    expect(page.locator("#found")).to_contain_text("No run fits")


def test_a_rollout_shows_its_present_state_by_itself(open_page: Open, copy: Filled) -> None:
    from playwright.sync_api import expect

    with Served(copy.ws) as served:
        page = open_page(f"{served.url}/deployments/delays")
        page.evaluate("document.querySelector('.steps .now').textContent = 'old'")
        page.evaluate("document.querySelector('#rolloutbox').dispatchEvent(new CustomEvent('refresh'))")
        expect(page.locator(".steps .now")).to_have_text("50 %")
        page.locator("#rolloutbox .live canvas").first.wait_for()


def test_what_is_clicked_is_large_enough_on_a_phone(open_page: Open, site: str) -> None:
    page = open_page(f"{site}/deployments/delays", viewport={"width": 320, "height": 640}, has_touch=True)
    for button in page.locator("main a.button, main button:not(.cli button)").all():
        box = button.bounding_box()
        assert box is None or box["height"] >= 32, button.inner_text()


def test_the_boxes_of_a_lineage_hold_their_text(open_page: Open, site: str) -> None:
    page = open_page(f"{site}/predictions", viewport={"width": 1280, "height": 900})
    page.locator("tbody th a").first.click()
    page.locator(".lineage svg").wait_for()
    spill = page.evaluate(
        """() => [...document.querySelectorAll('.lineage .box')].filter(box => {
            const frame = box.querySelector('rect').getBoundingClientRect();
            return [...box.querySelectorAll('text')].some(text => text.getBoundingClientRect().right > frame.right + 1);
        }).map(box => box.textContent)"""
    )
    assert spill == []
    frame = page.locator(".lineage .scroll")
    assert frame.evaluate("e => e.scrollWidth <= e.clientWidth"), "the whole of it is seen"
    page.set_viewport_size({"width": 1000, "height": 900})
    assert frame.is_hidden()
    assert page.locator(".lineage .listed li").count() == page.locator(".lineage .box").count()
