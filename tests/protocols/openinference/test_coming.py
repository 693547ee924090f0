"""What a client is told about a deployment while its versions are being loaded."""

from __future__ import annotations

import pytest

from bascule.history import Workspace
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
