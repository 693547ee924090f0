"""The user's own folder for what is made once on a machine: compiled code, files that were tried."""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from functools import cache
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Return a folder that is the user's own; where the home is not, or others may write, one of this process alone.

    Args:
        name: of the folder below the cache's, such as `kernels`.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(home) / "bascule" / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
        if about.st_uid == os.getuid() and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            with tempfile.TemporaryDirectory(dir=folder):
                return folder
    except OSError:
        pass
    return _own(name)


@cache
def _own(name: str) -> Path:
    made = Path(tempfile.mkdtemp(prefix=f"bascule-{name}-"))
    atexit.register(_remove, made, os.getpid())
    return made


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a fork of it ends earlier, and others still use the folder
        shutil.rmtree(folder, ignore_errors=True)
