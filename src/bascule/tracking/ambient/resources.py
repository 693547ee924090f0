"""What the machine did for a session: CPU, memory and GPU of its processes over time, in a bounded number of points."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

PREFIX = "system/"
FIRST_INTERVAL = 1.0
# After so many samples the interval doubles: a run of a minute has sixty, of a day about two thousand.
SAMPLES = 200
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Sampler:
    """Samples the processes below one, whenever it is asked and time has come.

    Args:
        root: the process whose descendants are meant, and it too when `own`.
    """

    def __init__(self, root: int, *, own: bool) -> None:
        self._root = root
        self._own = own
        self._interval = FIRST_INTERVAL
        self._samples = 0
        self._next = 0.0
        self._before: tuple[float, dict[int, float]] | None = None
        self._gpus = _gpus()

    def sample(self) -> dict[str, float]:
        """Return the measures by name; none when it is not time, or nothing can be measured."""
        at = time.monotonic()
        if at < self._next:
            return {}
        self._next = at + self._interval
        self._samples += 1
        if self._samples % SAMPLES == 0:
            self._interval *= 2
        try:
            used, memory = self._processes()
        except OSError:
            return {}
        before, self._before = self._before, (at, used)
        found = {f"{PREFIX}memory_megabytes": memory / 1e6} if used else {}
        if before is not None and used:
            seconds = sum(max(0.0, spent - before[1].get(pid, 0.0)) for pid, spent in used.items())
            found[f"{PREFIX}cpu_percent"] = 100 * seconds / max(at - before[0], 1e-3)
        return found | self._gpu()

    def _processes(self) -> tuple[dict[int, float], int]:
        """Return CPU seconds of each process, and the memory that all of them have in bytes."""
        spent: dict[int, float] = {}
        pages = 0
        waiting = [self._root]
        while waiting:
            pid = waiting.pop()
            waiting += _children(pid)
            if pid == self._root and not self._own:
                continue
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                spent[pid] = (int(fields[11]) + int(fields[12])) / _TICK
                pages += int(fields[21])
        return spent, pages * _PAGE

    def _gpu(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for number, handle in enumerate(self._gpus):
            with contextlib.suppress(Exception):  # the driver's errors are of its own kind
                import pynvml

                found[f"{PREFIX}gpu_{number}_percent"] = float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
                found[f"{PREFIX}gpu_{number}_megabytes"] = pynvml.nvmlDeviceGetMemoryInfo(handle).used / 1e6
        return found


def _children(pid: int) -> list[int]:
    """Return the processes that a process has started, from any of its threads."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        for task in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text("ascii").split())
    return found


def _gpus() -> list[Any]:
    """Return NVIDIA's handles; none without its library, its driver, or a GPU."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except Exception:
        return []
