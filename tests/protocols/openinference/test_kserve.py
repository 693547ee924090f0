"""KServe's own client, unmodified, in an environment of its own: its messages cannot stand beside Triton's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

from tests.environments import python_with, variables
from tests.protocols.openinference.conftest import Served
from tests.serving.conftest import bundle

pytestmark = pytest.mark.slow
STORY = Path(__file__).with_name("kserve_story.py")
RELEASE = "0.21.0"


@pytest.fixture(scope="session")
def python(pytestconfig: pytest.Config) -> Path:
    """The Python of an environment with the client."""
    return python_with(pytestconfig, f"kserve-{RELEASE}", ("--only-binary", ":all:", f"kserve=={RELEASE}"))


def test_a_client_tells_its_story(python: Path, server: Served) -> None:
    rows = pa.table({"distance": [500.0, 2000.0], "hour": [1, 20], "night": [True, False], "carrier": ["AA", "UA"]})
    expected = bundle().predict(rows).tolist()
    addresses = (f"http://127.0.0.1:{server.port}", f"127.0.0.1:{server.grpc_port}")
    done = subprocess.run(
        [str(python), str(STORY), *addresses],
        capture_output=True,
        text=True,
        timeout=60,
        env=variables(),
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert "unknown model: 'x'" in said.pop("rest error")
    assert "unknown model: 'x'" in said.pop("grpc error")
    assert said.pop("no model") is False
    for name in ("rest", "rest binary", "grpc", "grpc raw", "first"):
        assert said.pop(name) == expected, name
    questions = ("live", "ready", "model", "grpc live", "grpc ready", "grpc model")
    assert said == dict.fromkeys((*questions, "first live", "first model", "first explained"), True)
