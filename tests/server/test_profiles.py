"""What the page of a table's profile reads: a sample, kept while the table is what it was."""

from __future__ import annotations

import pyarrow as pa
import pytest

from bascule.errors import NotFound
from bascule.history import Workspace
from bascule.lake import Lake, forget_rows
from bascule.server.reads.profiles import SAMPLE, table_profile


def test_a_profile_is_kept_until_the_table_changes(local_workspace: Workspace) -> None:
    lake = Lake(local_workspace)
    lake.append("t", pa.table({"id": range(40), "x": [k % 3 for k in range(40)]}), key=["id"])
    first = table_profile(local_workspace, "main", "t")
    assert table_profile(local_workspace, "main", "t") is first
    lake.append("t", pa.table({"id": range(40, 50), "x": [1] * 10}))
    assert table_profile(local_workspace, "main", "t").rows == 50
    assert table_profile(local_workspace, "main~1", "t").rows == 40
    with pytest.raises(NotFound, match="'tt'"):
        table_profile(local_workspace, "main", "tt")


def test_what_is_forgotten_is_not_shown_from_before(local_workspace: Workspace) -> None:
    lake = Lake(local_workspace)
    lake.append("t", pa.table({"id": range(40), "word": ["secret"] * 20 + ["plain"] * 20}), key=["id"])
    assert "secret" in str(table_profile(local_workspace, "main", "t"))
    forget_rows(local_workspace, "t", "word = 'secret'")
    assert "secret" not in str(table_profile(local_workspace, "main", "t"))


def test_a_large_table_is_told_from_a_sample(local_workspace: Workspace) -> None:
    Lake(local_workspace).append("t", pa.table({"id": range(3 * SAMPLE)}), key=["id"])
    found = table_profile(local_workspace, "main", "t")
    assert found.rows == 3 * SAMPLE
    assert found.rows_read == found.rows_sampled < 1.1 * SAMPLE
