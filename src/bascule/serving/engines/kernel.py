"""The C kernel that walks forests: compiled once on this machine from the source beside this file, and kept.

Nothing that anybody uploads is compiled: forests are data, and the source is the package's own. The library lies in the
user's cache folder, which only the user may write to, under the digest of its source and compiler.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from blake3 import blake3

from bascule.cachefolder import cache_folder
from bascule.errors import EnvironmentProblem

HERE = Path(__file__).parent
FOREST, SHAP = "forest.c", "treeshap.c"
FLAGS = ("-O3", "-std=c11", "-fPIC", "-shared", "-ffp-contract=off")
COMPILERS = ("cc", "gcc", "clang")
SECONDS = 120
HINT = "Install a C compiler (apt install gcc), or say which with CC=…"


@cache
def libraries() -> tuple[Any, Any]:
    """Return the kernel twice: with calls that let other Python threads run, and with calls that are too short to.

    Raises:
        EnvironmentProblem: there is no C compiler, or it fails.
    """
    path = str(_built(FOREST, (FOREST,)))
    threaded, quick = ctypes.CDLL(path), ctypes.PyDLL(path)
    quick.forest_one.argtypes = [ctypes.c_void_p] * 3
    quick.forest_one.restype = None
    threaded.forest_many.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
    threaded.forest_many.restype = None
    return threaded, quick


@cache
def shap_library() -> Any:
    """Return the kernel that tells what inputs add, with calls that let other Python threads run.

    Raises:
        EnvironmentProblem: there is no C compiler, or it fails.
    """
    found, pointer = ctypes.CDLL(str(_built(SHAP, (SHAP, FOREST)))), ctypes.c_void_p
    found.forest_expected.argtypes = [pointer, pointer, ctypes.c_int64, pointer, pointer]
    found.forest_expected.restype = None
    found.forest_shap.argtypes = [pointer, pointer, pointer, ctypes.c_int32, pointer, ctypes.c_int64, pointer]
    found.forest_shap.restype = ctypes.c_int32
    return found


def compiler() -> list[str]:
    """Return the command of this machine's C compiler.

    Raises:
        EnvironmentProblem: there is none.
    """
    asked = shlex.split(os.environ.get("CC", ""))
    for one in [asked] if asked else [[name] for name in COMPILERS]:
        found = shutil.which(one[0])
        if found:
            return [found, *one[1:]]
    names = asked[0] if asked else ", ".join(COMPILERS)
    raise EnvironmentProblem(f"There is no C compiler here ({names}).", hint=HINT)


def _built(source: str, parts: Sequence[str]) -> Path:
    """Return the library of a source; `parts` are all files that are in it."""
    command, text = compiler(), b"".join((HERE / one).read_bytes() for one in parts)
    told = "\0".join([*command, *FLAGS, platform.machine(), platform.libc_ver()[1]])
    name = blake3(text + told.encode()).hexdigest()[:32]
    path = cache_folder("kernels") / f"{Path(source).stem}-{name}.so"
    if path.is_file() and path.stat().st_uid == os.getuid():
        return path
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        made = Path(place) / "made.so"
        try:
            done = subprocess.run(
                [*command, *FLAGS, str(HERE / source), "-o", str(made), "-lm"],
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EnvironmentProblem(f"The C compiler {command[0]} cannot be run: {error}.", hint=HINT) from None
        if done.returncode or not made.is_file():
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise EnvironmentProblem(f"The C compiler {command[0]} fails: {said[:300]}", hint=HINT)
        made.chmod(0o500)
        made.replace(path)
    return path
