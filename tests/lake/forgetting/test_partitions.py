"""Forgetting in partitioned tables: values stand in manifests and lists too, and with other engines in paths."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.table import StaticTable
from tests.lake.forgetting.test_forgetting import OTHER, SUBJECT, people, rows
from tests.lake.samples import everything_in, everywhere, state
from tests.protocols.iceberg.conftest import served

from bascule.catalog import audit
from bascule.errors import InputError
from bascule.lake import Lake, forget
from bascule.lake.doctor import check

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def told_in(lake: Lake) -> Iterator[tuple[str, str]]:
    """Every file of the lake with all that can be read in it, its path too."""
    for name, data in everything_in(lake.folder).items():
        if name.endswith(".avro"):
            found = list(fastavro.reader(io.BytesIO(data)))
            yield name, repr(found)
        elif name.endswith(".parquet"):
            yield name, repr(pq.read_table(io.BytesIO(data)).to_pydict()) + repr(data)
        else:
            yield name, data.decode()


def traces(lake: Lake, value: str) -> list[str]:
    found = [name for name, text in told_in(lake) if value in text or value in name]
    folders = [] if not isinstance(lake.folder, Path) else [str(p) for p in lake.folder.rglob("*") if value in p.name]
    return found + folders


@pytest.mark.slow
@everywhere
@pytest.mark.parametrize("layout", [["email"], ["truncate(24, email)", "n"], ["bucket(4, email)"]], ids=" ".join)
def test_no_partition_is_named_by_the_subject(lake: Lake, layout: list[str], client: dict[str, str]) -> None:
    history = lake.workspace.history
    value = lake.stage_create("people", people("x").schema, partition_by=layout)
    for start in (0, 10, 20):
        value = lake.stage_append(value, people("ann", SUBJECT, OTHER, None, start=start), name="people")
        history.commit("main", {"tables/people": value}, message="More")
    value = lake.stage_layout(value, partition_by=["n"])
    value = lake.stage_append(value, people("bob", SUBJECT, start=40), name="people")
    history.commit("main", {"tables/people": value}, message="Another layout")
    commits = [c for c in history.log("main") if history.read(c, "tables/people")]
    before = {c.id: rows(lake, c.id) for c in commits}
    assert traces(lake, SUBJECT[:24])
    assert forget(lake.workspace, "people", {"email": SUBJECT}, dry_run=True).rows == 4
    assert forget(lake.workspace, "people", {"email": SUBJECT}).rows == 4
    assert traces(lake, SUBJECT[:24]) == []
    assert traces(lake, OTHER)
    for commit, was in before.items():
        assert rows(lake, commit) == [row for row in was if row[0] != SUBJECT]
        theirs = StaticTable.from_metadata(str(lake.location(state(lake, "people", commit))), client)
        assert theirs.scan().to_arrow().num_rows == len(rows(lake, commit))
        assert theirs.scan(row_filter=f"email = '{OTHER}'").to_arrow().num_rows == sum(r[0] == OTHER for r in was)
    assert check(lake.workspace, deep=True).problems == ()
    lake.append("people", people(SUBJECT, start=90))
    assert [row[0] for row in rows(lake, "main")].count(SUBJECT) == 1


@pytest.mark.slow
def test_folders_that_another_engine_named_go_too(lake: Lake) -> None:
    with served(lake.workspace) as address:
        client = load_catalog("b", type="rest", uri=address, warehouse="main")
        lake.stage_append(None, people("ann"), name="people")
        value = lake.stage_create("people", people("x").schema, partition_by=["email"])
        lake.workspace.history.commit("main", {"tables/people": value}, message="Make")
        table = client.load_table("default.people")
        table.append(people("ann", SUBJECT, OTHER))
        table.append(people(SUBJECT, start=5))
        encoded = SUBJECT.replace("@", "%40")
        assert [name for name, _ in told_in(lake) if encoded in name]
        report = forget(lake.workspace, "people", {"email": SUBJECT})
        assert report.rows == 2
        assert traces(lake, SUBJECT) == traces(lake, encoded) == []
        assert table.refresh().scan().to_arrow().column("email").to_pylist() == ["ann", OTHER]
    log = repr(audit.last(lake.workspace.catalog, 100))
    assert "forget" in log
    assert encoded not in log
    assert SUBJECT not in log


def test_values_that_stand_only_in_partitions_are_refused(lake: Lake) -> None:
    value = lake.stage_create("people", people("x").schema, partition_by=["email"])
    value = lake.stage_append(value, people("ann"), name="people")
    lake.workspace.history.commit("main", {"tables/people": value}, message="Make")
    (file,) = lake.files(value)
    whole: Any = pq.read_table(str(file.path))
    pq.write_table(whole.drop_columns(["email"]), str(file.path))
    with pytest.raises(InputError, match="partitioned by columns that its files do not hold"):
        forget(lake.workspace, "people", {"n": 0})
