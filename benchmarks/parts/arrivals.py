"""Requests that come at a fixed rate, whether or not the last ones were answered."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

SOURCE = Path(__file__).with_suffix(".c")


class Told(NamedTuple):
    """What was seen of some requests, in the order of their answers.

    Attributes:
        times: µs from when each was due to its answer.
        at: seconds after the first when it was answered.
        late: µs from when each was due until it was asked.
        lasted: seconds.
    """

    times: np.ndarray
    at: np.ndarray
    late: np.ndarray
    lasted: float


def arrive(port: int, request: bytes, rate: float, seconds: float, connections: int, clock: float = 0.0) -> Told:
    """Ask at a rate, evenly spaced, by a program of its own; 0 asks again on each connection once it is answered.

    A request is asked when it is due and a connection is free. Its time begins when it was due, so what holds the
    server up counts for all that had to wait, and so does what holds up the asker: `late` tells of that. The program is
    in C: one in Python is as busy as what it asks, and its own waits are most of what it sees.

    With a `clock` (seconds), what is due between two of its ticks is due at the second, as load generators ask whose
    event loop counts milliseconds (wrk2).

    Raises:
        EnvironmentProblem: there is no C compiler.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, told = Path(folder) / "request", Path(folder) / "told"
        asked.write_bytes(request)
        numbers = (str(port), str(rate), str(seconds), str(connections), str(clock))
        subprocess.run([_program(), *numbers, asked, told], check=True)
        due, sent, answered = np.fromfile(told).reshape(-1, 3).T
    return Told((answered - due) * 1e6, answered, (sent - due) * 1e6, float(answered[-1]))


@cache
def _program() -> Path:
    from bascule.serving.engines.kernel import compiler

    made = Path(tempfile.mkdtemp(prefix="arrivals")) / "arrivals"
    subprocess.run([*compiler(), "-O2", "-o", made, SOURCE], check=True)
    return made
