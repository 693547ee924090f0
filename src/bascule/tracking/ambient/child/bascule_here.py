"""Watching the process that asks for it: `import bascule.ambient`, or an explicit run in it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

import bascule_run
import bascule_session
import bascule_supervise
from bascule_begun import begin_here, script_name


def begin(name: str | None = None) -> None:
    """Record this process from here on, unless it is recorded already."""
    with contextlib.suppress(Exception):
        if bascule_run.joined() is not None:
            return
        begun = begin_here(
            name or script_name(),
            list(sys.orig_argv),
            run=_rank(),
            branch=os.environ.get("BASCULE_BRANCH"),
        )
        if begun is not None:
            keep_output(begun.folder)


def _rank() -> str | None:
    """Return the run that all processes of a job write, if one is named."""
    run = os.environ.get(bascule_session.RUN)
    return bascule_session.checked_run(run) if run else None


def keep_output(folder: str) -> None:
    """Keep the end of what this process prints, beside where it goes."""
    kept = bascule_supervise.Kept(folder)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, TypeError):  # a stream that cannot be written to by another way
            stream.write = _both(stream.write, kept)  # type: ignore[method-assign, union-attr]


def _both(write: Callable[[str], int], kept: bascule_supervise.Kept) -> Any:
    def written(text: str) -> int:
        done = write(text)
        with contextlib.suppress(Exception):
            kept.write(text.encode("utf-8", "replace"))
        return done

    return written
