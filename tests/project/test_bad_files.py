"""Files that cannot be used: each is refused with the file, the line and the value, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.history import Workspace
from tests.project.parcels import HEAD, csv, write

pytestmark = pytest.mark.slow

Bascule = Callable[..., Any]

ROW = ("p1", "north", "2025-05-01T08:00:00Z", "2025-05-01T09:00:00Z", 12.5, 3.5, 4)
GOOD = csv(HEAD, [ROW])


def changed(column: str, value: object, name: str = "p2") -> str:
    """Return a batch of two rows whose second has another value in a column."""
    row = dict(zip(HEAD, ROW, strict=True)) | {"order_id": name, column: value}
    return csv(HEAD, [ROW, tuple(row.values())])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("", ("data/orders/3.csv is empty", "Give a file with a header and rows"), id="empty"),
        pytest.param("\n\n", ("data/orders/3.csv is empty",), id="blank"),
        pytest.param(csv(HEAD, []), ("data/orders/3.csv has a header and no rows",), id="header only"),
        pytest.param(
            GOOD.encode().replace(b"north", b"n\xfcrt\x90\xffh"),  # no words in any encoding
            ("data/orders/3.csv:2: this is not UTF-8 text (byte 0xfc)", "--option encoding=cp1252", "iconv"),
            id="not UTF-8",
        ),
        pytest.param(
            GOOD + "p2,north,2025-05-01T08:00:00Z\n",
            ("data/orders/3.csv:3: the header names 7 columns, this line has 3", "p2,north", "Repair the lines"),
            id="short line",
        ),
        pytest.param(
            GOOD + GOOD.splitlines()[1].replace("p1", "p2") + ",8,9\n",
            ("data/orders/3.csv:3: the header names 7 columns, this line has 9", "Repair the lines"),
            id="long line",
        ),
        pytest.param(
            changed("ordered_at", "yesterday"),
            ("data/orders/3.csv:3: column 'ordered_at' is TIMESTAMP", "cannot hold 'yesterday'", "repair it"),
            id="unparsable time",
        ),
        pytest.param(
            changed("delivered_at", "2025-13-45T00:00:00Z"),
            ("data/orders/3.csv:3: column 'delivered_at'", "cannot hold '2025-13-45T00:00:00Z'"),
            id="impossible time",
        ),
        pytest.param(
            changed("distance", "far"),
            ("data/orders/3.csv:3: column 'distance' is DOUBLE and cannot hold 'far'", "give it a new name"),
            id="changed type",
        ),
        pytest.param(
            changed("minutes_late", "4.5"),
            ("data/orders/3.csv:3: column 'minutes_late' is BIGINT and cannot hold '4.5'",),
            id="changed unit",
        ),
        pytest.param(GOOD.replace("weight", "distance"), ("two columns are named 'distance'",), id="doubled column"),
        pytest.param(csv(ROW, [ROW]), ("3.csv:1: the first line does not name the columns",), id="no header"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    trained: Path, refused: Callable[..., Any], bascule: Bascule, content: str | bytes, words: tuple[str, ...]
) -> None:
    batch = write(trained / "data/orders/3.csv", content)
    said = refused("run", code=2, words=words)
    assert str(trained) not in said.err.replace(str(batch), "")

    write(batch, GOOD)
    assert bascule("ingest", "orders", batch).code == 0
    assert rows_of(trained) == 2401


@pytest.mark.parametrize(
    ("header", "words"),
    [
        pytest.param("distance", ("distance: column", "found  missing", "critical check"), id="vanished"),
        pytest.param("distanze", ("distance: column", "distanze is new and looks like it"), id="renamed"),
    ],
)
def test_a_column_of_the_contract_that_vanished_is_refused(
    trained: Path, refused: Callable[..., Any], header: str, words: tuple[str, ...]
) -> None:
    names = [name for name in HEAD if name != "distance"] + ([header] if header != "distance" else [])
    values = dict(zip(HEAD, ROW, strict=True))
    write(trained / "data/orders/3.csv", csv(names, [[values.get(name, 12.5) for name in names]]))
    said = refused("run", code=1, words=("The batch is not merged into 'main'", "'main' is unchanged", *words))
    assert "bascule sql --at ingest/orders-" in said.err
    assert rows_of(trained) == 2400


def test_doubled_keys_are_refused_with_the_rows(trained: Path, refused: Callable[..., Any]) -> None:
    write(trained / "data/orders/3.csv", csv(HEAD, [ROW, ROW, ("o000-00", *ROW[1:])]))
    refused("run", code=1, words=("The batch is not merged into 'main'", "order_id", "p1", "o000-00"))


def test_a_missing_file_is_named(trained: Path, refused: Callable[..., Any]) -> None:
    (trained / "data/weather.csv").rename(trained / "data/wether.csv")
    refused("run", code=2, words=("data/weather.csv", "Did you mean", "data/wether.csv"))
    refused("ingest", "weather", "data/snow/*.csv", code=2, words=("data/snow/*.csv",))


def test_a_first_file_that_cannot_be_read_leaves_no_table(parcels: Path, bascule: Bascule) -> None:
    write(parcels / "data/orders/2.csv", b"")
    said = bascule("run")
    assert said.code == 2
    assert "data/orders/2.csv is empty" in said.err
    workspace = Workspace.open(parcels)
    assert workspace.history.digests("main", "tables/") == {}
    assert list(workspace.lake_folder.glob("*")) == []
    workspace.close()


def test_an_error_with_json_is_one_document(trained: Path, bascule: Bascule) -> None:
    write(trained / "data/orders/3.csv", changed("depot", "moon"))
    said = bascule("run", "--json")
    assert said.code == 1
    document = said.json()
    assert document["kind"] == "CheckFailed"
    assert [row["sample"] for row in document["details"] if row["column"] == "depot"]


def rows_of(folder: Path) -> int:
    workspace = Workspace.open(folder)
    rows = workspace.history.get("main", "tables/orders")["rows"]
    workspace.close()
    return int(rows)
