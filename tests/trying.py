"""A process that has read the libraries of models once, and forks to try each file.

Bascule starts a process anew for each file (`bascule.training.trials`), which reads all of scikit-learn or XGBoost
before it looks at the file: seconds of CPU. Where a test is not about that start, the process that tries is a fork:
still one of no account, which ends by the same signals, limits and codes.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

READ_BEFORE = {
    "skops": ("skops.io", "pandas"),
    "xgboost": ("xgboost",),
    "catboost": ("catboost",),
    "onnx": ("onnxruntime",),
}


class Forks:
    """What `trials` knows of `subprocess`, with `run` as a fork of a process that lives as long as the tests."""

    PIPE, DEVNULL, TimeoutExpired = subprocess.PIPE, subprocess.DEVNULL, subprocess.TimeoutExpired

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def run(self, command: list[str], *, input: bytes, env: dict[str, str], timeout: float, **_: Any) -> Any:
        """Try the bytes as the process would that the command starts."""
        with self._lock, tempfile.TemporaryDirectory() as folder:
            given, told = Path(folder, "given"), Path(folder, "told")
            given.write_bytes(input)
            process = self._started(env)
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([command[-1], str(given), str(told), timeout]) + "\n")
            process.stdin.flush()
            code = json.loads(process.stdout.readline())
            if code is None:
                raise subprocess.TimeoutExpired(command, timeout)
            return subprocess.CompletedProcess(command, code, told.read_bytes())

    def _started(self, env: dict[str, str]) -> subprocess.Popen[str]:
        if self._process is None:
            ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            command = [sys.executable, "-P", __file__]
            self._process = subprocess.Popen(command, env=env, cwd="/", text=True, **ends)  # type: ignore[call-overload]
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()


def main() -> None:
    """Answer each line on standard input, which asks for an attempt, with its exit code, or null if it lasts."""
    asked, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import_module("bascule.training.attempts")
    for line in asked:
        attempt, given, told, seconds = json.loads(line)
        for name in READ_BEFORE.get(attempt.partition(":")[2], ()):
            with suppress(ImportError):
                import_module(name)
        pid = os.fork()
        if not pid:
            _attempt(attempt, given, told)
        answers.write(json.dumps(_waited(pid, seconds)) + "\n")
        answers.flush()


def _attempt(attempt: str, given: str, told: str) -> NoReturn:
    from bascule.training import attempts

    code = 1
    try:
        for path, flags, place in ((given, os.O_RDONLY, 0), (told, os.O_WRONLY | os.O_CREAT, 1)):
            os.dup2(os.open(path, flags, 0o600), place)
        sys.stdin = os.fdopen(0)
        code = attempts.main(attempt)
    finally:
        os._exit(code)


def _waited(pid: int, seconds: float) -> int | None:
    handle = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([handle], [], [], seconds)
        if not ended:
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return code if ended else None
    finally:
        os.close(handle)


if __name__ == "__main__":
    main()
