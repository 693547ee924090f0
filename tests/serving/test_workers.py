"""Models in workers, and the steps around them: what waits goes together, and what breaks is told and replaced."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import textwrap
import threading
import weakref
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from bascule.errors import InputError
from bascule.history import Workspace
from bascule.serving.awaiting import Awaiting
from bascule.serving.engines import kernel
from bascule.serving.engines.forest import pack_forest
from bascule.serving.engines.reading import forest_of
from bascule.serving.graph import GraphRunner, sources
from bascule.serving.loading import Loader
from bascule.serving.log import find_prediction, unmoved
from bascule.serving.runtime import warm
from bascule.serving.service import Service
from bascule.serving.workers import Lane, Program
from bascule.serving.workers.child import StepFailed, WorkerSlow
from bascule.serving.workers.job import PREDICT, Job
from bascule.serving.workers.spare import MOST, SPARE, Spare
from bascule.training import encode
from tests.protocols.openinference.conftest import Served, serving, worker
from tests.serving.conftest import bundle, bundle_bytes, flights, put_deployment, put_versions
from tests.serving.servers import Client, post
from tests.serving.test_dataplane import eventually

STEPS = """
import os, sys, time
from words import CARRIERS

def clean(rows):
    for row in rows:
        if not row["text"] and not row.get("photo"):
            raise ValueError("there is no text")
    texts = [row["text"] or row["photo"].removeprefix(b"\\xff").decode() for row in rows]
    return [{"distance": float(len(one)), "hour": 3, "night": True, "carrier": CARRIERS[one[:2]]} for one in texts]

def after(rows, outputs):
    carrier = rows[0]["carrier"]
    if any(row["carrier"] == "crash" for row in rows):
        os._exit(3)
    if any(row["carrier"] == "hang" for row in rows):
        time.sleep(60)
    if any(row["carrier"] == "shape" for row in rows):
        return [[1.0, 2.0]]
    if any(row["carrier"] == "fail" for row in rows):
        raise KeyError("nobody")
    if any(row["carrier"] == "leak" for row in rows):
        kept.append(b"x" * 300_000_000)
    if any(row["carrier"] == "slow" for row in rows):
        time.sleep(0.3)
    if carrier in ("nan", "none"):
        return [*outputs[:-1], float(carrier) if carrier == "nan" else None]
    if carrier == "seven":
        return [*outputs[:-1], 7]
    return [0.5 + output / 2 for output in outputs]

kept = []

def odd(rows):
    found = {"big": 10 ** 30, "complex": 1j, "list": [1.0]}[rows[0]["carrier"]]
    return [{**row, "distance": found} for row in rows]

def route(rows):
    return ["other" if row["night"] else "delays" for row in rows]

def stray(rows):
    return ["nobody" for _ in rows]

def mean(rows, outputs):
    return [(a + b) / 2 for a, b in zip(outputs["delays"], outputs["other"])]
"""
MEAN = b"""
def mean(rows, outputs):
    return [(a + b) / 2 for a, b in zip(outputs["delays"], outputs["other"])]
"""
ROW = {"distance": 500.0, "hour": 3, "night": True, "carrier": "AA"}


def put_graph(ws: Workspace, name: str, service: dict[str, Any] | None = None, **graph: Any) -> None:
    """Deploy version 1 of `delays` with steps around it, as a model of its own."""
    code = ws.store.put(
        msgspec.msgpack.encode({"steps.py": STEPS.encode(), "words.py": b"CARRIERS = {'aa': 'AA', 'ua': 'UA'}"})
    )
    put_versions(ws, {1: bundle_bytes(seed=0)}, model=name)
    found = ws.history.get("main", f"models/{name}")
    entry = {**found["versions"]["1"], "graph": {**graph, "code": code}} if graph else found["versions"]["1"]
    put_deployment(ws, {1: 100}, name=name, model=name)
    deployment = ws.history.get("main", f"deployments/{name}")
    changed = {
        f"models/{name}": {**found, "versions": {"1": entry}},
        f"deployments/{name}": {**deployment, "service": service or {}},
    }
    ws.history.commit("main", changed, message="Steps")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    ws = Workspace.create(tmp_path_factory.mktemp("workers"))
    put_versions(ws, {1: bundle_bytes(seed=0)})
    put_deployment(ws, {1: 100})
    put_graph(ws, "worked", {"workers": 1, "timeout": 4.0, "queue": 2, "memory": 380_000_000}, after="steps:after")
    put_graph(ws, "tight", {"workers": 1, "timeout": 0.5, "batch": 1}, after="steps:after")
    put_graph(ws, "odd", {"workers": 1}, before="steps:odd")
    put_graph(ws, "text", {"cache": 4}, before="steps:clean", takes={"text": "varchar", "photo": "blob"})
    with serving(ws) as made:
        yield made
    ws.close()


@pytest.mark.slow
def test_a_process_that_waits_takes_the_place_of_one_that_is_lost() -> None:
    row = encode(bundle(seed=0).signature, flights(1))
    with closing(Lane(Program("delays", 1, bundle_bytes(seed=0)), Service(workers=1))) as lane:
        before = lane.ask(Job("predict", 1, row))
        eventually(lambda: SPARE.pid is not None)
        (worker,), spare = lane.pids, SPARE.pid
        os.kill(worker, signal.SIGKILL)
        assert lane.ask(Job("predict", 1, row)) == before
        assert lane.pids == [spare]
        eventually(lambda: SPARE.pid not in (None, spare))  # and another one waits
        os.kill(SPARE.pid or 0, signal.SIGKILL)  # one that is lost while it waits harms nobody
        os.kill(lane.pids[0], signal.SIGKILL)
        assert lane.ask(Job("predict", 1, row)) == before


@pytest.mark.slow
def test_a_worker_with_a_bound_takes_no_process_that_imported_more() -> None:
    spare = Spare()
    spare.hold()
    spare.want(["pandas", "of nobody"])
    eventually(lambda: spare.pid is not None)
    assert spare.take(frozenset({"lightgbm"})) is None
    held = spare.take(frozenset({"lightgbm", "pandas"}))
    assert held is not None
    assert held.libraries == {"pandas"}
    held.close()
    spare.want([])
    eventually(lambda: spare.pid is not None)
    spare.release()  # the last user
    assert spare.pid is None


@pytest.mark.slow
def test_as_many_processes_wait_as_were_lost_together_and_later_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bascule.serving.workers.spare.KEPT_S", 0.5)
    spare = Spare()
    spare.hold()
    spare.want([], 2)
    eventually(lambda: len(spare._ready) == 2)
    first, second = spare._ready
    spare.want([], 2)  # they are there
    assert spare.take() is first
    spare.want([], 99)
    eventually(lambda: len(spare._ready) == MOST)
    eventually(lambda: len(spare._ready) == 1)  # nobody wanted any for a while
    assert spare.pid == second.process.pid
    assert second.code() is None
    spare.release()
    assert spare._ready == []
    eventually(lambda: second.code(0.1) is not None)
    first.close()


@pytest.mark.slow
def test_after_a_loss_each_worker_of_a_version_has_a_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(SPARE, "want", lambda libraries, count=1: asked.append(count))
    row = encode(bundle(seed=0).signature, flights(1))
    with closing(Lane(Program("delays", 1, bundle_bytes(seed=0)), Service(workers=2))) as lane:
        assert asked == [1, 1]
        lane._patience.lost()
        os.kill(lane.pids[0], signal.SIGKILL)
        while len(asked) < 3:  # a worker that nobody asks is not known to be gone
            lane.ask(Job("predict", 1, row))
        assert asked[2] == 2


def asked(server: Served, name: str, rows: list[dict[str, Any]], status: int = 200) -> Any:
    return server.ask(f"/v2/models/{name}/predict", {"instances": rows}, status)


def probabilities(server: Served, name: str, *rows: dict[str, Any]) -> list[float]:
    return [one["probability"] for one in asked(server, name, list(rows))["predictions"]]


def back(server: Served, name: str = "worked") -> None:
    """Wait until the worker that took another's place answers."""
    eventually(lambda: server.request(f"/v2/models/{name}/predict", {"instances": [ROW]})[0] == 200)


@pytest.mark.slow
def test_a_worker_answers_what_the_process_itself_would(server: Served) -> None:
    rows = [{**ROW, "distance": float(at)} for at in range(300)]
    plain = probabilities(server, "delays", *rows)
    assert probabilities(server, "worked", *rows) == [0.5 + one / 2 for one in plain]
    assert probabilities(server, "worked", rows[7]) == [0.5 + plain[7] / 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("carrier", "status", "said"),
    [
        ("crash", 500, "its worker ended with code 3; another one takes its place"),
        ("hang", 504, "its worker did not answer in 4 s and was ended; another one takes its place"),
        ("shape", 500, "the step 'steps:after' answered the shape [1, 2]; asked is the shape [1]"),
        ("fail", 500, "the step 'steps:after' failed: KeyError: 'nobody'"),
        (
            "nan",
            500,
            "the step 'steps:after' answered nan for row 0; asked is a finite number (a ValueError refuses rows)",
        ),
        (
            "seven",
            500,
            "the step 'steps:after' answered 7 for row 0; asked is a probability, from 0 to 1 "
            "(other numbers are a regression's)",
        ),
        (
            "none",
            500,
            "the step 'steps:after' answered nan for row 0; asked is a finite number (a ValueError refuses rows)",
        ),
    ],
)
def test_what_breaks_is_named_logged_and_replaced(server: Served, carrier: str, status: int, said: str) -> None:
    error = asked(server, "worked", [{**ROW, "carrier": carrier}], status)["error"]
    assert error == f"Version 1 of model 'worked' failed: {said}"
    back(server)
    assert probabilities(server, "worked", ROW) == [0.5 + probabilities(server, "delays", ROW)[0] / 2]


@pytest.mark.slow
@pytest.mark.parametrize("carrier", ["big", "complex", "list"])
def test_what_a_first_step_makes_ends_no_worker(server: Served, carrier: str) -> None:
    lane = server.plane.state().deployments["odd"].models[1].lane  # type: ignore[union-attr]
    assert lane is not None
    if carrier == "list":
        assert "'distance' needs a number" in asked(server, "odd", [{**ROW, "carrier": carrier}], 400)["error"]
    else:
        error = asked(server, "odd", [{**ROW, "carrier": carrier}], 500)["error"]
        assert "the step 'steps:odd' made what no column holds: " in error
    assert lane.restarts == 0


@pytest.mark.slow
def test_rows_that_a_worker_refuses_are_counted_as_failures_as_others_are(server: Served) -> None:
    def failures(name: str) -> int:
        found: int = server.ask(f"/v2/models/{name}/stats")["model_stats"][0]["inference_stats"]["fail"]["count"]
        return found

    rows: dict[str, tuple[dict[str, Any], str]] = {
        "text": ({"text": ""}, "there is no text"),  # its first step
        "delays": ({**ROW, "hour": "late"}, "hour"),
    }
    for name, (row, told) in rows.items():
        for count in (1, 200):
            before = failures(name)
            assert told in asked(server, name, [row] * count, 400)["error"]
            assert failures(name) == before + 1
    large = [{**ROW, "hour": "late"}] * 3_000  # is read in a thread
    before = failures("delays")
    asked(server, "delays", large, 400)
    assert failures("delays") == before + 1


@pytest.mark.slow
def test_rows_that_hang_together_hold_up_others_and_their_worker_for_the_time_of_one_answer() -> None:
    code = {"steps.py": STEPS.encode(), "words.py": b"CARRIERS = {}"}
    matrix = encode(bundle().signature, flights(1, seed=1))

    def put(carrier: str) -> Job:
        columns = {name: [value] for name, value in {**ROW, "carrier": carrier}.items()}
        job = Job(PREDICT, 1, matrix, columns, future=Future())
        lane.put(job)
        return job

    program = Program("x", 1, bundle_bytes(), {"after": "steps:after"}, {}, code)
    with closing(Lane(program, Service(workers=1, timeout=6.0, batch=32))) as lane:
        for kinds, most in ((["hang", "hang", "AA"], 3), (["hang"] * 10, 8)):
            slow, lost = put("slow"), lane.restarts
            eventually(lambda: not lane._waiting)
            jobs = [put(one) for one in kinds]  # they wait for the first one, and go together
            told = [job.future.exception(20) for job in jobs]  # type: ignore[union-attr,call-arg]
            assert slow.future.exception() is None
            assert lane.restarts - lost <= most
            assert [type(error) for error in told[:2]] == [WorkerSlow] * 2
            assert "s, while others waited for it, and was ended; another one takes its place" in str(told[0])
            assert kinds[-1] == "hang" or told[-1] is None


@pytest.mark.slow
def test_one_of_many_rows_that_hangs_is_late_as_one_alone_is(server: Served) -> None:
    rows = [{**ROW, "carrier": "hang"}, *[ROW] * 200]
    error = asked(server, "tight", rows, 504)["error"]
    assert error.startswith("Version 1 of model 'tight' failed: its worker did not answer in 0.5 s")
    back(server, "tight")


@pytest.mark.slow
def test_who_found_no_worker_free_is_counted_and_logged_as_a_failure(server: Served) -> None:
    def failures() -> int:
        found: int = server.ask("/v2/models/tight/stats")["model_stats"][0]["inference_stats"]["fail"]["count"]
        return found

    def ask(carrier: str, at: int = 0) -> tuple[int, str]:
        code, _, data = server.request(
            "/v2/models/tight/predict", {"instances": [{**ROW, "carrier": carrier, "hour": at}]}
        )
        return code, json.loads(data).get("error", "")

    before = failures()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, ["hang"] * 4, range(4)))
    assert [code for code, _ in found] == [504] * 4
    assert any("no worker was free within 0.5 s" in said for _, said in found)
    assert failures() == before + 4
    table = unmoved(server.workspace, "predictions").to_pylist()
    told = [row["output"] for row in table if row["deployment"] == "tight"]
    assert sum("no worker was free within 0.5 s" in one for one in told) >= 1
    back(server, "tight")


@pytest.mark.slow
def test_one_that_crashes_does_not_spoil_those_that_were_scored_with_it(server: Served) -> None:
    lane = server.plane.state().deployments["worked"].models[1].lane  # type: ignore[union-attr]
    assert lane is not None
    kinds = ["slow", "AA", "crash"]  # the second and third wait for the first, and go together

    def ask(carrier: str) -> int:
        return server.request("/v2/models/worked/predict", {"instances": [{**ROW, "carrier": carrier}]})[0]

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask, kinds[0])
        threading.Event().wait(0.1)
        rest = [pool.submit(ask, one) for one in kinds[1:]]
        assert [first.result(), rest[1].result()] == [200, 500]
        assert rest[0].result() in (200, 504)  # it had to wait for another worker
    back(server)


@pytest.mark.slow
def test_more_than_may_wait_is_sent_away_and_told_when_to_come_back(server: Served) -> None:
    def ask(_: int) -> tuple[int, str]:
        body = {"instances": [{**ROW, "carrier": "slow"}]}
        code, headers, data = server.request("/v2/models/worked/predict", body)
        if code == 429:
            assert int(headers["retry-after"]) >= 1
            assert b"as much work as it takes" in data
        return code, headers.get("retry-after", "")

    with ThreadPoolExecutor(12) as pool:
        codes = [code for code, _ in pool.map(ask, range(12))]
    assert set(codes) == {200, 429}
    stats = server.ask("/v2/models/worked/stats")["model_stats"][0]
    assert stats["execution_count"] < stats["inference_count"]  # those that waited went together
    assert stats["inference_stats"]["queue"]["ns"] > 0


@pytest.mark.slow
def test_a_client_that_waits_so_many_microseconds_is_told_after_them(server: Served) -> None:
    inputs = [
        {"name": name, "shape": [1], "datatype": kind, "data": [value]}
        for name, kind, value in (("distance", "FP64", 5.0), ("hour", "INT64", 3), ("night", "BOOL", True),
                                  ("carrier", "BYTES", "slow"))
    ]  # fmt: skip
    late = server.error("/v2/models/worked/infer", {"inputs": inputs, "parameters": {"timeout": 50_000}}, 504)
    assert "0.05 s" in late
    assert server.ask("/v2/models/worked/infer", {"inputs": inputs, "parameters": {"timeout": 0}})["outputs"]
    for wrong in (-1, 1.5, True, "soon"):
        said = server.error("/v2/models/worked/infer", {"inputs": inputs, "parameters": {"timeout": wrong}})
        assert "microseconds" in said


@pytest.mark.slow
def test_a_worker_that_grows_is_replaced_and_so_is_one_that_is_killed(server: Served) -> None:
    lane = server.plane.state().deployments["worked"].models[1].lane  # type: ignore[union-attr]
    assert lane is not None
    (before,) = lane.pids
    assert asked(server, "worked", [{**ROW, "carrier": "leak"}])
    back(server)
    (after,) = lane.pids
    assert before != after
    os.kill(after, signal.SIGKILL)
    back(server)
    assert (
        f'restarts_total{{deployment="worked",version="1"}} {lane.restarts}' in server.request("/metrics")[2].decode()
    )


@pytest.mark.slow
def test_a_first_step_makes_the_inputs_of_what_comes_over_every_way_in(server: Served) -> None:
    want = probabilities(server, "delays", {"distance": 7.0, "hour": 3, "night": True, "carrier": "AA"})
    answer = asked(server, "text", [{"text": "aa is 7"}])["predictions"][0]
    assert [answer["probability"]] == want
    kept = find_prediction(server.workspace, answer["prediction_id"])
    assert kept is not None
    assert msgspec.json.decode(kept["inputs"]) == {"text": "aa is 7"}
    assert msgspec.json.decode(kept["features"])["distance"] == 7.0
    tensor = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["aa is 7"]}]}
    assert server.ask("/v2/models/text/infer", tensor)["outputs"][0]["data"] == want
    assert [one["name"] for one in server.ask("/v2/models/text")["inputs"]] == ["photo", "text"]
    refused = asked(server, "text", [{"text": ""}], 400)["error"]
    assert refused == "The step 'steps:clean' refused the rows: there is no text"
    stats = server.ask("/v2/models/text/stats")["model_stats"][0]["inference_stats"]
    assert stats["cache_hit"]["count"] == 1  # the tensor asked what the row had asked
    assert asked(server, "text", [{"text": None, "photo": "no base64!"}], 400)["error"].startswith("The column 'photo'")
    assert "'text' needs a text; row 0 has 3" in asked(server, "text", [{"text": 3}], 400)["error"]
    assert "the column 'txet'. Did you mean 'text'" in asked(server, "text", [{"txet": "aa"}], 400)["error"]
    assert "there is no text" in asked(server, "text", [{"photo": None}], 400)["error"]  # a text that is missing


@pytest.mark.slow
def test_bytes_of_any_kind_come_over_every_way_in(server: Served) -> None:
    photo = b"\xffaa is 7"  # no UTF-8
    want = probabilities(server, "delays", {"distance": 7.0, "hour": 3, "night": True, "carrier": "AA"})
    assert probabilities(server, "text", {"text": None, "photo": b64encode(photo).decode()}) == want
    table = pa.table({"text": pa.array([None], pa.string()), "photo": pa.array([photo], pa.binary())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    code, _, data = server.request(
        "/v2/models/text/predict", sink.getvalue().to_pybytes(), content_type="application/vnd.apache.arrow.stream",
        accept="application/json",
    )  # fmt: skip
    assert code == 200, data
    assert [one["probability"] for one in json.loads(data)["predictions"]] == want
    import tritonclient.grpc as triton

    inputs = [triton.InferInput("text", [1], "BYTES"), triton.InferInput("photo", [1], "BYTES")]
    inputs[0].set_data_from_numpy(np.array([b""], dtype=object))
    inputs[1].set_data_from_numpy(np.array([photo], dtype=object))
    with triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
        assert client.infer("text", inputs).as_numpy("probability").tolist() == want


def test_what_a_refusal_holds_is_let_go_with_it() -> None:
    code = {"refusing.py": b"def no(rows):\n    raise ValueError('no')\n"}
    lane = Lane(Program("delays", 1, bundle_bytes(), {"before": "refusing:no"}, {}, code), Service())
    held: list[weakref.ref[InputError]] = []

    def ask(job: Job) -> None:  # whose traceback leads to the job
        try:
            lane.ask(job)
        except InputError as error:
            held.append(weakref.ref(error))

    gc.disable()
    try:
        with closing(lane):
            ask(Job("before", 1, columns={"hour": [3]}))
        assert [one() for one in held] == [None]
    finally:
        gc.enable()


def test_rows_that_came_in_other_forms_wait_together_and_are_seen_as_they_came() -> None:
    code = b"""
import time
def before(rows):
    time.sleep(0.2 * rows[0].get("hour", 0))
    return [{"unit": row.get("unit", "km")} for row in rows]
def after(rows, outputs):
    time.sleep(0.2 * (rows[0]["hour"] == 1))
    return [len(row) / 10 for row in rows]
"""
    matrix = encode(bundle().signature, flights(1, seed=1))
    program = Program(
        "x", 1, bundle_bytes(), {"before": "forms:before", "after": "forms:after"}, {}, {"forms.py": code}
    )
    slow, named, more = {"hour": [1]}, {"hour": [0]}, {"hour": [0], "unit": ["mi"]}
    with closing(Lane(program, Service(workers=1, timeout=5.0))) as lane:

        def asked(kind: str, *forms: Any) -> list[Any]:
            jobs = [Job(kind, 1, matrix, columns, future=Future()) for columns in forms]
            for job in jobs:
                lane.put(job)
                eventually(lambda: jobs[0] not in lane._waiting)
            return [job.future.result(20) for job in jobs]  # type: ignore[call-arg]

        for forms in ([slow, more, None, named], [slow, None, more, named], [slow, named, more, None]):
            found = [one.tolist() for one in asked(PREDICT, *forms)]
            assert found == [[0.4 if columns is None else len(columns) / 10] for columns in forms]
        units = asked("before", slow, named, more)
        assert [one["unit"] for one in units] == [["km"], ["km"], ["mi"]]
        with pytest.raises(InputError, match="cannot be sent"):  # the worker answers on
            lane.ask(Job("before", 1, columns={"unit": ["\ud800"]}))
        assert lane.ask(Job("before", 1, columns=named)) == {"unit": ["km"]}
        nothing = lane.ask(Job("before", 0, columns={"hour": []}))  # the step is not asked, and the model reads none
        assert nothing == {name: [] for name in bundle().signature.names()}
        assert lane.restarts == 0


def test_a_graph_asks_several_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delitem(sys.modules, "steps", raising=False)
    monkeypatch.delitem(sys.modules, "words", raising=False)
    code = {"steps.py": STEPS.encode(), "words.py": b"CARRIERS = {}"}
    rows = flights(50)
    columns = {name: rows[name].to_pylist() for name in rows.column_names}
    one, two = bundle(seed=0), bundle(seed=1)
    matrix = encode(one.signature, rows)

    def outputs(**graph: str) -> list[float]:
        program = Program("delays", 1, bundle_bytes(seed=0), graph, {"other": bundle_bytes(seed=1)}, code)
        return GraphRunner(program).predict(matrix, columns).tolist()  # type: ignore[no-any-return]

    first, second = one.predict(rows).tolist(), two.predict(rows).tolist()
    assert outputs(combine="steps:mean") == [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    nights = rows["night"].to_pylist()
    assert outputs(route="steps:route") == [
        b if night else a for a, b, night in zip(first, second, nights, strict=True)
    ]
    with pytest.raises(StepFailed, match="chose 'nobody'; there are: delays, other"):
        outputs(route="steps:stray")
    monkeypatch.delitem(sys.modules, "steps", raising=False)
    with pytest.raises(InputError, match="'steps:nope' cannot be imported"):
        outputs(after="steps:nope")


@pytest.mark.slow
def test_members_are_answered_by_the_engine_that_was_chosen_for_them(
    served: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    artifact = served.store.put(bundle_bytes(seed=1))
    put_versions(served, {1: bundle_bytes(seed=1)}, model="other")
    found = served.history.get("main", "models/other")
    made = served.store.put(pack_forest(forest_of(bundle(seed=1))))
    engine = {"name": "compiled", "kind": "compiled", "artifact": made}
    chosen = {"1": {"recipe": {"stages": [{"rows": 1, "engine": engine}]}}}
    code = served.store.put(msgspec.msgpack.encode({"steps.py": MEAN}))
    member = {"model": "other", "version": 1, "artifact": artifact}
    graph = {"combine": "steps:mean", "members": {"other": member}, "code": code}
    rows = flights(20)
    columns = {name: rows[name].to_pylist() for name in rows.column_names}
    matrix = encode(bundle(seed=0).signature, rows)

    def answered() -> tuple[Program, list[float]]:
        model = Loader(served, lambda branch: lambda features: None).load(
            "delays", 1, served.store.put(bundle_bytes(seed=0)), None, graph
        )
        assert model.lane is not None
        with closing(model.lane) as lane:
            return lane.program, lane.ask(Job("predict", len(rows), matrix, columns)).tolist()

    program, before = answered()
    assert not program.recipes
    served.history.commit("main", {"models/other": {**found, "runtimes": chosen}}, message="Choose")
    program, after = answered()
    assert program.recipes == {"other": chosen["1"]["recipe"]}
    assert list(program.engines) == [made]
    assert after == pytest.approx(before, abs=1e-12)

    monkeypatch.setenv("CC", "/nonexistent")  # here nothing can be compiled, and nothing was
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kernel, "libraries", kernel.libraries.__wrapped__)
    monkeypatch.setattr("bascule.serving.engines.compiled.libraries", kernel.libraries)
    program, without = answered()
    assert not program.recipes
    assert without == before
    assert "other@1 is answered by its own library: There is no C compiler here" in capfd.readouterr().err
    plain = Loader(served, lambda branch: lambda features: None).load("other", 1, artifact, chosen["1"])
    assert plain.engine == "native"
    assert plain.predict(matrix).tolist() == bundle(seed=1).predict(rows).tolist()


def test_who_comes_alone_is_answered_at_once_until_others_come() -> None:
    async def come() -> list[bool]:
        awaiting, found = Awaiting(), []

        async def ask(link: object) -> None:
            found.append(awaiting.expects(link))
            awaiting.answered(link)

        for _ in range(3):
            await ask("one")
        await asyncio.sleep(0.01)
        await ask("two")  # after the first has long been answered
        await ask("one")  # and while the second was
        await asyncio.sleep(0.01)
        for _ in range(5):
            found.append(awaiting.expects("one"))
            awaiting._flush()  # a turn with nobody else
        return found

    assert asyncio.run(come()) == [*[False] * 4, True, *[True] * 4, False]


@pytest.mark.slow
def test_requests_of_one_turn_go_together_when_that_is_faster(
    served: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    class Slow:
        """A model whose call costs much, however many rows it has."""

        def predict_one(self, row: Any) -> list[float]:
            return self.predict(np.array([row])).tolist()  # type: ignore[no-any-return]

        def predict(self, matrix: np.ndarray) -> np.ndarray:
            calls.append(len(matrix))
            threading.Event().wait(0.02)
            if (matrix[:, 0] < 0).any():
                raise ArithmeticError("less than nothing")
            if np.isnan(matrix).any():
                raise ValueError("Input X contains NaN.")
            return matrix[:, 0]

    monkeypatch.setattr("bascule.serving.model.load_runtime", lambda bundle: Slow())
    assert warm(Slow(), 4)
    with serving(served) as server:
        calls.clear()

        def ask(distance: float) -> Any:
            return server.request(
                "/v2/models/delays/predict",
                {"instances": [{**ROW, "distance": None if distance != distance else distance}]},
            )

        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(ask, [float(at) for at in range(-1, 31)]))
        code, _, told_so = ask(float("nan"))
    assert [code for code, _, _ in found] == [500, *([200] * 31)]
    told = [msgspec.json.decode(data)["predictions"][0]["probability"] for _, _, data in found[1:]]
    assert told == [float(at) for at in range(31)]
    assert max(calls) > 1
    assert code == 400, "a gap that the model takes none of is the asker's"
    assert b"column 'distance' of row 0 is missing or of no category that the model knows" in told_so


def test_an_answer_is_remembered_by_version_and_inputs_and_logged_each_time(served: Workspace) -> None:
    found = served.history.get("main", "deployments/delays")
    served.history.commit("main", {"deployments/delays": {**found, "service": {"cache": 2}}}, message="Remember")
    with serving(served) as server:
        first, again, turned = (
            asked(server, "delays", [row])["predictions"][0] for row in (ROW, ROW, dict(reversed(ROW.items())))
        )
        assert first["probability"] == again["probability"] == turned["probability"]
        ids = {one["prediction_id"] for one in (first, again, turned)}
        assert len(ids) == 3
        assert all(find_prediction(served, one) for one in ids)
        assert server.ask("/v2/models/delays/stats")["model_stats"][0]["inference_stats"]["cache_hit"]["count"] == 2
        for at in range(3):
            asked(server, "delays", [{**ROW, "distance": float(at)}])
        remembered = server.plane.state().deployments["delays"].remembered  # type: ignore[union-attr]
        assert remembered is not None
        assert len(remembered) == 2
        assert server.ask("/v2/models/delays/config")["response_cache"] == {"enable": True}


def test_a_full_disk_stops_answers_or_only_the_log_as_the_deployment_says(
    served: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = served.history.get("main", "deployments/delays")
    lenient = {**found, "name": "lenient", "log": {"full": "unlogged"}}
    served.history.commit("main", {"deployments/lenient": lenient}, message="Lenient")

    def full(self: Any, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with serving(served) as server:
        monkeypatch.setattr("bascule.serving.log.segment.Segment.write", full)
        assert asked(server, "lenient", [ROW])["predictions"]
        assert "No space left on device" in asked(server, "delays", [ROW], 503)["error"]
        assert "bascule_unlogged_total 1" in server.request("/metrics")[2].decode()
        assert server.request("/v2/health/ready")[0] == 503
        assert "log cannot be written" in server.ask("/v2/models/delays/ready", status=503)["error"]
        assert server.request("/v2/models/lenient/ready")[0] == 200  # a probe of what answers
        served.history.commit("main", {"deployments/delays": {**lenient, "name": "delays"}}, message="All of them")
        eventually(lambda: server.request("/v2/health/ready")[0] == 200)  # what answers is not taken out of service
        assert asked(server, "delays", [ROW])["predictions"]
        monkeypatch.undo()
        assert find_prediction(served, asked(server, "lenient", [ROW])["predictions"][0]["prediction_id"])


@pytest.mark.slow
def test_the_source_of_steps_is_found_with_what_it_imports(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "near.py").write_text("from . import far\nX = 1\n")
    (tmp_path / "pack" / "far.py").write_text("")
    (tmp_path / "steps.py").write_text(
        textwrap.dedent("import json\nfrom pack.near import X\ndef clean(rows): return rows\n")
    )
    assert set(sources(["steps:clean"], tmp_path)) == {"steps.py", "pack/__init__.py", "pack/near.py", "pack/far.py"}
    for name, said in (("nope:clean", "no nope.py"), ("steps:clan", "clan")):
        with pytest.raises((InputError, LookupError), match=said):
            sources([name], tmp_path)


@pytest.mark.slow
def test_versions_with_workers_are_swapped_without_a_failed_request_and_end_with_their_server(
    served: Workspace,
) -> None:
    def deployed(version: int) -> None:
        put_deployment(served, {version: 100})
        found = served.history.get("main", "deployments/delays")
        served.history.commit("main", {"deployments/delays": {**found, "service": {"workers": 1}}}, message="Workers")

    deployed(1)
    with worker(served.folder) as made:
        versions: list[str] = []
        stop = threading.Event()

        def ask() -> None:
            with closing(Client(made.port)) as client:
                while not stop.is_set():
                    client.send(post("/v2/models/delays/predict", json.dumps({"instances": [ROW]}).encode()))
                    answer = client.answer()
                    assert answer.status == 200, answer.body
                    versions.append(json.loads(answer.body)["model_version"])

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            deployed(2)
            eventually(lambda: versions[-1:] == ["2"])
            stop.set()
            for one in asking:
                one.result()
        assert set(versions) == {"1", "2"}
        children = Path(f"/proc/{made.process.pid}/task").glob("*/children")
        pids = [int(pid) for file in children for pid in file.read_text().split()]
        assert pids
        made.stop(signal.SIGKILL)
        eventually(lambda: not any(is_alive(pid) for pid in pids))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
