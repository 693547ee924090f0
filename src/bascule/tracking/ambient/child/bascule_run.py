"""The explicit way to say something of a run: `with bascule.run(name="try 1") as run: run.log(loss=0.3)`.

Everything goes into the journal of this process first. Nothing raises because a disk is full or a server is down; what
cannot be a value of its kind raises `TypeError` or `ValueError`, as any function does.
"""

from __future__ import annotations

import contextlib
import os
import sys
from array import array
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from time import time_ns
from types import TracebackType
from typing import Any

import bascule_session as session
import bascule_watch as watch
from bascule_begun import Begun, begin_here, end, script_name
from bascule_files import found_as
from bascule_journal import BETWEEN, MOST_OF_A_CALL, Journal
from bascule_values import checked_artifact, named, number, plain, plain_all, whole

STATUSES = ("done", "failed", "cancelled")

_now: ContextVar[ActiveRun | None] = ContextVar("bascule_run", default=None)


class ActiveRun:
    """A run that is going on. All methods may be called from any thread, and from forked processes.

    Attributes:
        id: of the run.
        name: what people call it.
    """

    def __init__(self, run: str, name: str, *, own: Begun | None, key: str) -> None:
        self.id = run
        self.name = name
        self._own = own  # the session that ends with this run
        self._key = key  # how entries name the run: empty for the session's own
        self._before = f"{key}{BETWEEN}" if key else ""
        self._last: dict[str, int] = {}  # the last step of each metric
        self._token: Any = None
        self._open = True

    def __repr__(self) -> str:
        return f"<run {self.id} {self.name!r}>"

    def __enter__(self) -> ActiveRun:
        self._token = _now.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            with contextlib.suppress(ValueError):  # left in another context than it was entered in
                _now.reset(self._token)
        if kind is None or error is None:
            self.finish()
        elif issubclass(kind, KeyboardInterrupt):
            self.finish("cancelled", "Interrupted.")
        else:
            watch.note(self._of({"kind": "trace", "text": _trace(kind, error, trace)}))
            self.finish("failed", f"{kind.__name__}: {error}")

    def log(self, step: int | None = None, **values: float) -> None:
        """Log one point of each metric, buffered: `run.log(loss=0.3, accuracy=0.9, step=1)`.

        Args:
            step: whole; by default one more than the metric's last.

        Raises:
            TypeError, ValueError: for a value that is no number, or a step of more than 64 bits.
        """
        journal = watch._journal
        if journal is None:
            return
        last = self._last
        if step is None:
            before = set(map(last.get, values))
            if len(before) > 1:  # each goes on where it was
                told = {named(key): number(key, value) for key, value in values.items()}  # all of them, or none
                for key, value in told.items():
                    self.log(**{key: value})
                return
            found = before.pop() if before else None
            step = 0 if found is None else found + 1
        # Each step of this is told a million times a second: bounds are literals, and what is usual is asked for first.
        if type(step) is not int or not 0 <= step <= 0x3FFF_FFFF:
            step = whole(step)
        waiting = journal.waiting
        if len(values) == 1:  # the usual call: its dict ends here, and its memory serves the next one
            key, value = values.popitem()
            if type(value) is not float or key not in last:
                key, value = named(key), number(key, value)
            last[key] = step
            waiting += (self._before, key, value, step, time_ns())
        else:
            for key in values:
                if key not in last or type(values[key]) is not float:
                    _settle(values)
                    break
            for key in values:  # only now: what is refused moves nothing
                last[key] = step
            waiting += (self._before, values, None, step, time_ns())
        if len(waiting) >= journal.most or len(values) > MOST_OF_A_CALL:
            journal.flush()

    def metric(self, key: str, value: float, step: int | None = None) -> None:
        """Log one point of a metric of any name."""
        key, told = named(key), number(key, value)
        place = self._last[key] = whole(self._next(key) if step is None else step)
        journal = watch.active()
        if journal is not None:
            journal.point(self._key, key, told, place, time_ns())

    def metrics(self, key: str, values: Sequence[float], steps: Sequence[int] | None = None) -> None:
        """Log many points of a metric at once: a list, an array of numbers, a column.

        Raises:
            ValueError: when there are not as many steps as values.
        """
        key, told = named(key), array("d", [number(key, one) for one in values])
        if steps is None:
            first = self._next(key)
            marks: Sequence[int] = range(first, whole(first + len(told)))
        else:
            marks = [whole(one) for one in steps]
            if len(marks) != len(told):
                raise ValueError(f"{len(told)} values of {key!r} have {len(marks)} steps.")
        if marks:
            self._last[key] = marks[-1]
        journal = watch.active()
        if journal is not None:
            journal.points(self._key, key, told, marks, time_ns())

    def param(self, key: str, value: Any) -> None:
        """Say one parameter; another value for it is ignored, as it was said first."""
        self.params({key: value})

    def params(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Say parameters: a dict, or names and values."""
        if values is not None and not isinstance(values, Mapping):
            raise TypeError(f"Parameters are a dict of names and values; {type(values).__name__} is none.")
        told = {str(key): plain(value) for key, value in {**(values or {}), **more}.items()}
        watch.note(self._of({"kind": "params", "values": told}))

    def tag(self, key: str, value: Any) -> None:
        """Set a label for people and tools; a later value stands."""
        watch.note(self._of({"kind": "tags", "values": {str(key): str(value)}}))

    def reads(self, path: str | os.PathLike[str], version: str | None = None) -> None:
        """Say that something was read: a file, whose content is its version, or anything that has one.

        Of a folder without a version each file was.

        Raises:
            FileNotFoundError: when no version is given, and there is nothing at the path.
        """
        if version is None and os.path.isdir(path):
            for folder, _, files in os.walk(path):
                for one in sorted(files):
                    self._touches("r", os.path.join(folder, one), None)
            return
        if version is None and not os.path.exists(path):
            raise FileNotFoundError(f"There is no file {os.fspath(path)!r}; what is none needs version=….")
        self._touches("r", path, version)

    def writes(self, path: str | os.PathLike[str], version: str | None = None) -> None:
        """Say that something was written."""
        self._touches("w", path, version)

    def artifact(self, path: str | os.PathLike[str] | bytes, name: str | None = None) -> None:
        """Keep a file, a folder or bytes with the run, as they are now.

        Args:
            name: its path among the run's artifacts; the file's own name by default, and needed for bytes.

        Raises:
            ValueError: no name for bytes, or one that leaves the run's folder.
            FileNotFoundError: when there is none at the path.
        """
        if isinstance(path, bytes):
            if not name:
                raise ValueError("Bytes that are kept need a name: run.artifact(data, name='notes.bin').")
            self._keep(path, name)
            return
        place = os.fspath(path)
        wanted = name or os.path.basename(os.path.normpath(place))
        if os.path.isdir(place):
            for folder, _, files in os.walk(place):
                for one in sorted(files):
                    found = os.path.join(folder, one)
                    self._keep_file(found, f"{wanted}/{os.path.relpath(found, place).replace(os.sep, '/')}")
        elif not os.path.isfile(place):
            raise FileNotFoundError(f"There is no file {place!r} to keep.")
        else:
            self._keep_file(place, wanted)

    def text(self, name: str, text: str) -> None:
        """Keep a text as an artifact; a name without a suffix gets `.txt`.

        Raises:
            TypeError: when it is no text.
        """
        if not isinstance(text, str):
            raise TypeError(f"{type(text).__name__} is no text; bytes are kept by run.artifact(data, name='…').")
        self._keep(text.encode(), name if os.path.splitext(name)[1] else f"{name}.txt")

    def figure(self, name: str, figure: Any) -> None:
        """Keep a figure of Matplotlib (PNG), Plotly (JSON), Altair (JSON) or an image of Pillow (PNG).

        Raises:
            TypeError: for anything else.
        """
        from bascule_artifacts import of_figure  # only where one is kept

        self._keep(*of_figure(name, figure))

    def table(self, name: str, rows: Any) -> None:
        """Keep a table as Parquet: of pandas, Polars or Arrow, a list of dicts, or a dict of columns.

        Raises:
            TypeError: for anything else.
        """
        from bascule_artifacts import of_table

        self._keep(*of_table(name, rows))

    def run(self, name: str | None = None, **more: Any) -> ActiveRun:
        """Begin a run below this one."""
        return _child(self, name, more)

    def finish(self, status: str = "done", error: str | None = None) -> None:
        """Close the run, once: done, failed or cancelled. A `with` block does so.

        Raises:
            ValueError: for another status; the run goes on.
        """
        if status not in STATUSES:
            raise ValueError(f"A run ends as one of {', '.join(STATUSES)}; {status!r} is none of them.")
        if not self._open:
            return
        self._open = False
        journal = watch.active()
        if journal is not None:
            journal.flush()
        watch.note(self._of({"kind": "finish", "status": status, "error": error}))
        if self._own is not None:
            end(self._own)

    def _next(self, key: str) -> int:
        return self._last.get(key, -1) + 1

    def _touches(self, mode: str, path: str | os.PathLike[str], version: str | None) -> None:
        if version is None:
            place = os.path.realpath(os.fspath(path))
            entry = {"kind": "file", "mode": mode, "path": place, "found": found_as(place)}
        else:
            entry = {"kind": "touch", "mode": mode, "path": os.fspath(path), "version": str(version)}
        watch.note(self._of(entry))

    def _keep_file(self, path: str, name: str) -> None:
        with open(path, "rb") as source:
            self._keep(source.read(), name)

    def _keep(self, data: bytes, name: str) -> None:
        clean = checked_artifact(name)
        place = watch.keep(data)
        if place is not None:
            watch.note(self._of({"kind": "artifact", "name": clean, "path": place, "size": len(data)}))

    def _of(self, entry: dict[str, Any]) -> dict[str, Any]:
        return {**entry, "run": self._key} if self._key else entry


def start(
    name: str | None = None,
    *,
    experiment: str | None = None,
    tags: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    id: str | None = None,  # the word that people use
    parent: str | None = None,
    follow: bool = True,
) -> ActiveRun:
    """Begin a run. In a run it is one below it; in a tracked script it is one below the script's.

    Args:
        name: what people call it.
        experiment: under which it is kept with others; made when it is new.
        id: of a run that is there, or another process's, to write more to; BASCULE_RUN does the same.
        parent: the run that it is below, by its id.
        follow: start the process that brings the journal in while the run goes on.

    Raises:
        TypeError: tags or parameters that are no dict.
        ValueError: an id that can be none.
    """
    tags, params = plain_all(tags or {}), plain_all(params or {})
    above = _now.get()
    watched = joined()
    wanted = id or (None if watched is not None else os.environ.get(session.RUN)) or None
    if wanted:
        session.checked_run(wanted)
    more = {"experiment": experiment, "tags": tags, "params": params, "id": wanted, "parent": parent}
    if above is not None and above._open:
        return _child(above, name, more)
    if watched is not None:
        return _child(active(), name, more)
    return _root(name, more, follow)


def joined() -> Journal | None:
    """Return this process's journal; in a process that a recorded one started, that is one beside its own."""
    if watch.active() is None and os.environ.get(session.FOLDER):
        watch.begin()
    return watch.active()


def active() -> ActiveRun | None:
    """Return the run that is going on here: the innermost `with` block's, else the tracked script's, else None."""
    found = _now.get()
    if found is not None and found._open:
        return found
    journal = watch.active()
    if journal is None:
        return None
    try:
        header = session.header_of(journal.folder)
    except (OSError, ValueError):
        return None
    return ActiveRun(header["run"], header["name"], own=None, key="")


def _root(name: str | None, more: dict[str, Any], follow: bool) -> ActiveRun:
    script = script_name()
    told = {key: plain_all(more[key]) for key in ("tags", "params") if more.get(key)}
    begun = begin_here(
        name or script,
        list(sys.orig_argv),
        follow=follow,
        run=more.get("id"),
        experiment=more.get("experiment"),
        parent=more.get("parent"),
        **told,
    )
    return ActiveRun(begun.run if begun else session.new_id("run"), name or script, own=begun, key="")


def _child(above: ActiveRun | None, name: str | None, more: Mapping[str, Any]) -> ActiveRun:
    run = more.get("id") or session.new_id("run")
    if above is not None and run == above.id:
        return ActiveRun(run, above.name, own=None, key=above._key)
    made = ActiveRun(run, name or run, own=None, key=run)
    entry = {
        "kind": "run",
        "run": run,
        "name": name or "",
        "parent": more.get("parent") or (above.id if above else None),
        "resumes": bool(more.get("id")),
        "experiment": more.get("experiment"),
    }
    watch.note(entry)
    if more.get("tags"):
        watch.note({"kind": "tags", "values": plain_all(more["tags"]), "run": run})
    if more.get("params"):
        made.params(more["params"])
    return made


def _settle(values: dict[str, Any]) -> None:
    """Make numbers of values where they are, all of them or none.

    Raises:
        TypeError, ValueError: for what is no number, or no name.
    """
    for key, value in values.items():
        values[named(key)] = number(key, value)


def _trace(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> str:
    import traceback

    return "".join(traceback.format_exception(kind, error, trace))[-watch.LONGEST_TRACE :]
