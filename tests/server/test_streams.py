"""Events that are sent to a server: durable when it answers, once under their key; and the streams' figures."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

import bascule as api
from bascule.history import Workspace
from bascule.server import create_token
from bascule.server.ports import free_port
from tests.project.streaming.conftest import BEGIN, bascule, closed, event, folder, shop, start
from tests.server.conftest import Serve

__all__ = ["bascule", "closed", "folder", "shop", "start"]
URL = "/api/bascule/v1/streams"


@pytest.mark.slow
def test_sent_events(shop: Callable[..., Path], serve: Serve) -> None:
    place = shop("push")
    workspace = Workspace.open(place)
    _, secret = create_token(workspace.catalog, "sensor", "writer")
    client: TestClient = serve(workspace, secret, require_tokens=True)
    rows = [event(n) for n in range(5)]
    said = client.post(f"{URL}/clicks/events", json=rows, headers={"idempotency-key": "a"})
    assert (said.status_code, said.json()) == (200, {"stream": "clicks", "taken": 5, "aside": 0, "again": False})
    assert client.post(f"{URL}/clicks/events", json=rows, headers={"idempotency-key": "a"}).json()["again"] is True
    sink = io.BytesIO()
    table = pa.table({"user": ["u1"], "clicked_at": pa.array([BEGIN])})
    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    arrow = {"content-type": "application/vnd.apache.arrow.stream"}
    assert client.post(f"{URL}/clicks/events", content=sink.getvalue(), headers=arrow).json()["taken"] == 1
    lines = b"\n".join([b'{"user": "a", "clicked_at": "2090-01-01T00:00:00Z"}', b""])
    ahead = client.post(f"{URL}/clicks/events", content=lines, headers={"content-type": "application/x-ndjson"})
    assert (ahead.json()["taken"], ahead.json()["aside"]) == (0, 1)
    for name, body, kind, status, word in (
        ("clicks", b"[{}]", "application/json", 400, "row 0: Object missing required field"),
        ("clicks", b"nothing", "application/json", 400, "no list of JSON objects"),
        ("clicks", b"ARROW1", arrow["content-type"], 400, "no Arrow IPC"),
        ("clicks", b"a,b", "text/csv", 415, "The content type is text/csv"),
        ("click", b"[{}]", "application/json", 404, "Did you mean 'clicks'?"),
    ):
        said = client.post(f"{URL}/{name}/events", content=body, headers={"content-type": kind})
        assert (said.status_code, word in said.text) == (status, True), said.text
    project = api.open(place)
    project.run_streams(once=True)
    [info] = client.get(URL).json()
    assert (info["events"], info["waiting"], info["aside"]) == (6, 0, {"ahead": 1})
    figures = client.get("/metrics").text
    assert 'bascule_stream_events{stream="clicks",branch="main"} 6' in figures
    assert 'bascule_stream_set_aside{stream="clicks",branch="main",why="ahead"} 1' in figures
    assert 'bascule_stream_waiting_events{stream="clicks",branch="main"} 0' in figures
    assert "bascule_stream_age_seconds" in figures
    _, reader = create_token(workspace.catalog, "eye", "reader")
    assert serve(workspace, reader, require_tokens=True).post(f"{URL}/clicks/events", json=rows).status_code == 403
    project.close()
    workspace.close()


@pytest.mark.slow
def test_up_consumes_streams(shop: Callable[..., Path]) -> None:
    place = shop("push", land="1s")
    port = free_port("127.0.0.1", with_next=True)
    command = [sys.executable, "-m", "bascule", "up", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True, env={**os.environ}) as server:
        assert server.stdout is not None
        assert "Bascule is up" in server.stdout.readline()
        assert httpx.post(f"{url}{URL}/clicks/events", json=[event(1), event(2)], timeout=30).json()["taken"] == 2

        def landed() -> bool:
            found: list[dict[str, Any]] = httpx.get(f"{url}{URL}", timeout=30).json()
            return found[0]["waiting"] == 0 and found[0]["running"]

        end = time.monotonic() + 60
        while not landed():
            assert time.monotonic() < end
            time.sleep(0.2)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    project = api.open(place)
    assert [row["n"] for row in project.sql("select n from clicks order by n")] == [1, 2]
    assert not project.streams()[0].running
    project.close()
