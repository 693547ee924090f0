"""What a client is told about a deployment while its versions are being loaded."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from http.client import HTTPException

import pytest

from bascule.history import Workspace
from bascule.serving.http import Limits
from tests.protocols.openinference.conftest import serving
from tests.protocols.openinference.test_infer import request
from tests.serving.conftest import bundle_bytes, put_deployment, put_versions
from tests.serving.test_dataplane import eventually, held


def test_what_is_being_loaded_is_not_ready_and_the_index_says_so(
    served: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_versions(served, {1: bundle_bytes(seed=3)}, model="slow")
    put_versions(served, {3: bundle_bytes(seed=3)})
    with serving(served) as server:

        def listed(**body: bool) -> dict[tuple[str, str], str]:
            found = server.ask("/v2/repository/index", body)
            return {(one["name"], one["version"]): one["state"] for one in found}

        with held(monkeypatch, "slow", 1) as waiting, held(monkeypatch, "delays", 3) as replacing:
            put_deployment(served, {1: 100}, name="slow", model="slow")
            put_deployment(served, {3: 100})
            assert waiting.acquire(timeout=20)
            assert replacing.acquire(timeout=20)
            eventually(lambda: "slow" in server.plane.state().deployments)
            for path in ("", "/ready", "/config", "/versions/1", "/versions/1/ready"):
                assert "being loaded" in server.error(f"/v2/models/slow{path}", status=503)
            for path in ("/infer", "/versions/1/infer"):
                assert "being loaded" in server.error(f"/v2/models/slow{path}", request(), 503)
            assert listed()["slow", "1"] == listed()["delays", "3"] == "LOADING"
            assert ("slow", "1") not in listed(ready=True)
            assert server.ask("/v2/health/ready") == {"ready": True}  # the others answer
            assert server.ask("/v2/models/delays/infer", request())["model_version"] == "1"
        eventually(lambda: listed()["slow", "1"] == listed()["delays", "3"] == "READY")
        assert server.ask("/v2/models/slow/infer", request())["model_version"] == "1"


def test_a_preview_that_hangs_while_it_loads_does_not_hold_the_stop_up(
    served: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_versions(served, {1: bundle_bytes(seed=3)}, model="slow")
    served.history.create_branch("trial", "main")
    put_deployment(served, {1: 100}, name="slow", model="slow", branch="trial")
    with held(monkeypatch, "slow", 1) as waiting:
        with serving(served, Limits(drain_s=0.5, linger_s=0.5)) as server:

            def ask() -> None:
                with suppress(OSError, HTTPException, AssertionError):  # the server goes away meanwhile
                    server.request("/branch/trial/v2/models/slow/infer", b"{}")

            asking = threading.Thread(target=ask)
            asking.start()
            assert waiting.acquire(timeout=20)
            began = time.monotonic()
        assert time.monotonic() - began < 10  # it hangs for twenty
        asking.join()
