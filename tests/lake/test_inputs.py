"""Rows from everything that holds rows, and tables read as streams."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from tests.lake.samples import everything_in, everywhere, names_in, people, state

from bascule.errors import InputError, NotFound
from bascule.lake import Lake, Session, engine

Read = Callable[[str], list[dict[str, Any]]]


def test_pandas_frames_bring_their_columns_and_named_indices(lake: Lake, read: Read) -> None:
    frame = people("ann", "bob", "cyd").to_pandas()
    lake.append("people", frame[frame["id"] != 1])  # its index is where rows stood in another frame: no column
    assert lake.schema(state(lake, "people")).names == ["id", "name", "score"]
    lake.append("people", frame[frame["id"] == 1].set_index("id"))
    assert sorted(names_in(lake, state(lake, "people"), "id")) == [0, 1, 2]
    with pytest.raises(InputError, match="The rows cannot be read"):
        lake.append("people", pd.DataFrame({"id": [1, "x"], "name": ["a", "b"], "score": [1.0, 2.0]}))


def test_categories_are_texts(lake: Lake) -> None:
    names = pa.array(["ann", "bob"]).cast(pa.string_view())
    rows = pa.table({"name": pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.uint32()), names)})
    lake.append("people", rows)
    assert names_in(lake, state(lake, "people")) == ["bob", None, "ann"]


def test_pieces_come_one_after_the_other(lake: Lake) -> None:
    def pieces() -> Iterator[Any]:
        yield people("ann")
        yield people("bob", start=1).to_batches()[0]
        yield people("cyd", "dot", start=2).to_pandas()

    lake.append("people", pieces())
    assert names_in(lake, state(lake, "people")) == ["ann", "bob", "cyd", "dot"]
    with pytest.raises(InputError, match="Piece 2 of the rows has the columns id, name; the first has id, name, score"):
        lake.append("people", iter([people("x"), people("y").drop_columns(["score"])]))
    with pytest.raises(InputError, match="The rows cannot be read"):
        lake.append("people", [people("x"), people("y").set_column(0, "id", pa.array(["no number"]))])
    assert state(lake, "people")["rows"] == 4


@pytest.mark.slow
@everywhere
def test_dicts_are_rows_and_the_table_says_what_they_are(lake: Lake) -> None:
    lake.append("people", [{"id": 0, "name": "ann", "score": 1.5}], key=["id"])
    lake.append("people", ({"id": n, "name": None, "score": n} for n in range(1, 20_000)))
    assert state(lake, "people")["rows"] == 20_000
    assert lake.upsert("people", [{"id": 7, "name": "gus", "score": 0}]).replaced == 1
    lake.append("people", [])
    before = everything_in(lake.folder)
    with pytest.raises(InputError, match=r"Row 2 has 'nmae', which the rows before it lack|have the column 'nmae'"):
        lake.append("people", [{"id": 1, "name": "x", "score": 1.0}, {"id": 1, "nmae": "x", "score": 1.0}])
    rows = ({"id": n if n < 9_000 else "nine", "name": "x", "score": 1.0} for n in range(9_001))
    with pytest.raises(InputError, match=r"Row 9001 has 'nine' in 'id', which is int64"):
        lake.append("people", rows)
    with pytest.raises(InputError, match="Row 8193 has 'extra', which the rows before it lack"):
        lake.append(
            "people", ({"id": n, "name": "x", "score": 1.0} | ({"extra": 1} if n == 8192 else {}) for n in range(8193))
        )
    assert everything_in(lake.folder) == before


@pytest.mark.parametrize("data", [[1, 2], 7, "rows", {"id": [1]}, b"x", [b"x"], None])
def test_what_holds_no_rows_is_refused(lake: Lake, data: Any) -> None:
    with pytest.raises(InputError, match="holds no rows for a table"):
        lake.append("people", data)
    with pytest.raises(InputError, match="says no columns"):
        lake.append("people", iter([]))


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (pa.int64(), 2.0, 1.5),
        (pa.float32(), 1.5, 1e300),
        (pa.date32(), dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, 5)),
        (pa.timestamp("us"), dt.datetime(2026, 1, 1), 1.5),
        (pa.list_(pa.int64()), [1, None], [1, 1.5]),
        (pa.struct([("x", pa.int32())]), {"x": 1}, {"x": 0.5}),
    ],
)
def test_values_in_dicts_are_not_cut(lake: Lake, kind: pa.DataType, good: Any, bad: Any) -> None:
    lake.append("t", pa.table({"v": pa.array([None], kind)}))
    lake.append("t", [{"v": good}, {"v": None}])
    with pytest.raises(InputError, match=r"Row 2 has .* in 'v', which is .* there: it does not fit without a loss"):
        lake.append("t", [{"v": good}, {"v": bad}])
    assert state(lake, "t")["rows"] == 3


def test_what_stops_rows_of_a_sorted_table_is_told_as_of_any_other(lake: Lake) -> None:
    value = lake.stage_create("t", pa.schema([("v", pa.int64())]), sort_by=["v"])
    lake.workspace.history.commit("main", {"tables/t": value}, message="Make t")
    with pytest.raises(InputError, match=r"^Row 2 has 'x' in 'v', which is int64 there") as caught:
        lake.append("t", [{"v": 1}, {"v": "x"}])
    assert "Traceback" not in str(caught.value)
    with pytest.raises(ZeroDivisionError):
        lake.append("t", (people("a") if n else 1 / 0 for n in range(2)))
    assert state(lake, "t")["rows"] == 0


def test_a_query_becomes_a_table(lake: Lake) -> None:
    lake.append("people", people("ann", "bob", "cyd"))
    with Session(lake.workspace) as session:
        lake.append("short", session.sql("select id, upper(name) as name from people where id < 2"))
    assert names_in(lake, state(lake, "short")) == ["ANN", "BOB"]


@pytest.mark.slow
@everywhere
def test_a_table_is_read_as_a_stream(lake: Lake) -> None:
    with engine.opened() as connection:
        lake.append("t", connection.sql("SELECT range AS id, range % 7 AS d FROM range(200000)"))
    value = state(lake, "t")
    reader = lake.read(value, columns=["D", "id"], where="d = 3 -- of the week", between={"id": (700, 7000)})
    assert reader.schema.names == ["d", "id"]
    found = reader.read_all()
    assert found["id"].to_pylist() == [n for n in range(700, 7001) if n % 7 == 3]
    sizes = [batch.num_rows for batch in lake.read(value)]
    assert sum(sizes) == 200_000
    assert max(sizes) < 150_000
    first = lake.read(value).read_next_batch()  # and no more of it
    assert first["id"][0].as_py() == 0
    with pytest.raises(NotFound, match="idd"):
        lake.read(value, columns=["idd"])
    for where in ("nope = 1", "id = 1); drop table x; --", "id in (select 1 from read_text('/etc/hostname'))"):
        with pytest.raises(InputError):
            lake.read(value, where=where).read_all()


def test_columns_are_put_in_another_order(lake: Lake, read: Read) -> None:
    lake.append("people", people("ann"), key=["id"])
    value = lake.stage_columns(state(lake, "people"), order=["score", "NAME"])
    assert lake.schema(value).names == ["score", "name", "id"]
    assert read(lake.scan(value)) == [{"score": 3.0, "name": "ann", "id": 0}]
    assert value["digest"] != state(lake, "people")["digest"]
    value = lake.stage_append(value, people("bob", start=1), name="people")
    assert names_in(lake, value) == ["ann", "bob"]
    with pytest.raises(InputError, match="twice"):
        lake.stage_columns(value, order=["id", "ID"])
    with pytest.raises(NotFound, match="nam"):
        lake.stage_columns(value, order=["nam"])
