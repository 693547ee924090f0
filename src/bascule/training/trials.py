"""A model's file is read by a process of no account first, and by this one once that process has lived through it.

Libraries that read models follow what a file says into memory that is none of theirs, and there is no end of ways to
damage a file: what ends that process is a refusal here. A file is tried once on a machine for each release of its
library, by one process at a time; what became of it is kept under its digest, in a folder that only the user may write
to: that it was survived as an empty file, why it was refused beside that. What may be the machine's fault and not the
file's (no memory, no end in time) is believed for an hour.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from blake3 import blake3

from bascule.cachefolder import cache_folder
from bascule.errors import EnvironmentProblem, InputError

SECONDS, BYTES_A_SECOND = 60.0, 2 << 20  # how long a file may take, and what a large one gets beside
REFUSED = 4  # what the process ends with when the file is refused in words
REVISION = b"3"  # of what the process tries
HINT = "Log the model again, or copy the file from where it was trained: it is damaged, or made to do harm."
REFUSALS = ".refused"  # what the names of files end with that say why
BELIEVED_S = 3600.0  # for how long, where the machine may be at fault
AGAIN = "It is not tried again here with this release of its library; try it again: bascule model retry"
_SURVIVED: set[str] = set()


class Refusal(msgspec.Struct, omit_defaults=True):
    """Why a file is refused.

    Attributes:
        passing: it may be the machine's fault.
    """

    message: str
    hint: str = ""
    passing: bool = False


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
        with _alone(mark):
            refusal = None if mark.exists() else _remembered(mark) or _try(what, attempt, data)
            _keep(mark, refusal)
        if refusal is not None:
            raise InputError(refusal.message, hint=f"{refusal.hint} {AGAIN}".strip())
    _SURVIVED.add(name)


def forget_refusals() -> int:
    """Let all files that were refused on this machine be tried again; return how many there were."""
    found = [one for one in cache_folder("trials").glob(f"?*{REFUSALS}") if one.is_file() or one.is_symlink()]
    for one in found:
        one.unlink(missing_ok=True)
    return len(found)


@contextmanager
def _alone(mark: Path) -> Iterator[None]:
    """Wait until no other process tries the file; a few files share a lock, and a process that ends gives it back."""
    try:
        lock = os.open(mark.with_name(f"lock-{mark.name[:2]}"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # a full disk: two may try it
        yield
        return
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _remembered(mark: Path) -> Refusal | None:
    path = _refusal_of(mark)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Refusal)
        old = time.time() - path.stat().st_mtime
    except (OSError, msgspec.MsgspecError):
        return None
    return None if found.passing and not 0 <= old < BELIEVED_S else found


def _refusal_of(mark: Path) -> Path:
    return mark.with_name(mark.name + REFUSALS)


def _try(what: str, attempt: str, data: bytes) -> Refusal | None:
    """Return why the file is refused; None when it is not."""
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
        return Refusal(f"Reading this {what} model came to no end in {seconds:.0f} s.", HINT, passing=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"No process can be started to try this {what} model: {error}.", hint="Free memory or processes."
        ) from None
    if done.returncode == REFUSED and done.stdout:
        return msgspec.json.decode(done.stdout, type=Refusal)
    if not done.returncode:
        return None
    return Refusal(
        f"Reading this {what} model ended the process that tried it ({_how(done.returncode)}): "
        "it is refused, so that it ends no process that answers.",
        HINT,
        passing=-done.returncode in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGXCPU),
    )


def _how(code: int) -> str:
    if code < 0 and -code in signal.valid_signals():
        return signal.Signals(-code).name
    return f"exit code {code}"


def _keep(mark: Path, refusal: Refusal | None) -> None:
    try:
        if refusal is None:
            mark.touch(mode=0o600)
            _refusal_of(mark).unlink(missing_ok=True)
        elif _remembered(mark) is None:
            made = mark.with_name(f"{mark.name}.{os.getpid()}")
            made.write_bytes(msgspec.json.encode(refusal))
            made.replace(_refusal_of(mark))
    except OSError:  # a full disk: it is tried again by the next process
        return
