"""The process of one Python check: `python -m bascule.contracts.alone`, spoken to by `apart`."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa

from bascule.contracts.apart import receive, send
from bascule.contracts.calling import Rows, call
from bascule.errors import BasculeError
from bascule.functions import load_function

_GRACE = 10.0


def main() -> None:
    """Read what to call, call it, and say what it said."""
    asked, talk, out = begin()

    def answer(query: str) -> pa.Table:
        said, found = talk({"query": query})
        if "error" in said:
            raise duckdb.Error(said["error"])
        return found

    try:
        function = load_function(asked["name"], Path(asked["folder"]))
        said = call(function, asked["name"], Rows(asked["table"], asked["columns"], answer))
    except BasculeError as error:
        send(out, {"refused": error.message})
    else:
        send(out, {"failing": said.failing, "text": said.text}, said.rows)


def begin() -> tuple[dict[str, Any], Callable[[dict[str, Any]], tuple[dict[str, Any], pa.Table | None]], IO[bytes]]:
    """Return what to call, what asks the one who wants it called, and where to say what was said."""
    into, out = _channels()
    asked, _ = receive(into)
    # When the one that asked is gone, nobody else ends this; not even code that never lets Python's lock go stops it.
    faulthandler.dump_traceback_later(asked["seconds"] + _GRACE, exit=True, file=open(os.devnull, "w"))  # noqa: SIM115
    lock = threading.Lock()

    def talk(message: dict[str, Any]) -> tuple[dict[str, Any], pa.Table | None]:
        with lock:
            send(out, message)
            return receive(into)

    return asked, talk, out


def _channels() -> tuple[IO[bytes], IO[bytes]]:
    """Take the standard streams for the conversation: what a check prints or reads must not get into it."""
    into, out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(sys.stderr.fileno(), 1)
    return into, out


if __name__ == "__main__":
    main()
