"""Artifacts in parts and in ranges, on the disk and on object storage, and addresses that permit one thing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from bascule.history import Workspace
from bascule.server import ServerSettings
from bascule.server.app import create_app
from bascule.server.mlflow_parts import Signer, range_of
from bascule.server.tokens import create_token
from tests.protocols.mlflow.conftest import Api

BASE = "/api/2.0/mlflow-artifacts"
DATA = os.urandom(3_000_000)


@pytest.fixture(params=["disk", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    """The API over each kind of storage."""
    where = {"storage": request.getfixturevalue("s3")} if request.param == "s3" else {}
    workspace = Workspace.create(tmp_path / "project", **where)
    app = create_app(workspace, ServerSettings())
    yield Api(TestClient(app, base_url="http://127.0.0.1:7400", raise_server_exceptions=False))
    workspace.close()


def begin(api: Api, name: str = "big.bin", parts: int = 3, folder: str = "0/r/artifacts", **more: Any) -> Any:
    return api.http.post(f"{BASE}/mpu/create/{folder}", json={"path": name, "num_parts": parts}, **more)


def send(api: Api, begun: Any, order: tuple[int, ...] = (2, 0, 1)) -> list[dict[str, Any]]:
    size = -(-len(DATA) // len(begun["credentials"]))
    parts = []
    for place in order:
        one = begun["credentials"][place]
        sent = api.http.put(one["url"], content=DATA[place * size : (place + 1) * size])
        parts.append({"part_number": one["part_number"], "etag": sent.headers["etag"], "url": one["url"]})
    return parts


@pytest.mark.slow
def test_a_file_comes_in_parts_and_goes_in_ranges(storage: Api) -> None:
    api = storage
    begun = begin(api, "/home/ana/big.bin").json()
    threads = [threading.Thread(target=send, args=(api, begun, (place,))) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    parts = send(api, begun)
    where = f"{BASE}/artifacts/0/r/artifacts/big.bin"
    assert api.http.get(where).status_code == 404  # it appears whole
    told = {"path": "big.bin", "upload_id": begun["upload_id"], "parts": parts}
    for _ in range(2):
        assert api.http.post(f"{BASE}/mpu/complete/0/r/artifacts", json=told).status_code == 200
    assert api.http.get(where).content == DATA
    size = len(DATA)
    for asked, first, end in (
        ("bytes=0-9", 0, 10),
        ("bytes=2999990-", size - 10, size),
        ("bytes=-5", size - 5, size),
        ("bytes=7-99999999", 7, size),
    ):
        found = api.http.get(where, headers={"range": asked})
        assert (found.status_code, found.content) == (206, DATA[first:end]), asked
        assert found.headers["content-range"] == f"bytes {first}-{end - 1}/{size}"
    assert api.http.get(where, headers={"range": f"bytes={size}-"}).status_code == 416
    signed = api("GET", f"{BASE}/presigned/0/r/artifacts/big.bin")
    assert signed["file_size"] == size
    assert api.http.get(signed["url"], headers={"range": "bytes=5-8"}).content == DATA[5:9]


def test_parts_that_do_not_fit_are_refused(api: Api, local_workspace: Workspace) -> None:
    begun = begin(api).json()
    complete = f"{BASE}/mpu/complete/0/r/artifacts"
    told = {"path": "big.bin", "upload_id": begun["upload_id"], "parts": []}
    assert "Part 1 is missing" in api.http.post(complete, json=told).json()["message"]
    parts = send(api, begun)
    for changed in (
        {"parts": parts[:2]},
        {"parts": [{**parts[0], "etag": "x"}, *parts[1:]]},
        {"parts": [*parts, {**parts[0], "part_number": 4}]},
        {"parts": [{**parts[0], "part_number": "one"}]},
        {"parts": 5},
        {"path": "other.bin"},
        {"path": ".."},
        {"path": "", "upload_id": ""},
    ):
        assert api.http.post(complete, json={**told, "parts": parts, **changed}).status_code == 400, changed
    assert api.http.post(complete, json={**told, "upload_id": "../../x"}).status_code == 404
    api.http.post(f"{BASE}/mpu/abort/0/r/artifacts", json=told)
    assert api.http.post(complete, json={**told, "parts": parts}).status_code == 404
    assert api.http.put(begun["credentials"][0]["url"], content=b"").status_code == 404
    for count in (0, -1, 10_001, 1_000_000, "many", 2**70):
        assert begin(api, parts=count).status_code == 400, count  # type: ignore[arg-type]
    for name, folder in (
        ("..", "0"),
        ("x", "..%2f..%2fx"),
        ("x", "bascule-models/y"),
        ("a%2f..%2f..%2f..%2fx", ""),
        ("", ""),
    ):
        assert begin(api, name, folder=folder).status_code in (400, 403), (name, folder)
    assert begin(api, "root.bin", 1, "").status_code == 200  # the root may be meant
    plain = api.http.post(f"{BASE}/mpu/create/0", content=b'{"path": "x"}', headers={"content-type": "text/plain"})
    assert plain.status_code == 400
    assert api.http.get(f"{BASE}/mpu/create/0").status_code == 404
    assert api.http.post(f"{BASE}/mpu/nothing/0", json={}).status_code == 404
    waiting = local_workspace.folder / "artifacts.tmp" / "parts"
    (stale,) = waiting.iterdir()
    os.utime(stale, (time.time() - 10**6,) * 2)
    begin(api)
    assert not stale.exists()
    for path in ("presigned/0/none", "presigned/bascule-models/x", "presigned/"):
        assert api.http.get(f"{BASE}/{path}").status_code in (400, 404), path


def test_an_address_permits_one_thing_for_a_while(serve: Callable[..., Api], local_workspace: Workspace) -> None:
    _, writer = create_token(local_workspace.catalog, "w", "writer")
    _, reader = create_token(local_workspace.catalog, "r", "reader")
    api, known = serve(require_tokens=True), {"authorization": f"Bearer {writer}"}
    assert begin(api).status_code == 401
    assert begin(api, headers={"authorization": f"Bearer {reader}"}).status_code == 403
    begun = begin(api, headers=known).json()
    parts = send(api, begun)  # with no credentials
    told = {"path": "big.bin", "upload_id": begun["upload_id"], "parts": parts}
    assert api.http.post(f"{BASE}/mpu/complete/0/r/artifacts", json=told).status_code == 401
    assert api.http.post(f"{BASE}/mpu/complete/0/r/artifacts", json=told, headers=known).status_code == 200
    first, second = (one["url"] for one in begin(api, headers=known).json()["credentials"][:2])
    assert api.http.get(f"{BASE}/presigned/0/r/artifacts/big.bin").status_code == 401
    url = api.http.get(f"{BASE}/presigned/0/r/artifacts/big.bin", headers=known).json()["url"]
    query = url.partition("?")[2]
    for refused in (
        first.partition("?")[0] + "?" + second.partition("?")[2],
        first.partition("?")[0],
        first.replace("expires=", "expires=9"),
        first.replace("signature=", "signature=0"),
    ):
        assert api.http.put(refused, content=b"evil").status_code == 403
    for refused in (
        f"{BASE}/signed/0/r/artifacts/other.bin?{query}",
        f"{BASE}/signed/0/r/artifacts/big.bin",
        f"{url}&expires=99999999999",
    ):
        assert api.http.get(refused).status_code == 403
    assert api.http.get(url).content == DATA
    assert api.http.put(url, content=b"evil").status_code == 405
    old = Signer(b"k").signed("GET x", -1)
    assert "expires=" in old
    assert range_of("bytes=5-2", 10) is range_of("bytes=0-1,3-4", 10) is range_of("lines=1-2", 10) is None
