"""The world outside: callers who ask about flights in time order, and outcomes that follow when they have landed.

    python traffic.py ROWS.json http://127.0.0.1:7401 delays

ROWS.json is what `bascule sql --json` prints for the flights of a month (see `QUERY` in stage.py). Each flight is one
HTTP request in the Open Inference Protocol, sent in the order in which the questions were asked; its outcome is posted
after the requests that were asked before it landed.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CONNECTIONS = 8
OUTCOMES_AT_ONCE = 200
# What a caller knows two hours before departure. The server looks up everything else.
COLUMNS = {
    "carrier": "BYTES",
    "origin": "BYTES",
    "dest": "BYTES",
    "tailnum": "BYTES",
    "distance": "INT64",
    "scheduled_departure": "BYTES",
    "prediction_time": "BYTES",
}
Row = dict[str, Any]


@dataclass
class Sent:
    """What came of it: answers by version, and answers that were not 200."""

    answered: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    last: str = ""


class Connection:
    """One keep-alive connection; a request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self.reader, self.writer, self.host = reader, writer, host

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Send a request and return the status and the body of its answer."""
        head = f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        answer = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(answer[9:12]), await self.reader.readexactly(length)


def replay(rows: list[Row], url: str, deployment: str) -> Sent:
    """Send a month of questions and outcomes and return what came of it."""
    return asyncio.run(_replay(rows, url, deployment))


async def _replay(rows: list[Row], url: str, deployment: str) -> Sent:
    host = urlsplit(url).netloc
    name, _, port = host.partition(":")
    idle: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(Connection(*await asyncio.open_connection(name, int(port)), host))
    sent, landed, working = Sent(), _Landed(), set()
    for row in sorted(rows, key=lambda row: row["prediction_time"]):
        for outcomes in landed.before(row["prediction_time"]):
            await _drained(working)
            await _tell(idle, outcomes)
        connection = await idle.get()
        task = asyncio.create_task(_ask(connection, idle, deployment, row, sent, landed))
        working.add(task)
        task.add_done_callback(working.discard)
    await _drained(working)
    for outcomes in landed.before("9999"):
        await _tell(idle, outcomes)
    return sent


async def _ask(
    connection: Connection, idle: asyncio.Queue[Connection], deployment: str, row: Row, sent: Sent, landed: _Landed
) -> None:
    inputs = [{"name": n, "datatype": t, "shape": [1], "data": [row[n]]} for n, t in COLUMNS.items()]
    status, body = await connection.post(f"/v2/models/{deployment}/infer", json.dumps({"inputs": inputs}).encode())
    idle.put_nowait(connection)
    answer = json.loads(body)
    if status != 200:
        sent.errors.append(answer["error"])
        return
    sent.answered += 1
    sent.last = json.loads(answer["parameters"]["prediction_ids"])[0]
    sent.versions[answer["model_version"]] = sent.versions.get(answer["model_version"], 0) + 1
    if row["landed_at"] is not None:
        landed.add(row["landed_at"], sent.last, bool(row["late"]))


async def _tell(idle: asyncio.Queue[Connection], outcomes: list[Row]) -> None:
    connection = await idle.get()
    status, body = await connection.post("/ground-truth", json.dumps(outcomes).encode())
    idle.put_nowait(connection)
    if status != 200:
        raise RuntimeError(f"outcomes were refused: {body.decode()}")


async def _drained(working: set[asyncio.Task[None]]) -> None:
    if working:
        await asyncio.gather(*working)


class _Landed:
    """Outcomes that wait for their time."""

    def __init__(self) -> None:
        self.queue: list[tuple[str, str, bool]] = []

    def add(self, at: str, prediction: str, late: bool) -> None:
        heapq.heappush(self.queue, (at, prediction, late))

    def before(self, moment: str) -> Iterator[list[Row]]:
        """Yield outcomes that were known by a moment, many at once; fewer wait for company until the end."""
        known = sum(at <= moment for at, _, _ in self.queue[:1]) and len(self.queue)
        while known >= OUTCOMES_AT_ONCE or (known and moment == "9999"):
            batch = []
            while self.queue and self.queue[0][0] <= moment and len(batch) < OUTCOMES_AT_ONCE:
                at, prediction, late = heapq.heappop(self.queue)
                batch.append({"prediction_id": prediction, "label": float(late), "label_time": at})
            if not batch:
                return
            yield batch
            known -= len(batch)


if __name__ == "__main__":
    done = replay(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), sys.argv[2], sys.argv[3])
    print(f"{done.answered:,} answers, by version {done.versions}, {len(done.errors)} errors")
