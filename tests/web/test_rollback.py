"""The whole way: a click on Roll back in a real browser, and the next request is answered by the old version."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.delivery import deploy
from bascule.history import Workspace
from bascule.registry import register
from bascule.server import ServerSettings, up
from bascule.server.ports import free_port
from bascule.training import unpack_model
from bascule.web import create_app
from tests.server.filled import ANN, report
from tests.serving.conftest import bundle_bytes
from tests.web.conftest import Open

pytestmark = pytest.mark.slow

FLIGHT = {"distance": 1400.0, "hour": 17, "night": False, "carrier": "UA"}


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Workspace]:
    """Two versions of a real model; the second one serves."""
    ws = Workspace.create(tmp_path / "project")
    for seed in (0, 1):
        data = bundle_bytes(seed=seed)
        register(
            ws,
            "main",
            "delays",
            artifact=ws.store.put(data),
            format="lightgbm",
            signature=unpack_model(data).signature.as_dict(),
            training_set="5f" * 32,
            evaluation=report(1).as_dict(),
            author=ANN,
        )
    deploy(ws, "main", "delays", "delays", 1, by=ANN)
    deploy(ws, "main", "delays", "delays", 2, strategy="all_at_once", by=ANN)
    yield ws
    ws.close()


@pytest.fixture
def running(deployed: Workspace) -> Iterator[ServerSettings]:
    """`bascule up` over it, with its inference worker."""
    settings = ServerSettings(port=free_port("127.0.0.1", with_next=True))
    stopping, started = threading.Event(), threading.Event()
    thread = threading.Thread(
        target=up,
        args=(deployed, settings, create_app),
        kwargs={"stopping": stopping, "announce": lambda url: started.set()},
    )
    thread.start()
    try:
        assert started.wait(60)
        yield settings
    finally:
        stopping.set()
        thread.join(60)
    assert not thread.is_alive()


def ask(settings: ServerSettings) -> dict[str, Any]:
    """One prediction, over HTTP."""
    inputs = [
        {"name": name, "shape": [1], "datatype": kind, "data": [FLIGHT[name]]}
        for name, kind in (("distance", "FP64"), ("hour", "INT64"), ("night", "BOOL"), ("carrier", "BYTES"))
    ]
    request = urllib.request.Request(
        f"{settings.inference_url}/v2/models/delays/infer",
        json.dumps({"inputs": inputs}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def version_of(answer: dict[str, Any]) -> str:
    return str(answer.get("model_version") or answer["parameters"]["model_version"])


def test_after_a_click_the_old_version_answers(open_page: Open, deployed: Workspace, running: ServerSettings) -> None:
    assert version_of(ask(running)) == "2"
    page = open_page(f"{running.url}/deployments/delays")
    page.get_by_role("link", name="Roll back").click()
    page.get_by_label("Why").fill("a drill")
    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("status").wait_for()
    clicked = time.monotonic()
    while version_of(ask(running)) != "1":
        assert time.monotonic() < clicked + 20, "the old version never answered"
    assert deployed.history.get("main", "deployments/delays")["traffic"] == [{"version": 1, "weight": 100}]
    # What was answered is on the page at once, although no segment of the log was moved.
    page.goto(f"{running.url}/predictions")
    shown = page.locator("tbody tr").all_inner_texts()
    assert any("version 1" in row for row in shown)
    assert any("version 2" in row for row in shown)


def test_a_worker_that_dies_is_started_again(running: ServerSettings, deployed: Workspace) -> None:
    import os
    import signal
    import subprocess

    found = subprocess.run(
        ["pgrep", "-f", f"openinference {deployed.folder}"], capture_output=True, text=True, check=False
    ).stdout.split()
    if not found:
        pytest.skip("pgrep is not here")
    os.kill(int(found[0]), signal.SIGKILL)
    deadline = time.monotonic() + 60
    while True:
        try:
            assert version_of(ask(running)) == "2"
            break
        except OSError:
            assert time.monotonic() < deadline, "the worker never came back"
            time.sleep(0.1)
