"""Runs a module that ends with its parent: `python tether.py SIGNAL MODULE ARGUMENTS…`.

A parent that is killed cannot tell its children. The system can: it closes the pipe that is the child's standard input.
When that ends, the process sends itself SIGNAL, so that the module ends as if it had been told to. Started as a file,
not as a module, so that nothing is imported before the module itself.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _until_the_parent_ends(number: int) -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    os.kill(os.getpid(), number)


def main(arguments: list[str]) -> None:
    """Watch standard input in a thread and run the module in this one."""
    name, module, *rest = arguments
    sys.path.pop(0)  # this file's folder: its modules must not hide the standard library's
    sys.argv = [module, *rest]
    number = getattr(signal, name)
    if signal.getsignal(number) is signal.SIG_IGN:
        # A shell has what it starts in the background ignore Ctrl-C, and every process below it does the same.
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    threading.Thread(target=_until_the_parent_ends, args=(number,), name="tether", daemon=True).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
