"""The inference process by itself: killed, stopped, out of disk, and with versions swapped under it."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from bascule.delivery import deploy, rollback
from bascule.history import Workspace
from bascule.server.ports import free_port
from bascule.serving import move_segments, unmoved
from tests.protocols.openinference.conftest import Worker, worker
from tests.protocols.openinference.test_batch import many
from tests.protocols.openinference.test_infer import request
from tests.serving.conftest import NUMBERS, bundle_bytes, put_deployment, put_versions
from tests.serving.servers import client, get, post
from tests.serving.test_moving import moved

pytestmark = pytest.mark.slow

BODY = json.dumps(request()).encode()
ASK = post("/v2/models/delays/infer", BODY)
LENGTH = "inference-header-content-length"


class Load:
    """Clients that ask without pause and remember what they were told."""

    def __init__(self, port: int, clients: int = 3, ask: bytes = ASK) -> None:
        self.port = port
        self.ask = ask
        self.acknowledged: list[str] = []
        self.versions: list[str] = []
        self.failed: list[bytes] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with client(self.port) as made:
            while not self._stop.is_set():
                try:
                    made.send(self.ask)
                    answer = made.answer()
                except (OSError, EOFError):
                    return
                if answer.status != 200:
                    self.failed.append(answer.body)
                    continue
                said = json.loads(answer.body[: int(answer.headers.get(LENGTH, len(answer.body)))])
                self.acknowledged += json.loads(said["parameters"]["prediction_ids"])
                self.versions.append(said["model_version"])


def wait_until(true: Any) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_it_says_when_it_is_ready_and_ends_when_it_is_told(served: Workspace) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with worker(served.folder) as made:
            assert made.ready == {
                "event": "ready", "url": f"http://127.0.0.1:{made.port}", "branch": "main", "deployments": ["delays"],
                "grpc": f"127.0.0.1:{made.grpc_port}",
            }  # fmt: skip
            with client(made.port) as c:
                c.send(get("/v2/health/ready"))
                assert json.loads(c.answer().body) == {"ready": True}
            assert made.stop(number) == 0


SLOW = """
import sys
from bascule.protocols.openinference.worker import run_worker
from bascule.serving.dataplane import DataPlane
load = DataPlane.start
DataPlane.start = lambda plane: (sys.stdin.readline(), load(plane))
run_worker(sys.argv[1], port=int(sys.argv[2]))
"""


HANGING = """
import sys, time
from bascule.protocols.openinference.worker import run_worker
from bascule.serving.dataplane import DataPlane
DataPlane._load = lambda *_: time.sleep(60)
run_worker(sys.argv[1], port=int(sys.argv[2]))
"""


def listens(port: int) -> bool:
    with socket.socket() as made:
        return made.connect_ex(("127.0.0.1", port)) == 0


def test_while_it_loads_it_listens_and_says_that_it_is_not_ready(served: Workspace) -> None:
    port = free_port("127.0.0.1", with_next=True)
    command = [sys.executable, "-c", SLOW, str(served.folder), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        wait_until(lambda: listens(port))
        with client(port) as c, client(port) as waits:
            c.send(get("/v2/health/live"))
            assert c.answer().status == 200
            c.send(get("/v2/health/ready"))
            starting = c.answer()
            assert (starting.status, b"starting" in starting.body) == (503, True)
            waits.send(ASK)
            process.stdin.write("go\n")
            process.stdin.flush()
            assert waits.answer().status == 200
            assert "ready" in process.stdout.readline()
            c.send(get("/v2/health/ready"))
            assert c.answer().status == 200
        process.terminate()
        assert process.wait(20) == 0


def test_while_it_loads_it_ends_when_it_is_told(served: Workspace) -> None:
    port = free_port("127.0.0.1", with_next=True)
    with subprocess.Popen([sys.executable, "-c", HANGING, str(served.folder), str(port)]) as process:
        try:
            wait_until(lambda: listens(port))
            with client(port) as waits:
                waits.send(ASK)
                time.sleep(1)  # until it was read
                process.terminate()
                answer = waits.answer()
                assert (answer.status, b"stopping" in answer.body) == (503, True)
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_stopping_leaves_everything_closed_and_movable(served: Workspace) -> None:
    with worker(served.folder) as made:
        load = Load(made.port)
        wait_until(lambda: len(load.acknowledged) > 50)
        assert made.stop() == 0
        load.stop()
    assert load.failed == []
    report = move_segments(served)
    assert report.open == 0
    assert set(load.acknowledged) <= {row["prediction_id"] for row in moved(served)}


@pytest.mark.parametrize("after", [30, 300, 900])
def test_every_acknowledged_prediction_survives_kill_9(served: Workspace, after: int) -> None:
    with worker(served.folder) as made:
        load = Load(made.port)
        wait_until(lambda: len(load.acknowledged) > after)
        made.stop(signal.SIGKILL)
        load.stop()
    assert len(load.acknowledged) == len(set(load.acknowledged))
    logged = [row["prediction_id"] for row in unmoved(served, "predictions").to_pylist()]
    assert set(load.acknowledged) <= set(logged)
    assert len(logged) == len(set(logged))
    assert len(logged) - len(load.acknowledged) <= 3
    report = move_segments(served)
    assert (report.open, report.damaged) == (0, ())
    assert {row["prediction_id"] for row in moved(served)} == set(logged)


@pytest.mark.parametrize("clients", [1, 3])
def test_every_acknowledged_batch_survives_kill_9(served: Workspace, clients: int) -> None:
    put_versions(served, {1: bundle_bytes(fields=NUMBERS)}, model="numbers")
    put_deployment(served, {1: 100}, name="numbers", model="numbers")
    body, headers = many(1_000)
    ask = post("/v2/models/numbers/infer", body, f"{LENGTH}: {headers['Inference_Header_Content_Length']}")
    with worker(served.folder) as made:
        load = Load(made.port, clients, ask)
        wait_until(lambda: len(load.acknowledged) > 20_000)
        made.stop(signal.SIGKILL)
        load.stop()
    assert load.failed == []
    assert len(load.acknowledged) == len(set(load.acknowledged))
    report = move_segments(served)
    assert (report.open, report.damaged) == (0, ())
    logged = [row["prediction_id"] for row in moved(served)]
    assert set(load.acknowledged) <= set(logged)
    assert len(logged) == len(set(logged)) <= len(load.acknowledged) + 1_000 * clients


def test_versions_are_swapped_under_load_without_a_failed_request(served: Workspace) -> None:
    with worker(served.folder) as made:
        load = Load(made.port)
        wait_until(lambda: len(load.acknowledged) > 50)
        deploy(served, "main", "delays", "delays", 2, strategy="all_at_once", by="ann")
        for number in range(8):
            version = "2" if number % 2 == 0 else "1"
            wait_until(lambda version=version: load.versions[-1] == version)
            if number % 2 == 0:
                rollback(served, "main", "delays", by="ann")
            else:
                deploy(served, "main", "delays", "delays", 2, strategy="all_at_once", by="ann")
        load.stop()
    assert load.failed == []
    assert set(load.versions) == {"1", "2"}
    rows = unmoved(served, "predictions").to_pylist()
    commits = {row["commit_id"] for row in rows}
    for row in rows:
        deployment = served.history.get(row["commit_id"], "deployments/delays")
        assert deployment["revision"] == row["revision"]
        assert deployment["traffic"] == [{"version": row["version"], "weight": 100}]
    assert len(commits) >= 8


LIMITED = """
import resource, sys
from bascule.protocols.openinference import run_worker
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
run_worker(sys.argv[1], port=0)
"""


def test_a_full_disk_is_told_and_nothing_is_half_written(served: Workspace) -> None:
    process = subprocess.Popen([sys.executable, "-c", LIMITED, str(served.folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])
    acknowledged: list[str] = []
    try:
        with client(port) as c:
            while True:
                c.send(ASK)
                answer = c.answer()
                if answer.status != 200:
                    break
                acknowledged += json.loads(json.loads(answer.body)["parameters"]["prediction_ids"])
                assert len(acknowledged) < 1_000
            assert answer.status == 503
            assert "Make room on the disk" in json.loads(answer.body)["error"]
            c.send(get("/metrics"))
            assert b"bascule_log_failing 1" in c.answer().body
            big = json.dumps(
                {"inputs": [{**one, "shape": [400], "data": one["data"] * 400} for one in request()["inputs"]]}
            )
            c.send(post("/v2/models/delays/infer", big.encode()))
            assert c.answer().status == 503
            c.send(get("/v2/health/ready"))
            assert c.answer().status == 503
            c.send(get("/v2/health/live"))
            assert c.answer().status == 200
            found = [row["prediction_id"] for row in unmoved(served, "predictions").to_pylist()]
            assert found == acknowledged
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            c.send(get("/v2/health/ready"))
            assert c.answer().status == 200
            c.send(ASK)
            answer = c.answer()
            assert answer.status == 200
            acknowledged += json.loads(json.loads(answer.body)["parameters"]["prediction_ids"])
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert [row["prediction_id"] for row in unmoved(served, "predictions").to_pylist()] == acknowledged


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["{folder}/nowhere"], 2, "no workspace"),
        (["{folder}", "127.0.0.1", "0", "mian"], 2, "Did you mean 'main'?"),
        (["{folder}", "0.0.0.0", "0"], 2, "loopback only"),
        (["{folder}", "127.0.0.1", "{taken}"], 3, "is in use by another process"),
        ([], 2, "WORKSPACE"),
        (["{folder}", "127.0.0.1", "http"], 2, "WORKSPACE"),
    ],
)
def test_a_start_that_fails_is_explained(served: Workspace, arguments: list[str], code: int, text: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        values = {"folder": str(served.folder), "taken": str(taken.getsockname()[1])}
        command = [sys.executable, "-m", "bascule.protocols.openinference", *(a.format(**values) for a in arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_two_workers_of_one_workspace_do_not_meet(served: Workspace) -> None:
    with worker(served.folder) as one, worker(served.folder) as two:
        loads = [Load(made.port, clients=1) for made in (one, two)]
        wait_until(lambda: all(len(load.acknowledged) > 30 for load in loads))
        for load in loads:
            load.stop()
    move_segments(served)
    rows = {row["prediction_id"] for row in moved(served)}
    assert set(loads[0].acknowledged) | set(loads[1].acknowledged) <= rows


def test_a_killed_worker_is_followed_by_another(served: Workspace) -> None:
    acknowledged: list[str] = []
    for _ in range(4):
        made = Worker(served.folder)
        load = Load(made.port, clients=2)
        wait_until(lambda load=load: len(load.acknowledged) > 20)
        made.stop(signal.SIGKILL)
        load.stop()
        acknowledged += load.acknowledged
    move_segments(served)
    assert set(acknowledged) <= {row["prediction_id"] for row in moved(served)}


def test_a_reader_sees_the_log_while_it_is_written(served: Workspace) -> None:
    with worker(served.folder) as made:
        load = Load(made.port, clients=1)
        for number in range(10):
            wait_until(lambda more=number: len(load.acknowledged) > 5 * more)
            known = list(load.acknowledged)
            found = {row["prediction_id"] for row in unmoved(served, "predictions").to_pylist()}
            assert set(known) <= found
        load.stop()
        # The writer is asked to end its segment, and on a busy machine it may take longer than one call waits.
        wait_until(lambda: move_segments(served, sealing=True).rows.get("predictions", 0) > 0)
        assert {row["prediction_id"] for row in moved(served)} >= set(load.acknowledged)
