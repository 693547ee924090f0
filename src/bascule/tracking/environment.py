"""What a run ran on: interpreter, machine, packages."""

from __future__ import annotations

import os
import platform
import re
import sys
from functools import cache
from importlib.metadata import Distribution, distributions
from typing import Any

# What of a process' variables can change a result: seeds, threads, and how numbers are computed.
VARIABLES = (
    *("PYTHONHASHSEED", "CUBLAS_WORKSPACE_CONFIG", "TF_DETERMINISTIC_OPS", "CUDA_VISIBLE_DEVICES"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    *("POLARS_MAX_THREADS", "RAYON_NUM_THREADS"),
)
# What of the interpreter and the machine can change a result.
MACHINE = ("python", "implementation", "system", "machine", "processor", "cores")

_FIELD = re.compile(r"^(Name|Version):(.+)$", re.MULTILINE)


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
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "executable": sys.executable,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "packages": dict(sorted(map(named, distributions()))),
    }


def named(package: Distribution) -> tuple[str, str]:
    """Return a package's name and version. Its whole description need not be parsed for them, as `metadata` does."""
    found = dict(_FIELD.findall((package.read_text("METADATA") or "").partition("\n\n")[0]))
    if "Name" not in found or "Version" not in found:
        return package.metadata["Name"].lower(), package.version
    return found["Name"].strip().lower(), found["Version"].strip()


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
