"""`kill -9` of `bascule up` and of every process below it: what was answered is kept, and the next one goes on."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.server.ports import is_free
from tests.kills.forked import SOURCE, Commands
from tests.kills.traffic import Traffic
from tests.project.parcels import HEAD, PROJECT, csv, hourly, orders, write

SEED = 5
PATIENCE = 60
WORKER, JOB = "bascule.protocols.openinference", "bascule"
RETRAIN = '\n[retrain]\nwhen = "traffic.rows > 20"\n'
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")]


class Server:
    """`bascule up`, and the processes below it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        command = [sys.executable, "-m", "bascule", "up", "--port", str(port)]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "BASCULE_USER": "ana@example.org"}
        self.errors = open(folder / "up.err", "ab")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert f"http://127.0.0.1:{port}" in line, (folder / "up.err").read_text()

    def below(self, module: str = "") -> list[int]:
        """Return the processes that it has started, those that run a module or all."""
        found = []
        for place in Path("/proc").iterdir():
            if not place.name.isdigit():
                continue
            try:
                parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
                words = (place / "cmdline").read_text().split("\0")
            except (OSError, ValueError):
                continue
            if parent == self.process.pid and (not module or module in words):
                found.append(int(place.name))
        return found

    def kill(self, *pids: int) -> None:
        """Kill processes, and wait until they are gone; the server itself, when it is one of them."""
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process.pid in pids:
            self.close()

    def close(self) -> int:
        code = self.process.wait(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.errors.close()
        return code


def wait_until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def quiet_port(chance: random.Random) -> int:
    """Return a port that is free, with the next one, and that the system gives to no client.

    A client that connects to a port where nobody listens may be given that very port, and then talks to itself.
    """
    while True:
        port = chance.randrange(15_000, 30_000)
        if is_free("127.0.0.1", port) and is_free("127.0.0.1", port + 1):
            return port


class Site:
    """A project that is served, killed and served again on the same ports."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.commands = Commands(folder)
        self.port = quiet_port(self.chance)
        self.traffic = Traffic(self.port + 1, seed)
        self.server = Server(folder, self.port)
        self.kills = 0

    def start(self) -> None:
        """Serve again, at once: the one that was killed holds neither port nor lock."""
        self.server = Server(self.folder, self.port)

    def close(self) -> None:
        self.traffic.stop()
        if self.server.process.poll() is None:
            self.server.kill(*self.server.below(), self.server.process.pid)
        self.commands.close()

    def kill(self, *pids: int) -> None:
        time.sleep(self.chance.uniform(0, 0.5))
        self.server.kill(*pids)
        self.kills += len(pids)

    def look(self, where: str) -> None:
        """Everything is whole, and each acknowledged prediction and outcome is there, once."""
        predicted, told = list(self.traffic.predicted), list(self.traffic.told)
        doctor = self.commands.run("doctor")
        assert doctor.code == 0, f"{where}:\n{doctor.out}{doctor.err}"
        assert self.commands.run("audit", "verify").code == 0, where
        for table, acknowledged in (("predictions", predicted), ("ground_truth", told)):
            rows = self.ask(f"select prediction_id from {table}")
            held = [row["prediction_id"] for row in rows]
            lost = set(acknowledged) - set(held)
            assert not lost, f"{where}: {len(lost)} of {len(acknowledged)} rows of {table} are lost"
            assert len(held) == len(set(held)), f"{where}: {table} has rows twice"

    def ask(self, sql: str) -> Any:
        return self.commands.done("sql", sql, "--json", "--limit", "10000000").json()


@pytest.fixture
def site(trained: Path) -> Iterator[Site]:
    write(trained / "bascule.toml", PROJECT + RETRAIN)
    rows = orders(range(60, 65), hourly(80, random.Random(7)), random.Random(1))
    write(trained / "more/1.csv", csv(HEAD, rows))
    print(f"seed {SEED}")
    commands = Commands(trained)
    commands.done("run")
    commands.done("deploy")
    commands.close()
    made = Site(trained, SEED)
    yield made
    made.close()


def test_a_killed_worker_comes_back_and_has_lost_nothing(site: Site) -> None:
    for number in range(3):
        site.traffic.wait_for(20)
        (worker,) = site.server.below(WORKER)
        site.kill(worker)
        wait_until(lambda worker=worker: site.server.below(WORKER) not in ([], [worker]), "no new worker")
        site.traffic.wait_for(20)
        site.look(f"worker {number}")
    assert site.server.process.poll() is None


class Branches:
    """Makes branches over the native API, one after the other, and remembers those that were acknowledged."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/api/bascule/v1/branches"
        self.made: list[str] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._make)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _make(self) -> None:
        for number in itertools.count():
            if self._stopped.wait(0.05):
                return
            body = json.dumps({"name": f"try-{number}"}).encode()
            asked = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(asked, timeout=20) as answer:
                    self.made.append(json.loads(answer.read())["name"])
            except (OSError, http.client.HTTPException):
                continue


def test_a_killed_server_takes_its_processes_with_it_and_the_next_one_goes_on(site: Site) -> None:
    branches = Branches(site.port)
    for number in range(6):
        site.traffic.wait_for(30)
        children = site.server.below()
        together = children if number % 2 else []
        site.kill(site.server.process.pid, *together)
        wait_until(lambda c=children: all(is_gone(pid) for pid in c), "a process has outlived its server")
        for port in (site.port, site.port + 1):
            wait_until(lambda p=port: is_free("127.0.0.1", p), f"port {port} is still taken")
        site.look(f"server {number}")
        held = {row["name"] for row in site.commands.done("branch", "--json").json()}
        assert set(branches.made) <= held
        site.start()
    site.traffic.wait_for(30)
    branches.stop()
    assert branches.made
    site.look("the end")


def test_a_killed_retraining_is_done_again(site: Site) -> None:
    """New rows have come, so the job has something to train on."""
    site.commands.done("ingest", "orders", "more/1.csv")
    site.traffic.wait_for(900)
    site.commands.done("monitor")
    (asked,) = site.ask("select id, status from jobs")
    for victims in ("job", "server", "all"):
        wait_until(lambda: bool(site.server.below(JOB)), "the job does not run")
        (job,) = site.server.below(JOB)
        pids = {"job": [job], "server": [site.server.process.pid], "all": [job, site.server.process.pid]}[victims]
        site.kill(*pids)
        wait_until(lambda pid=job: is_gone(pid), "the job has outlived its server")
        site.look(victims)
        if victims != "job":
            site.start()
    ended = f"select status, result_json, finished_at from jobs where id = '{asked['id']}' and finished_at is not null"
    wait_until(lambda: bool(site.ask(ended)), "the job does not end")
    (job_row,) = site.ask(ended)
    result = json.loads(job_row["result_json"])
    assert job_row["status"] == "done" or "The gates refuse this version" in result["message"], result
    steps = site.ask(f"select distinct step from runs where branch = '{result['branch']}' and status = 'done'")
    assert {"training-set", "train", "evaluate"} <= {row["step"] for row in steps}
    site.look("the end")
