"""KServe's own client, unmodified, in an environment of its own: its messages cannot stand beside Triton's."""

from __future__ import annotations

import json
import subprocess
import venv
from pathlib import Path

import pyarrow as pa
import pytest

from tests.protocols.openinference.conftest import Served
from tests.serving.conftest import bundle

pytestmark = pytest.mark.slow
STORY = Path(__file__).with_name("kserve_story.py")
RELEASE = "0.21.0"


@pytest.fixture(scope="session")
def python(pytestconfig: pytest.Config) -> Path:
    """The Python of an environment with the client."""
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("kserve-client") / RELEASE
    found, done = folder / "bin" / "python", folder / "done"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [found, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
        made = subprocess.run([*pip, f"kserve=={RELEASE}"], capture_output=True, text=True, timeout=250, check=False)
        if made.returncode:
            pytest.skip(f"KServe's client {RELEASE} cannot be installed: {made.stderr[-300:]}")
        done.touch()
    return found


def test_a_client_tells_its_story(python: Path, server: Served) -> None:
    rows = pa.table({"distance": [500.0, 2000.0], "hour": [1, 20], "night": [True, False], "carrier": ["AA", "UA"]})
    expected = bundle().predict(rows).tolist()
    addresses = (f"http://127.0.0.1:{server.port}", f"127.0.0.1:{server.grpc_port}")
    done = subprocess.run(
        [str(python), str(STORY), *addresses], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert "unknown model: 'x'" in said.pop("rest error")
    assert "unknown model: 'x'" in said.pop("grpc error")
    assert said.pop("no model") is False
    for name in ("rest", "rest binary", "grpc", "grpc raw"):
        assert said.pop(name) == expected, name
    assert said == dict.fromkeys(("live", "ready", "model", "grpc live", "grpc ready", "grpc model"), True)
