"""A workspace with one model of three versions; the third one was forced past its gates, the fourth did not pass."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert

from bascule.catalog import new_id, now
from bascule.catalog.schema import approvals
from bascule.history import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.create(tmp_path)
    versions = {
        str(number): {"id": f"mv_{number}", "version": number, "passed": number < 3, "metrics": {"test.auc": 0.7}}
        for number in (1, 2, 3, 4)
    }
    model = {"kind": "model", "name": "delays", "versions": versions, "aliases": {"production": 2}}
    workspace.history.commit("main", {"models/delays": model}, message="Register delays", author="ann@example.org")
    with workspace.catalog.write() as conn:
        conn.execute(
            insert(approvals).values(
                id=new_id("approval"),
                subject="models/delays@3",
                decision="forced",
                actor="ann@example.org",
                reason="a drill",
                at=now(),
            )
        )
    yield workspace
    workspace.close()
