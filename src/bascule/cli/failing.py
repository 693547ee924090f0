"""What is not the user's mistake: a machine that gives no more, and bugs of ours. Each is told in a sentence."""

from __future__ import annotations

import errno
import os
import platform
import re
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bascule import __version__
from bascule.cli.commands import SERVERS
from bascule.errors import BasculeError, EnvironmentProblem, InputError, is_interruption

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
SURROGATE = re.compile("[\ud800-\udfff]")  # stands for a byte of an argument that is no UTF-8
ISSUES = "https://github.com/bascule-ml/bascule/issues"


class Bug(BasculeError):
    """Something in Bascule is wrong. The full traceback is in a file."""

    exit_code = 70

    def __init__(self, error: BaseException, report: Path | None) -> None:
        where = f"the full traceback is in {report}" if report else "its traceback could not be written"
        super().__init__(
            f"This is a bug in Bascule: {type(error).__name__}: {_first_line(error)}; {where}.",
            hint=f"Please report it with that file at {ISSUES}. BASCULE_DEBUG=1 shows the traceback here.",
        )
        self.report = report

    def as_dict(self) -> dict[str, Any]:
        """See `BasculeError.as_dict`; with the traceback's file."""
        return {**super().as_dict(), "report": str(self.report) if self.report else None}


class Interrupted(BasculeError):
    """The user pressed Ctrl-C. A server that is up ends by it as it should; this one was not."""

    exit_code = 130

    def __init__(self, command: str = "") -> None:
        text = (
            "Interrupted before the server was up; nothing is left running."
            if command in SERVERS
            else "Interrupted. What was finished is kept; the same command continues."
        )
        super().__init__(text)


def recognised(error: BaseException, arguments: list[str]) -> BasculeError:
    """Return what to tell a user about an exception that no room has told about."""
    if is_interruption(error):
        return Interrupted(next(iter(arguments), ""))
    problem = _of_the_machine(error)
    if problem is not None:
        return problem
    told = [one for one in arguments if not one.isascii() and SURROGATE.search(one)]
    if told and isinstance(error, UnicodeEncodeError):
        return InputError(f"{told[0][:80]!a} is no text in UTF-8.", hint="Write it in UTF-8, as the locale should say.")
    if os.environ.get("BASCULE_DEBUG") == "1":
        traceback.print_exception(error, file=sys.stderr)
    return Bug(error, _written(error, arguments))


def _of_the_machine(error: BaseException) -> EnvironmentProblem | None:
    if isinstance(error, MemoryError):
        return EnvironmentProblem("The machine has no memory left for this.", hint="Use less data or a larger machine.")
    if not isinstance(error, OSError):
        return None
    where = f" {error.filename}" if error.filename else ""
    if error.errno in FULL:
        return EnvironmentProblem(
            f"Cannot write{where}: the disk is full.", hint="Free some space, then repeat the command: it continues."
        )
    if error.errno in REFUSED:
        return EnvironmentProblem(f"Cannot use{where}: {error.strerror}.", hint="Check the rights, then repeat.")
    if error.errno in EXHAUSTED:
        return EnvironmentProblem(f"The machine refuses{where}: {error.strerror}.", hint="Check it, then repeat.")
    return None


def _written(error: BaseException, arguments: list[str]) -> Path | None:
    now = datetime.now(UTC)
    text = (
        f"bascule {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"{now.isoformat(timespec='seconds')}  bascule {' '.join(arguments)}\n\n"
        + "".join(traceback.format_exception(error))
    )
    name = f"bascule-bug-{now:%Y%m%dT%H%M%S}-{os.getpid()}.txt"
    for folder in (_workspace_folder(arguments), Path(tempfile.gettempdir())):
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # The command line may hold what only its user may know.
            handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(handle, "w", encoding="utf-8", errors="backslashreplace") as out:  # half characters, too
                out.write(text)
        except OSError:
            continue
        return folder / name
    return None


def _workspace_folder(arguments: list[str]) -> Path | None:
    """Return the workspace's folder for temporary files, found without any room: one of them may be what is broken."""
    named = _option(arguments, "--workspace") or os.environ.get("BASCULE_WORKSPACE", "")
    if named and "://" not in named:
        folder = Path(named)
        return (folder if folder.name == ".bascule" else folder / ".bascule") / "tmp"
    here = Path(_option(arguments, "--project") or ".").absolute()
    found = next((one for one in (here, *here.parents) if (one / ".bascule" / "workspace.toml").is_file()), None)
    return found / ".bascule" / "tmp" if found else None


def _option(arguments: list[str], name: str) -> str:
    for place, argument in enumerate(arguments):
        if argument == name:
            return next(iter(arguments[place + 1 :]), "")
        if argument.startswith(f"{name}="):
            return argument.removeprefix(f"{name}=")
    return ""


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else "no message"
