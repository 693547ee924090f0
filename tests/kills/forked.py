"""Commands as processes that begin in milliseconds: they are forked from one that has imported everything.

`python forked.py` is that process. It reads a line of JSON for each command, forks, and says the child's number, then
how it ended. A child is a process like any other: it has its own group, and SIGKILL ends it in the middle of anything.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "src"
# Everything that a command of the story imports, none of which starts a thread.
IMPORTS = (
    "bascule.cli.main",
    "bascule.project.batches",
    "bascule.project.beginning",
    "bascule.project.caring",
    "bascule.project.explaining",
    "bascule.project.init",
    "bascule.project.place",
    "bascule.project.retraining",
    "bascule.project.runner",
    "bascule.project.shipping",
    "bascule.project.streaming",
    "bascule.project.watching",
    "bascule.cli.asking",
    "bascule.cli.care",
    "bascule.cli.data",
    "bascule.cli.delivery",
    "bascule.cli.history",
    "bascule.cli.merging",
    "bascule.cli.pipeline",
    "bascule.cli.progress",
    "bascule.cli.starting",
    "bascule.cli.streaming",
    "bascule.cli.upkeep",
    "bascule.lake.maintenance",
    "optuna",
    "pandas",  # PyArrow reads it with its first array
    "lmdb",
)


@dataclass(frozen=True)
class Ended:
    """How a command ended: `code` is negative when a signal ended it."""

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    def json(self) -> Any:
        """Return the one JSON document on standard output."""
        return json.loads(self.out)


class Commands:
    """Runs commands of one project, one after the other, and kills them when told."""

    def __init__(self, folder: Path, user: str = "ana@example.org", outputs: Path | None = None) -> None:
        self.folder = folder
        self.outputs = outputs or folder  # elsewhere, where a test fills the project's disk
        environment = {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "BASCULE_USER": user,
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
            "OMP_NUM_THREADS": "2",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(self.outputs)],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == {"ready": True}

    def run(self, *arguments: str, kill_after: float | None = None) -> Ended:
        """Run a command; with `kill_after` it is killed after so many seconds, unless it has ended before."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        child = self._read()["pid"]
        begun = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(child, signal.SIGKILL)  # it is waited for only when it is told to be, so it is there
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        code = self._read()["code"]
        seconds = time.monotonic() - begun
        out, err = ((self.outputs / name).read_text("utf-8") for name in (".out", ".err"))
        return Ended(arguments, code, out, err, seconds)

    def done(self, *arguments: str) -> Ended:
        """Run a command that must succeed."""
        ended = self.run(*arguments)
        assert ended.code == 0, f"bascule {' '.join(arguments)} ended with {ended.code}:\n{ended.out}\n{ended.err}"
        return ended

    def close(self) -> None:
        """End the process that forks."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the process that forks has ended"
        return json.loads(line)


def main() -> None:
    """Import, then fork a child for each line."""
    import importlib

    for name in IMPORTS:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            if not name.startswith("bascule"):
                raise
    with suppress(ImportError):  # as training reads it
        importlib.import_module("bascule.training.lightgbm_core").lightgbm_core()
    _say({"ready": True})
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child == 0:
            _be(json.loads(line))
        _say({"pid": child})
        sys.stdin.readline()
        _, status = os.waitpid(child, 0)
        _say({"code": os.waitstatus_to_exitcode(status)})


def _be(arguments: Sequence[str]) -> None:
    """Become the command."""
    os.setsid()
    outputs = Path(sys.argv[1])
    for name, descriptor in ((os.devnull, 0), (outputs / ".out", 1), (outputs / ".err", 2)):
        flags = os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(name, flags, 0o644), descriptor)
    from bascule.cli.main import run

    code = 70
    try:
        code = run(list(arguments))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _say(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
