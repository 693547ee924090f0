"""Endpoints that list artifacts; their bytes are sent and received by the server itself."""

from __future__ import annotations

from bascule.protocols.mlflow.messages import Answer, Ask, present
from bascule.protocols.mlflow.runs import run_of
from bascule.tracking import remote
from bascule.tracking.artifacts import confined

SCHEME = "mlflow-artifacts:"


def root_of_run(ask: Ask, run: str) -> tuple[str, str]:
    """Return the address of a run's artifacts, and the folder that it is."""
    with ask.tracker.workspace.catalog.read() as conn:
        row = remote.demand_run(conn, run)
    address = row.artifact_uri or f"{SCHEME}/{row.experiment_id}/{row.id}/artifacts"
    return address, confined(address.removeprefix(SCHEME).lstrip("/"))


def list_of_run(ask: Ask) -> Answer:
    """List a folder of a run's artifacts; paths are told from the run's root."""
    address, root = root_of_run(ask, run_of(ask.told))
    folder = confined(ask.told.text("path"))
    files = [
        present({"path": f"{folder}/{one.path}".lstrip("/"), "is_dir": one.is_dir, "file_size": one.size})
        for one in ask.artifacts.list(f"{root}/{folder}")
    ]
    return Answer(present({"root_uri": address, "files": files}))


def place_of_run(ask: Ask) -> str:
    """Return where a file of a run lies."""
    _, root = root_of_run(ask, run_of(ask.told))
    return f"{root}/{confined(ask.told.text('path', required=True))}"


def list_proxied(ask: Ask) -> Answer:
    """List a folder; names are told alone."""
    files = [
        present({"path": one.path, "is_dir": one.is_dir, "file_size": one.size})
        for one in ask.artifacts.list(ask.told.text("path"))
    ]
    return Answer(present({"files": files}))
