"""How the demo types a command, sends a request and waits: what `demo.py` tells its story with."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from traffic import COLUMNS, replay

QUERY = """
with population as ({population})
select carrier, origin, dest, tailnum, distance,
    strftime(scheduled_departure, '%Y-%m-%dT%H:%M:%SZ') as scheduled_departure,
    strftime(prediction_time, '%Y-%m-%dT%H:%M:%SZ') as prediction_time,
    strftime(landed_at, '%Y-%m-%dT%H:%M:%SZ') as landed_at, arr_delay > 15 as late
from population where month(scheduled_departure) = {month} and prediction_time is not null
"""


class Story:
    """The project's folder, and the ways to work in it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.told: list[tuple[str, str]] = []
        self.begun = time.monotonic()

    def show(self, command: str) -> None:
        """Print a command as it would be typed, and when."""
        line = f"$ bascule {command}"
        bold = f"\033[1m{line}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else line
        print(f"\n[{time.monotonic() - self.begun:3.0f} s] {bold}", flush=True)

    def bascule(self, *arguments: str, fails: int = 0) -> str:
        """Run a command, show it, and return what it printed; `fails` is the exit code that the story expects."""
        self.show(shlex.join(arguments))
        done = self.run("-m", "bascule", *arguments)
        if "--json" not in arguments:
            print((done.stdout + (done.stderr if done.returncode else "")).rstrip()[:3000], flush=True)
        if done.returncode != fails:
            sys.exit(f"That was not in the story (exit {done.returncode}).\n{done.stderr}")
        return done.stdout

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run this interpreter in the project's folder."""
        return subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Ask the server in SQL, as `bascule sql` does without a server."""
        answer = self.post("sql", {"sql": sql})
        return [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send one request to the native API."""
        url = f"http://127.0.0.1:{self.port}/api/bascule/v1/{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return dict(json.load(answer))

    def note(self, what: str, result: str) -> None:
        """Keep a line for the table at the end."""
        self.told.append((what, result))

    def send(self, month: int) -> str:
        """Send a month of requests and outcomes; return the last prediction's id."""
        population = (self.folder / "features" / "population.sql").read_text("utf-8")
        question = QUERY.format(population=population, month=month)
        found = self.run("-m", "bascule", "sql", question, "--json", "--limit", "100000")
        rows = json.loads(found.stdout) if found.returncode == 0 else sys.exit(found.stderr)
        begun = time.monotonic()
        sent = replay(rows, f"http://127.0.0.1:{self.port + 1}", "delays")
        rate = len(rows) / (time.monotonic() - begun)
        shares = ", ".join(f"{n:,} by version {v}" for v, n in sorted(sent.versions.items()))
        print(
            f"\n{len(rows):,} requests of month {month} at {rate:,.0f}/s: {shares}, {len(sent.errors)} errors",
            flush=True,
        )
        if sent.errors:
            sys.exit(f"An answer was refused: {sent.errors[0]}")
        self.note(f"traffic, month {month}", f"{sent.answered:,} answers at {rate:,.0f}/s: {shares}")
        return sent.last

    def wait(self, what: str, sql: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until a query over the records has a row, and return it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if rows := self.ask(sql):
                return rows[0]
            time.sleep(0.5)
        sys.exit(f"Waited {seconds:.0f} s in vain for {what}.")

    def start(self) -> subprocess.Popen[str]:
        """Start everything, and wait for its line."""
        self.show(f"up --port {self.port}")
        command = [sys.executable, "-m", "bascule", "up", "--port", str(self.port)]
        server = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True)
        line = server.stdout.readline() if server.stdout else ""
        if "http://" not in line:
            sys.exit("The server did not start.")
        print(line, flush=True)
        return server

    def bring(self, kind: str, month: int) -> None:
        """A batch arrives: written on a branch of its own, checked, merged; the online store follows."""
        self.bascule("ingest", "flights", f"data/{kind}/flights-2013-{month:02}.csv")
        self.bascule("step", "run", "materialise")

    def serving(self) -> str:
        """Ask about one flight and return the version that answered."""
        flight = ["UA", "EWR", "IAH", "N14228", 1400, "2013-09-20T17:00:00Z", "2013-09-20T15:00:00Z"]
        inputs = [
            {"name": name, "datatype": kind, "shape": [1], "data": [value]}
            for (name, kind), value in zip(COLUMNS.items(), flight, strict=True)
        ]
        url = f"http://127.0.0.1:{self.port + 1}/v2/models/delays/infer"
        request = urllib.request.Request(url, data=json.dumps({"inputs": inputs}).encode())
        with urllib.request.urlopen(request) as answer:
            return str(json.loads(answer.read())["model_version"])
