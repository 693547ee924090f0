"""What a run ran on: interpreter, machine, packages."""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from importlib.metadata import distributions
from typing import Any


@cache
def capture_environment() -> dict[str, Any]:
    """Return the interpreter, the machine and all installed packages with their versions, JSON-able."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "executable": sys.executable,
        "packages": dict(sorted({d.metadata["Name"].lower(): d.version for d in distributions()}.items())),
    }


def environment_class(packages: tuple[str, ...]) -> str:
    """Return what of the environment can change a result: interpreter, machine type, and the named packages."""
    captured = capture_environment()
    versions = ", ".join(f"{name} {captured['packages'].get(name, 'absent')}" for name in packages)
    minor = ".".join(captured["python"].split(".")[:2])
    return f"python {minor}, {captured['system']} {captured['machine']}" + (f", {versions}" if versions else "")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
