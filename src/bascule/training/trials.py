"""A model's file is read by a process of no account first, and by this one once that process has lived through it.

Libraries that read models follow what a file says into memory that is none of theirs, and there is no end of ways to
damage a file: what ends that process is a refusal here. A file is tried once on a machine for each release of its
library; that it was survived is kept as an empty file under its digest, in a folder that only the user may write to.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
from blake3 import blake3

from bascule.cachefolder import cache_folder
from bascule.errors import EnvironmentProblem, InputError

SECONDS, BYTES_A_SECOND = 60.0, 2 << 20  # how long a file may take, and what a large one gets beside
REFUSED = 4  # what the process ends with when the file is refused in words
REVISION = b"2"  # of what the process tries
HINT = "Log the model again, or copy the file from where it was trained: it is damaged, or made to do harm."
_SURVIVED: set[str] = set()


class Refusal(msgspec.Struct):
    """What the process says of a file that its library refuses."""

    message: str
    hint: str = ""


def patience(size: int) -> float:
    """Return how many seconds a file of so many bytes may take."""
    return SECONDS + size / BYTES_A_SECOND


def demand_survived(what: str, attempt: str, release: str, data: bytes) -> None:
    """Have a file read, and asked a few rows, by a process that may die of it.

    Args:
        what: the library, for messages.
        attempt: `module:function`, which takes the bytes.
        release: of the library: another one reads otherwise.

    Raises:
        InputError: the library refuses the file, or reading it ends the process, takes all memory or comes to no end.
        EnvironmentProblem: no process can be started.
    """
    head = "\0".join((attempt, release, sys.version, "")).encode()
    name = blake3(REVISION + head + data).hexdigest()
    if name in _SURVIVED:
        return
    mark = cache_folder("trials") / name
    if not mark.exists():
        _try(what, attempt, data)
        _keep(mark)
    _SURVIVED.add(name)


def _try(what: str, attempt: str, data: bytes) -> None:
    seconds = patience(len(data))
    here = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join([here, *(one for one in [os.environ.get("PYTHONPATH")] if one)])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "bascule.training.attempts", attempt],  # no xgboost.py of the folder it is in
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"Reading this {what} model came to no end in {seconds:.0f} s.", hint=HINT) from None
    except OSError as error:
        raise EnvironmentProblem(
            f"No process can be started to try this {what} model: {error}.", hint="Free memory or processes."
        ) from None
    if done.returncode == REFUSED and done.stdout:
        told = msgspec.json.decode(done.stdout, type=Refusal)
        raise InputError(told.message, hint=told.hint)
    if done.returncode:
        raise InputError(
            f"Reading this {what} model ended the process that tried it ({_how(done.returncode)}): "
            "it is refused, so that it ends no process that answers.",
            hint=HINT,
        )


def _how(code: int) -> str:
    if code < 0 and -code in signal.valid_signals():
        return signal.Signals(-code).name
    return f"exit code {code}"


def _keep(mark: Path) -> None:
    try:
        mark.touch(mode=0o600)
    except OSError:  # a full disk: it is tried again by the next process
        return
