"""Taking the files of a run or a logged model: what a server would not give is asked for again, now and at a repeat."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable

from bascule.errors import InputError
from bascule.protocols.mlflow.importing.records import File, Unanswered, Unreachable
from bascule.protocols.mlflow.importing.report import Imported
from bascule.tracking.artifacts import Artifacts, confined

# The tag of what lacks files that a later import may bring.
LEFT = "bascule.import.left"
TRIES = 3
_FULL = (errno.ENOSPC, errno.EDQUOT)


def take_files(
    files: Iterable[File], artifacts: Artifacts, place: str, name: str, report: Imported, *, dry_run: bool
) -> bool:
    """Take files that are not here yet.

    Args:
        place: the folder that they come to.
        name: whose they are, in the report.

    Returns:
        False when some were left that another time may be given.
    """
    whole = True
    try:
        for file in files:
            whole = _take(file, artifacts, f"{place}/{file.path}", name, report, dry_run=dry_run) and whole
    except Unreachable as error:
        report.leave("artifacts", f"{error.message} ({error.hint})" if error.hint else error.message, name)
        return whole and not isinstance(error, Unanswered)
    return whole


def _take(file: File, artifacts: Artifacts, place: str, name: str, report: Imported, *, dry_run: bool) -> bool:
    told = file.path.encode(errors="backslashreplace").decode()  # a name of the disk's may be no UTF-8
    try:
        confined(place)
        here = None if dry_run else artifacts.size(place)
        if here is not None and here == file.size:
            return True
        report.bytes += (file.size or 0) if dry_run else _put(file, artifacts, place)
        report.files += 1
        return True
    except (Unreachable, InputError) as error:
        report.leave("artifacts", error.message[:200], f"{name}: {told}"[:200])
        return not isinstance(error, Unanswered)
    except OSError as error:
        if error.errno in _FULL:  # ours: nothing that comes after it fits either
            raise
        report.leave("artifacts", f"they cannot be read: {error.strerror}", f"{name}: {told}"[:200])
        return False


def _put(file: File, artifacts: Artifacts, place: str) -> int:
    for turn in range(TRIES):
        try:
            with file.opened() as source:
                return artifacts.put(place, source)
        except Unanswered:
            if turn == TRIES - 1:
                raise
            time.sleep(0.2 * 4**turn)
    raise AssertionError
