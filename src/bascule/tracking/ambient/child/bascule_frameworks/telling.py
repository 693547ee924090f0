"""Writing to the journal what frameworks did: parameters, points, files beside it, and what is left out."""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bascule_session import BLOBS
from bascule_watch import active, note

LARGEST_VALUE = 500
LARGEST_LINE = 1 << 16  # of an entry; a larger one goes into a file beside the journal
MOST_PARAMS = 2000
MOST_POINTS = 100_000  # of one metric in one process

_numbers = itertools.count()
_counts: dict[str, int] = {}
_limits: dict[str, int] = {}
_steps: dict[str, int] = {}
_warned: set[str] = set()
_at_end: list[Callable[[], None]] = []


class NoJournal(Exception):
    """Nobody watches any more."""


def warn(framework: str, text: str, error: BaseException | None = None) -> None:
    """Say once on standard error, in all processes of the run together, that something of a framework is left out."""
    if framework in _warned:
        return
    _warned.add(framework)
    try:
        told = f"{text}: {type(error).__name__}: {error}" if error is not None else text
        note({"kind": "warning", "framework": framework, "text": told[:LARGEST_VALUE]})
        os.close(os.open(os.path.join(_folder(), f"told-{framework}"), os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        print(f"bascule: {told[:LARGEST_VALUE]}. The script goes on; less is recorded of it.", file=sys.stderr)
    except Exception:
        return


def emit(entry: Mapping[str, Any]) -> None:
    """Note one entry; a large one is put beside the journal, and the line says where."""
    text = json.dumps(entry, default=repr)
    if len(text) <= LARGEST_LINE:
        note(dict(entry))
        return
    path = beside("json")
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
    note({"kind": entry["kind"], "payload": path})


def unique() -> str:
    """Return a name that no other entry of the run has."""
    return f"{os.getpid()}-{time.time_ns()}-{next(_numbers)}"


def beside(form: str) -> str:
    """Return the path of a new file beside the journal, which the parent takes into the store."""
    return os.path.join(_folder(), BLOBS, f"{unique()}.{form}")


def _folder() -> str:
    journal = active()
    if journal is None:
        raise NoJournal
    return journal.folder


def allowed(kind: str, most: int) -> bool:
    """Count one of a kind; False once there are more than `most`, which the end of the process tells."""
    count = _counts.get(kind, 0) + 1
    _counts[kind] = count
    if count <= most:
        return True
    if count == most + 1:
        _limits[kind] = most
        note({"kind": "capped", "what": kind, "most": most})
    return False


def plain(value: Any) -> Any:
    """Return a parameter's value as JSON holds it: numbers, text and None as they are, the rest by its `repr`."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return value[:LARGEST_VALUE]
    if isinstance(value, int):
        return int(value) if -(1 << 63) <= value < 1 << 64 else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return plain(value.item())
    return repr(value)[:LARGEST_VALUE]


def plainly(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return parameters by name, each as JSON holds it."""
    return {f"{prefix}{key}": plain(value) for key, value in itertools.islice(values.items(), MOST_PARAMS)}


def number(value: Any) -> Any:
    """Return a number as JSON holds it (`nan` and infinities as text), or None for what is none."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else str(found)


def params(values: Mapping[str, Any], prefix: str = "") -> None:
    """Note parameters of the run."""
    note({"kind": "params", "values": plainly(values, prefix)})


def curve(key: str, values: Iterable[Any], first: int = 0) -> None:
    """Note a metric that was measured at steps one after another, at once."""
    journal = active()
    held = [(step, float(told)) for step, told in enumerate(map(number, values), first) if told is not None]
    if held and journal is not None:
        if len(held) > MOST_POINTS:
            allowed(f"points of {key}", 0)
            held = held[-MOST_POINTS:]
        journal.points("", key, [told for _, told in held], [step for step, _ in held], time.time_ns() // 1000)


def point(key: str, value: Any, step: int | None = None) -> None:
    """Note one point of a metric; without a step, it is the next one. Bounded, and cheap when called very often."""
    journal = active()
    if journal is None:
        return
    if type(value) is not float:
        try:
            value = float(value)
        except (TypeError, ValueError):
            return
    if not allowed(f"points of {key}", MOST_POINTS):
        return
    if step is None:
        step = _steps[key] = _steps.get(key, -1) + 1
    journal.point("", key, value, int(step), time.time_ns() // 1000)


def at_end(work: Callable[[], None]) -> None:
    """Do something when the watching ends; what it raises is swallowed."""
    _at_end.append(work)


def end() -> None:
    """Note what is only known at the end. Another watching may begin in this process: it counts anew."""
    for work in _at_end:
        try:
            work()
        except Exception as error:
            note({"kind": "warning", "text": f"{type(error).__name__}: {error}"})
    for kind, most in _limits.items():
        note({"kind": "capped", "what": kind, "most": most, "of": _counts.get(kind, 0)})
    for held in (_counts, _limits, _steps):
        held.clear()


def _in_child() -> None:
    """In a fork nothing of the parent's is told again."""
    _at_end.clear()
    _limits.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
