"""The exit code of a process that records itself: what `sys.exit` was given, if that is what ended the process.

No hook tells of a `SystemExit`. So `sys.exit` remembers its exception. At the end its traceback tells who handled it
last: nobody, a block that let it go on, or one that caught it and came to its own end.
"""

from __future__ import annotations

import dis
import functools
import sys
import threading
from types import TracebackType
from typing import Any

# What the last instruction is of who caught an exception: it came to its end, or said another one instead.
CAUGHT = frozenset(dis.opmap[name] for name in dis.opmap if name.startswith(("RETURN_", "RAISE_")))

_last: list[SystemExit] = []


def watch_exit() -> None:
    """Have `sys.exit` remembered from here on."""
    original = sys.exit
    if getattr(original, "__wrapped__", None) is not None:  # another session of this process did so
        return

    @functools.wraps(original)
    def exit(*status: Any) -> Any:
        try:
            original(*status)
        except SystemExit as error:
            if threading.current_thread() is threading.main_thread():
                _last[:] = [error]
            raise

    sys.exit = exit


def exit_code() -> int | None:
    """Return the code that `sys.exit` ended this process with; None when it did not. To be asked once, at the end."""
    if not _last:
        return None
    error = _last.pop()  # its frames hold what the script had: they go now
    trace: TracebackType | None = error.__traceback__
    if trace is None:
        return None
    frame = trace.tb_frame
    last = frame.f_code.co_code[frame.f_lasti : frame.f_lasti + 1]
    if frame.f_code.co_filename != __file__ and CAUGHT.issuperset(last):
        return None
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1
