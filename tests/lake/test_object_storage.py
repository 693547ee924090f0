"""The lake in object storage does what the lake on disk does: one suite over both, S3 over real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bascule.errors import Conflict, InputError
from bascule.history import Workspace
from bascule.lake import Lake, RecordTable, Session, doctor, forget, ingest
from bascule.lake.iceberg import files
from bascule.store import ObjectPath
from bascule.store.places import named, sizes
from tests.lake.samples import people

pytestmark = pytest.mark.usefixtures("s3_server")


@pytest.fixture(params=["local", "s3", "s3 and postgresql"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    storage = request.getfixturevalue("s3") if request.param != "local" else ""
    catalog = request.getfixturevalue("database") if "postgresql" in request.param else ""
    made = Workspace.create(tmp_path / "w", catalog=catalog, storage=storage)
    yield made
    made.close()
