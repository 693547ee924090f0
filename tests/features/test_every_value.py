"""Values of every kind through every path: each plan of the join, each store, JSON, Arrow and the join in a request."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bascule.errors import InputError
from bascule.features import (
    Entity,
    FeatureSet,
    FeatureView,
    OnlineReader,
    RequestView,
    build_feature_set,
    cells,
    latest,
    materialise,
    open_online,
    point_in_time,
    training_rows,
)
from bascule.features.online.vectors import VectorReader
from bascule.protocols.openinference.features import Features
from bascule.serving.http import Request
from bascule.serving.http.message import Response
from bascule.serving.joining import Joiner

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.just("long \0é" * 3000)
KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "double": (pa.float64(), st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324])),
    "single": (pa.float32(), st.floats(width=32)),
    "whole": (pa.int64(), INT64 | st.sampled_from([2**53 + 1, -(2**63)])),
    "most": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "tiny": (pa.int8(), st.integers(-128, 127)),
    "zoned": (pa.timestamp("us", "UTC"), st.datetimes().map(lambda t: t.replace(tzinfo=UTC))),
    "plain": (pa.timestamp("us"), st.datetimes()),
    "day": (pa.date32(), st.dates()),
    "yes": (pa.bool_(), st.booleans()),
    "words": (pa.string(), TEXTS),
}
ROWS = st.lists(
    st.tuples(INT64, TEXTS, st.fixed_dictionaries({n: st.none() | kind for n, (_, kind) in KINDS.items()})),
    min_size=1,
    max_size=4,
    unique_by=lambda row: row[:2],
)
EDGES = {
    "double": math.nan,
    "single": math.inf,
    "whole": 2**53 + 1,
    "most": 2**64 - 1,
    "tiny": -128,
    "zoned": datetime(1, 1, 1, tzinfo=UTC),
    "plain": datetime.max,
    "day": date.max,
    "yes": False,
    "words": "",
}
AT = datetime(2024, 1, 1)
ARROW = b"application/vnd.apache.arrow.stream"
SPINE = "SELECT k, name, TIMESTAMP '2024-01-01' AS t FROM asked"
PAIR = Entity("pair", ("k", "name"))
VIEW = FeatureView(name="v", entity="pair", sql="SELECT * FROM events", event_time="happened")


def told(values: Any) -> str:
    """NaN and -0.0 are told apart from all others, and types from each other; UTC by whichever name is UTC."""
    return repr(values).replace("zoneinfo.ZoneInfo(key='UTC')", repr(UTC))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # where Hypothesis throws away a row
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
@example(rows=[(-(2**63), "a\0", EDGES), (2**53 + 1, "", dict.fromkeys(KINDS))])
def test_values_of_every_kind_are_the_same_on_every_path(rows: Any, tmp_path_factory: Any, valkey: str) -> None:
    folder = tmp_path_factory.mktemp("online")
    schema = pa.schema(
        {"k": pa.int64(), "name": pa.string(), "happened": pa.timestamp("us")}
        | {name: kind for name, (kind, _) in KINDS.items()}
    )
    given = [{"k": k, "name": name, "happened": AT - timedelta(hours=1), **values} for k, name, values in rows]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        connection.register("given", pa.Table.from_pylist(given, schema))
        connection.execute("CREATE TABLE events AS FROM given")
        connection.execute("CREATE TABLE asked AS SELECT k, name FROM given")
        made = build_feature_set(
            connection, name="s", entities=[PAIR], views=[VIEW], population=SPINE, prediction_time="t"
        )
        expected = {name: [row[name] for row in pa.Table.from_pylist(given, schema).to_pylist()] for name in KINDS}
        for plan in plans():
            with plan:
                table = training_rows(connection, made, SPINE).to_arrow_table()
            found = {name: zone_less(table.column(f"v__{name}")) for name in KINDS}
            assert told(found) == told(expected)
        keys = {"k": [row["k"] for row in given], "name": [row["name"] for row in given]}
        for place in (str(folder), f"{valkey}?prefix={folder.name}"):
            with_store(connection, made, place, keys, expected)


def with_store(connection: Any, made: FeatureSet, place: str, keys: Any, expected: Any) -> None:
    store = open_online(place)
    materialise(connection, made, store)
    reader = VectorReader(store, ["v"])
    server: Any = SimpleNamespace(known=lambda *_: reader, reader=lambda *_: reader, far=False)
    body = {"features": ["v"], "entities": keys, "at": "2024-01-01T02:00:00+02:00"}
    table = pa.ipc.open_stream(ask(server, body, ARROW)).read_all()
    assert told({name: table.column(name).to_pylist() for name in KINDS}) == told(expected)
    assert told(table.column("k").to_pylist()) == told(keys["k"])
    said = json.loads(ask(server, body, b""))
    found = {name: one["values"] for name, one in zip(said["metadata"]["feature_names"], said["results"], strict=True)}
    assert found["k"] == keys["k"]
    assert told({name: [of_json(name, value) for value in found[name]] for name in KINDS}) == told(expected)
    joiner = Joiner(made.columns, "t", PAIR.keys, OnlineReader(made, store))
    inputs, _ = joiner.join({**keys, "t": ["2024-01-01T02:00:00+02:00"] * len(keys["k"])}, len(keys["k"]), 0)
    columns = dict(zip(made.features, zip(*inputs, strict=True), strict=True))
    assert told({name: list(columns[f"v__{name}"]) for name in KINDS}) == told(expected)


def test_numbers_that_json_lacks_are_keys_as_answers_write_them(tmp_path: Any) -> None:
    with duckdb.connect() as connection:
        rows = "('nan'::DOUBLE, 1), ('inf', 2), ('-inf', 3), (0.0, 4)"
        connection.execute(
            f"CREATE TABLE events AS SELECT *, TIMESTAMP '2024-01-01' AS at FROM (VALUES {rows}) t(k, v)"
        )
        connection.execute("CREATE TABLE asked AS SELECT k, TIMESTAMP '2024-01-02' AS t FROM events")
        made = build_feature_set(
            connection,
            name="s",
            entities=[Entity("spot", ("k",))],
            views=[FeatureView(name="v", entity="spot", sql="SELECT * FROM events", event_time="at")],
            population="FROM asked",
            prediction_time="t",
        )
        store = open_online(str(tmp_path))
        materialise(connection, made, store)
    reader = VectorReader(store, ["v"])
    server: Any = SimpleNamespace(known=lambda *_: reader, reader=lambda *_: reader, far=False)
    keys = ["NaN", "Infinity", "-Infinity", -0.0]
    said = json.loads(ask(server, {"features": ["v"], "entities": {"k": keys}, "at": "2024-01-02T00:00:00Z"}, b""))
    assert [one["values"] for one in said["results"]] == [keys, [1, 2, 3, 4]]
    with pytest.raises(InputError, match="should be a number and is 'nan'"):
        reader.read({"k": ["nan"]}, 0)


def ask(server: Any, body: Any, accept: bytes, sent: bytes = b"application/json") -> bytes:
    headers = {b"content-type": sent, b"accept": accept}
    body = body if sent == ARROW else json.dumps(body).encode()
    answer = Features(server, None).answer(Request(b"POST", b"/get-online-features?features=v", headers, body), "main")
    assert isinstance(answer, Response)
    return bytes(answer.body)


def of_json(name: str, value: Any) -> Any:
    """What a client makes of JSON that knows the type."""
    if value is None:
        return None
    kind = KINDS[name][0]
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_timestamp(kind):
        return datetime.fromisoformat(value) if name == "plain" else datetime.fromisoformat(value).astimezone(UTC)
    return date.fromisoformat(value) if pa.types.is_date(kind) else value


def zone_less(column: Any) -> list[Any]:
    if pa.types.is_timestamp(column.type) and column.type.tz:
        return list(column.cast(pa.timestamp("us", "UTC")).to_pylist())
    return list(column.to_pylist())


def plans() -> list[Any]:
    """Every way a set is joined: in memory with one reading or two, by cells, and by the engine."""

    @contextmanager
    def patched(*changes: tuple[Any, str, Any]) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for where, name, value in changes:
                patch.setattr(where, name, value)
            yield

    engine = (point_in_time, "latest_rows", lambda *_: None)
    few = ((cells, "MANY_ROWS", 0), (cells, "ROWS_AN_EXAMPLE", 0))
    return [patched(), patched((latest, "FEW_ROWS", 0)), patched(engine), patched(engine, *few)]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("amount", 2**53 + 1),
        ("number", 2.0**60),
        ("number", True),
        ("yes", "true"),
        ("number", float(2**53)),
        ("number", 2**64),
        ("seen", "0001-01-01T00:00:00+14:00"),
        ("seen", "9999-12-31T23:59:59-14:00"),
    ],
)
def test_values_that_a_request_would_change_are_refused_by_name(tmp_path: Any, column: str, value: Any) -> None:
    kinds = {"number": "BIGINT", "amount": "DOUBLE", "seen": "TIMESTAMPTZ", "yes": "BOOLEAN"}
    with duckdb.connect() as connection:
        asked = "SELECT " + ", ".join(f"NULL::{kind} AS {name}" for name, kind in kinds.items())
        connection.execute(f"CREATE TABLE asked AS {asked}, now()::TIMESTAMP AS t")
        request = RequestView("asked", {f"{name}_given": name for name in kinds})
        made = build_feature_set(
            connection, name="s", entities=[], views=[], request=request, population="FROM asked", prediction_time="t"
        )
    reader = OnlineReader(made, open_online(str(tmp_path / "online")))
    row = {**dict.fromkeys(kinds), column: value}
    with pytest.raises(InputError, match=f"'{column}'"):
        reader.read([row], [0])
    with pytest.raises(InputError, match=column):
        Joiner(made.columns, "t", (), reader).join({name: [one] for name, one in row.items()}, 1, 0)


def test_keys_that_come_as_arrow_are_answered_or_refused_by_name(tmp_path: Any) -> None:
    def answer(kind: str, keys: Any, arrow: bool = False) -> Any:
        with duckdb.connect() as connection:
            connection.execute(f"CREATE TABLE events AS SELECT NULL::{kind} AS k, now()::TIMESTAMP AS happened, 1 AS a")
            connection.execute("CREATE TABLE asked AS SELECT k, happened AS t FROM events")
            view = FeatureView(name="v", entity="one", sql="SELECT * FROM events", event_time="happened")
            settled = {"entities": [Entity("one", ("k",))], "views": [view], "prediction_time": "t"}
            made = build_feature_set(connection, name="s", population="FROM asked", **settled)
            store = open_online(str(tmp_path / kind))
            materialise(connection, made, store)
        reader, body = VectorReader(store, ["v"]), pa.BufferOutputStream()
        server: Any = SimpleNamespace(known=lambda *_: reader, reader=lambda *_: reader, far=False)
        table = pa.table({"k": keys})
        with pa.ipc.new_stream(body, table.schema) as out:
            out.write_table(table)
        found = ask(server, body.getvalue().to_pybytes(), ARROW if arrow else b"", ARROW)
        if arrow:
            return pa.ipc.open_stream(found).read_all().column("k").to_pylist()
        return json.loads(found)["results"][0]["values"]

    big, nanos = pa.array([2**64 - 1, None], pa.uint64()), pa.timestamp("ns")
    assert answer("UBIGINT", big, arrow=True) == answer("UBIGINT", big) == [2**64 - 1, None]
    assert answer("DOUBLE", pa.array([math.nan, math.inf])) == ["NaN", "Infinity"]
    assert answer("TIMESTAMP", pa.array([1000], nanos)) == ["1970-01-01T00:00:00.000001"]
    assert answer("TIMESTAMP", pa.array([1000], nanos), arrow=True) == [datetime(1970, 1, 1, 0, 0, 0, 1)]
    for odd in (pa.array([1001], nanos), pa.array([2**62], pa.timestamp("us")), pa.array([2**31 - 1], pa.date32())):
        with pytest.raises(InputError, match="'k'"):
            answer("TIMESTAMP", odd)
