"""Rows in every form that people and other servers' clients send: JSON of all shapes, CSV, Arrow, and MLflow's path."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.protocols.openinference.conftest import Served
from tests.serving.conftest import NUMBERS, bundle, flights

ROWS = flights(5, seed=4)
EXPECTED = bundle().predict(ROWS).tolist()
NAMES = ROWS.column_names
RECORDS = ROWS.to_pylist()
LISTS = [list(row.values()) for row in RECORDS]
STREAM = "application/vnd.apache.arrow.stream"
FILE = "application/vnd.apache.arrow.file"
PATHS = ("/v2/models/delays/predict", "/v2/models/delays/invocations")


def probabilities(found: Any) -> list[float]:
    return [one["probability"] for one in found["predictions"]]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        {"instances": RECORDS},
        {"instances": LISTS},
        {"inputs": ROWS.to_pydict()},
        {"inputs": {name: [[value] for value in values] for name, values in ROWS.to_pydict().items()}},
        {"inputs": RECORDS},
        {"inputs": LISTS},
        {"dataframe_records": RECORDS},
        {"dataframe_split": {"columns": NAMES, "data": LISTS, "index": [0, 1, 2, 3, 4]}},
        {"split": {"columns": NAMES, "data": LISTS}},
        {"records": RECORDS},
        {"columns": NAMES, "data": LISTS},
        {"dataframe_records": RECORDS, "params": {"unit": "u1"}},
        RECORDS,
    ],
    ids=lambda body: "list" if isinstance(body, list) else "-".join(body),
)
def test_json_of_all_shapes(server: Served, path: str, body: Any) -> None:
    assert probabilities(server.ask(path, json.dumps(body).encode())) == EXPECTED


def test_one_row_of_single_values(server: Served) -> None:
    found = server.ask(PATHS[1], {"inputs": RECORDS[1]})
    assert probabilities(found) == EXPECTED[1:2]
    assert found["predictions"][0]["prediction_id"].startswith("pred_")


def csv_of(rows: pa.Table) -> bytes:
    lines = [",".join(rows.column_names)]
    lines += [",".join("" if v is None else str(v) for v in row.values()) for row in rows.to_pylist()]
    return "\n".join(lines).encode()


def test_csv_in_and_out(server: Served) -> None:
    found = server.ask(PATHS[1], csv_of(ROWS), content_type="text/csv; charset=utf-8")
    assert probabilities(found) == EXPECTED
    status, headers, body = server.request(PATHS[0], csv_of(ROWS), content_type="text/csv", accept="text/csv")
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    lines = [line.split(",") for line in body.decode().splitlines()]
    assert lines[0] == ["prediction_id", "probability", "label"]
    assert [float(line[1]) for line in lines[1:]] == EXPECTED
    _, _, body = server.request("/v2/models/three/predict", csv_of(ROWS), content_type="text/csv", accept="text/csv")
    assert body.splitlines()[0] == b"prediction_id,probability_early,probability_late,probability_on time,label"


def stream_of(table: pa.Table, begin: Any = pa.ipc.new_stream, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with begin(sink, table.schema, **options) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def file_of(table: pa.Table, **options: Any) -> bytes:
    return stream_of(table, pa.ipc.new_file, **options)


def read(body: bytes) -> pa.Table:
    return pa.ipc.open_stream(body).read_all()


def test_arrow_in_and_out(server: Served) -> None:
    as_category = ROWS.set_column(3, "carrier", ROWS["carrier"].dictionary_encode())
    for table in (ROWS, as_category):
        status, headers, body = server.request(PATHS[0], stream_of(table), content_type=STREAM)
        assert (status, headers["content-type"]) == (200, STREAM)
        assert read(body)["probability"].to_pylist() == EXPECTED
        assert read(body).column_names == ["prediction_id", "probability", "label"]
        status, headers, body = server.request(PATHS[0], file_of(table), content_type=FILE)
        assert (status, headers["content-type"]) == (200, STREAM)
        assert read(body)["probability"].to_pylist() == EXPECTED
    assert (
        probabilities(server.ask(PATHS[0], stream_of(ROWS), content_type=STREAM, accept="application/json")) == EXPECTED
    )
    _, _, three = server.request("/v2/models/three/predict", stream_of(ROWS), content_type=STREAM)
    assert read(three)["probability"].to_pylist() == bundle("multiclass").predict(ROWS).tolist()
    numbers = pa.table({field.name: np.random.default_rng(2).normal(size=300) for field in NUMBERS})
    _, _, body = server.request("/v2/models/numbers/predict", stream_of(numbers), content_type=STREAM)
    assert read(body)["probability"].to_pylist() == bundle(fields=NUMBERS).predict(numbers).tolist()
    _, _, body = server.request("/v2/models/amount/predict", {"instances": RECORDS}, accept=STREAM)
    assert read(body).column_names == ["prediction_id", "value"]


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ({"instances": [[1, 2]]}, "", "Row 0 has 2 values; the model takes 4 columns"),
        ({"instances": [LISTS[0], LISTS[0][:3]]}, "", "Row 1 of the data has 3 values"),
        ({"instances": [LISTS[0], RECORDS[0]]}, "", "Row 1 is an object"),
        ({"instances": [5]}, "", "Row 0 has 1 value; the model takes 4 columns"),
        ({"inputs": {"hour": [1, 2], "night": [True]}}, "", "'night' has 1 values; 'hour' has 2"),
        ({"inputs": RECORDS, "instances": RECORDS}, "", "in 2 forms"),
        ({"instances": RECORDS, "params": {"temperature": 1}}, "", "no parameter 'temperature'"),
        ({"instances": []}, "", "no rows"),
        ({}, "", "in 0 forms"),
        (b"", "text/csv", "no rows"),
        (b"\xff", "text/csv", "not UTF-8"),
        (b'hour\n"1', "text/csv", "not CSV"),
        (b"distance,hour,night,carrier\n1,2,true", "text/csv", "Row 0 of the data has 3 values"),
        (b"distance,hour,night,carrier\n1,2,true,UA\n1,x,true,UA", "text/csv", "'hour' has 'x' in row 1"),
        (b"distance,hour,night,carrier\n1,2,maybe,UA", "text/csv", "'night' has 'maybe' in row 0"),
        (b"distance,hour,night\n1,2,true", "text/csv", "no column 'carrier'"),
        (b"", STREAM, "no Arrow stream"),
        (b"ARROW1\0\0", FILE, "no Arrow stream"),
        (file_of(ROWS)[:200], FILE, "no Arrow stream"),
        (file_of(ROWS, options=pa.ipc.IpcWriteOptions(compression="lz4")), FILE, "compressed buffers"),
        (stream_of(ROWS)[:-40], STREAM, "Arrow stream"),
        (stream_of(ROWS, options=pa.ipc.IpcWriteOptions(compression="zstd")), STREAM, "compressed buffers"),
        (stream_of(ROWS.append_column("x", pa.array([[1]] * 5))), STREAM, "'x' is list<"),
        (stream_of(flights(10_001)), STREAM, "more than 10,000 rows"),
    ],
)  # fmt: skip
def test_what_is_no_rows_is_told(server: Served, body: Any, kind: str, text: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = server.ask(PATHS[1], data, 400, **({"content_type": kind} if kind else {}))
    assert text in found["error"]


def test_the_path_without_a_name_asks_the_only_model(server: Served, tmp_path: Any) -> None:
    assert "there are 5: amount, delays" in server.ask("/invocations", {"instances": RECORDS}, 400)["error"]
    assert server.ask("/ping") == server.ask("/health") == {"ready": True}
    from bascule.history import Workspace
    from tests.protocols.openinference.conftest import serving
    from tests.serving.conftest import bundle_bytes, put_deployment, put_versions

    ws = Workspace.create(tmp_path / "one")
    put_versions(ws, {1: bundle_bytes(seed=0)})
    put_deployment(ws, {1: 100})
    with serving(ws) as alone:
        assert probabilities(alone.ask("/invocations", {"dataframe_records": RECORDS})) == EXPECTED
        assert probabilities(alone.ask("/branch/main/invocations", csv_of(ROWS), content_type="text/csv")) == EXPECTED
    ws.close()


GOOD = stream_of(ROWS)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=8), st.integers(1, len(GOOD)))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_arrow_bytes_harm_the_server(server: Served, changes: list[tuple[int, int]], length: int) -> None:
    bad = bytearray(GOOD)
    for place, value in changes:
        bad[place] = value
    status, _, body = server.request(PATHS[0], bytes(bad[:length]), content_type=STREAM)
    assert status in (200, 400), body


@given(st.text(alphabet='",\n\rahour0129.-e distancenightcarrierUA\x00', max_size=80))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_csv_harms_the_server(server: Served, text: str) -> None:
    body = b"distance,hour,night,carrier\n" + text.encode()
    assert server.request(PATHS[0], body, content_type="text/csv")[0] in (200, 400)


def test_sizes_that_lie_in_an_arrow_stream(server: Served) -> None:
    for size in (-1, 2**31 - 1, 7):
        body = struct.pack("<ii", -1, size) + GOOD[8:]
        assert server.request(PATHS[0], body, content_type=STREAM)[0] == 400


def test_what_pandas_writes_beside_the_rows_is_left_out(server: Served) -> None:
    frame = ROWS.to_pandas()
    frame.index += 7
    told = json.loads(frame.to_json(orient="split"))
    assert set(told) == {"columns", "index", "data"}
    assert probabilities(server.ask(PATHS[0], told)) == EXPECTED
    assert probabilities(server.ask(PATHS[0], frame.to_csv().encode(), content_type="text/csv")) == EXPECTED
    frame.index = [4, 1, 7, 8, 9]
    table = pa.Table.from_pandas(frame)
    assert table.column_names[-1] == "__index_level_0__"
    _, _, body = server.request(PATHS[0], stream_of(table), content_type=STREAM)
    assert read(body)["probability"].to_pylist() == EXPECTED
    assert "column ''" in server.error(PATHS[0], {"instances": [{**RECORDS[0], "": 1}]})
