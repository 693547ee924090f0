"""Clients that ask without pause, tell what became of what they asked about, and remember what was acknowledged."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from datetime import timedelta
from typing import Any

from tests.project.parcels import BEGIN, DAYS, DEPOTS, moment

PREDICT, TRUTH = "/v2/models/delays/predict", "/v2/models/delays/ground-truth"
PAUSE = 0.02  # of a client whose server is away


class Traffic:
    """Some clients of one inference server, which may die and come back.

    Attributes:
        predicted: ids of the predictions whose answer came.
        told: ids of the predictions whose outcome was accepted.
        refused: answers that were neither given nor cut off.
    """

    def __init__(self, port: int, seed: int, clients: int = 3) -> None:
        self.port = port
        self.predicted: list[str] = []
        self.told: list[str] = []
        self.refused: list[str] = []
        self._chances = [random.Random(f"{seed}-{number}") for number in range(clients)]
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(chance,)) for chance in self._chances]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each client finish its request."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int, seconds: float = 60) -> None:
        """Wait until so many more predictions were acknowledged."""
        wanted, end = len(self.predicted) + more, time.monotonic() + seconds
        while len(self.predicted) < wanted:
            assert time.monotonic() < end, f"no answer for {seconds} s: {self.refused[-3:]}"
            time.sleep(0.005)

    def _ask(self, chance: random.Random) -> None:
        while not self._stopped.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                while not self._stopped.is_set():
                    self._ask_once(connection, chance)
            except (OSError, http.client.HTTPException):
                time.sleep(PAUSE)
            finally:
                connection.close()

    def _ask_once(self, connection: http.client.HTTPConnection, chance: random.Random) -> None:
        answer = self._post(
            connection, PREDICT, {"instances": [question(chance) for _ in range(chance.choice((1, 1, 3)))]}
        )
        if answer is None:
            time.sleep(PAUSE)
            return
        ids = [one["prediction_id"] for one in answer["predictions"]]
        self.predicted += ids
        rows = [{"prediction_id": one, "label": int(chance.random() < 0.4)} for one in ids]
        if self._post(connection, TRUTH, {"rows": rows}) is not None:
            self.told += ids

    def _post(self, connection: http.client.HTTPConnection, path: str, body: Any) -> Any:
        connection.request("POST", path, json.dumps(body))
        answer = connection.getresponse()
        data = answer.read()
        if answer.status == 200:
            return json.loads(data)
        self.refused.append(f"{answer.status} {data.decode()}")
        return None


def question(chance: random.Random) -> dict[str, Any]:
    """Ask about a parcel that is ordered some time after the training rows."""
    at = BEGIN + timedelta(days=DAYS, minutes=chance.randrange(20 * 1440))
    return {
        "depot": chance.choice(list(DEPOTS)),
        "distance": round(chance.uniform(1, 100), 1),
        "weight": round(chance.uniform(0.1, 20), 1),
        "prediction_time": moment(at),
    }
