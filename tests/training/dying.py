"""What a process that tries files is given to do, for the tests of `trials`."""

import os
import signal
import time
from pathlib import Path


def lives(data: bytes) -> None:
    """Count that it was asked, in the file that the bytes name."""
    with Path(data.decode()).open("a") as file:
        file.write("x")


def dies(data: bytes) -> None:
    """End as code does that follows a wild pointer."""
    os.kill(os.getpid(), signal.SIGSEGV)


def fails(data: bytes) -> None:
    """Raise what a library may."""
    raise KeyError("nodes")


def chatters(data: bytes) -> None:
    """Say what a library may, and refuse."""
    print("WARNING: an older release wrote this file", flush=True)
    raise KeyError("nodes")


def leaves(data: bytes) -> None:
    """End with the code of a refusal, and say nothing."""
    os._exit(4)


def grows(data: bytes) -> None:
    """Take more memory than any model of three bytes does."""
    held = [bytes(1 << 30) for _ in range(40)]
    time.sleep(len(held))


def needs_three_seconds(data: bytes) -> None:
    """Take longer than a file of three bytes may."""
    time.sleep(3)


def lasts(data: bytes) -> None:
    """Come to no end."""
    time.sleep(600)


def killed(data: bytes) -> None:
    """End as a process does that the system takes for too large."""
    os.kill(os.getpid(), signal.SIGKILL)


def lives_slowly(data: bytes) -> None:
    """Count that it was asked, and take a while."""
    time.sleep(1)
    lives(data)
