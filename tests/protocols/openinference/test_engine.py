"""What answers is told by the metadata, the configuration and the figures."""

from __future__ import annotations

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
