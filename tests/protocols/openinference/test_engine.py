"""What answers is told by the metadata, the configuration and the figures."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.history import Workspace
from tests.protocols.openinference.conftest import serving
from tests.serving.test_dataplane import eventually


@pytest.mark.slow
@pytest.mark.parametrize("service", [{}, {"workers": 1}])
def test_the_engine_is_told(served: Workspace, service: dict[str, int]) -> None:
    path = "/v2/models/delays"
    deployment = served.history.get("main", "deployments/delays")
    served.history.commit("main", {"deployments/delays": {**deployment, "service": service}}, message="Workers")
    with serving(served) as server:
        assert server.ask(path)["properties"] == {"model": "delays", "version": "1", "engine": "native"}
        stages = [{"rows": 1, "engine": {"name": "mine", "kind": "native"}}]
        found = served.history.get("main", "models/delays")
        chosen = {**found, "runtimes": {"1": {"recipe": {"stages": stages}}}}
        served.history.commit("main", {"models/delays": chosen}, message="Optimize")
        eventually(lambda: server.ask(path)["properties"]["engine"] == "mine")
        assert server.ask(f"{path}/config")["parameters"]["engine"] == {"string_value": "mine"}
        assert server.ask(f"{path}/stats")["model_stats"][0]["engine"] == "mine"


def test_a_model_whose_consent_was_taken_back_is_not_ready(served: Workspace) -> None:
    with serving(served) as server:
        for path in ("/v2/models/delays/ready", "/v2/models/delays/versions/1/ready"):
            assert server.ask(path) == {"name": "delays", "ready": True}
        runtime: Any = server.plane.open("main").deployments["delays"].first.runtime
        runtime.allowed = False  # as taking it back does for a pickle
        for path in ("/v2/models/delays/ready", "/v2/models/delays/versions/1/ready"):
            assert "consent to its model was taken back" in server.error(path, status=503)
