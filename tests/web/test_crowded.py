"""Pages stay short and light when there are hundreds of what they show."""

from __future__ import annotations

import re

import pytest

from tests.server.conftest import Serve
from tests.server.filled import Filled
from tests.web import crowded
from tests.web.addresses import pages
from tests.web.conftest import Open
from tests.web.markup import read
from tests.web.test_browser import Served
from tests.web.test_pages import check_document

pytestmark = pytest.mark.slow

HEIGHT = 9_000  # pixels
BYTES = 450_000


@pytest.fixture
def large(copy: Filled) -> str:
    return crowded.crowd(copy)


def addresses(filled: Filled, large: str) -> list[str]:
    more = [f"/commits/{large}", "/data/wide", "/history?skip=250", f"/compare?before={large}~1&after=main"]
    return [*pages(filled), *more]


def test_commits_come_in_pages_that_join(copy: Filled, large: str, serve: Serve) -> None:
    client = serve(copy.ws)
    address, seen = "/history", list[str]()
    while address:
        page = client.get(address).text
        check_document(address, read(page))
        seen += re.findall(r'class="id" href="/commits/(\w{64})"', page)
        older = re.search(r'href="(/history\?skip=\d+)">Older commits', page)
        address = older[1] if older else ""
    assert seen == [commit.id for commit in copy.ws.history.log("main")]
    assert len(seen) > crowded.COMMITS
    assert 'href="/history?skip=0">Younger commits' in client.get("/history?skip=50").text
    assert client.get("/history?skip=99999").status_code == 400
    assert client.get("/history?path=contracts/busy&skip=250").text.count('class="message') == 50


def test_pages_are_light(copy: Filled, large: str, serve: Serve) -> None:
    client = serve(copy.ws)
    for address in addresses(copy, large):
        answer = client.get(address, headers={"accept": "text/html"})
        check_document(address, read(answer.text))
        assert len(answer.content) < BYTES, address


def test_pages_are_short_and_their_folds_open(open_page: Open, copy: Filled, large: str) -> None:
    with Served(copy.ws) as served:
        page = open_page(served.url, viewport={"width": 1280, "height": 900})
        heights = {}
        for address in addresses(copy, large):
            page.goto(served.url + address)
            heights[address] = page.evaluate("document.documentElement.scrollHeight")
            assert page.evaluate("document.documentElement.scrollWidth") <= 1280, address
        assert {address: height for address, height in heights.items() if height > HEIGHT} == {}
        page.goto(f"{served.url}/runs/{copy.train_run}")
        assert page.locator(".live").count() <= 12
        page.get_by_text(re.compile(r"^\d+ more$")).click()
        page.locator(".live").nth(crowded.CURVES).wait_for()
