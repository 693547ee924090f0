"""Fitted models: noted with what they are made of, and kept in a file beside the journal."""

from __future__ import annotations

import os
import pickle
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from bascule_frameworks.describing import example, rows_of, signature
from bascule_frameworks.telling import NoJournal, allowed, at_end, beside, emit, number, plainly, unique, warn
from bascule_frameworks.wrapping import tried

# Of one class in one process: so many fits are kept whole, and the last.
MOST_FITS = 20
LARGEST_MODEL = 256 << 20
MOST_IMPORTANCES = 1000
# `off`: no model is kept. `pickle`: scikit-learn's models are kept by pickle. `skops`: all of them are, however many.
MODELS = "BASCULE_TRACK_MODELS"

_last: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {}


def wanted() -> bool:
    """Whether models are kept."""
    return os.environ.get(MODELS, "").lower() not in ("off", "0", "no")


def is_kept(name: str, model: Any, note_later: Callable[[Any], None]) -> bool:
    """Whether a fit is one of the first of its class. Of those beyond, the last is noted at the end, if it lives then.

    Args:
        note_later: notes the last one; must hold neither it nor data.
    """
    if allowed(f"fits of {name}", MOST_FITS):
        return True
    keep_last(name, model, note_later)
    return False


def keep_last(name: str, model: Any, note_later: Callable[[Any], None]) -> None:
    """Have a model noted at the end, if it lives then and no other of its name came after it."""
    if not _last:
        at_end(_note_last)
    _last[name] = (weakref.ref(model), note_later)


def _note_last() -> None:
    for held, note_later in list(_last.values()):
        model = held()
        if model is not None:
            note_later(model)
    _last.clear()


def note_fit(
    framework: str,
    name: str,
    *,
    params: Mapping[str, Any],
    data: Any = None,
    target: Any = None,
    importance: Mapping[str, float] | None = None,
    values: Mapping[str, Any] | None = None,
    parts: Sequence[str] = (),
    children: Sequence[Mapping[str, Any]] = (),
    model: Mapping[str, Any] | None = None,
    texts: Mapping[str, str] | None = None,
    cls: type | None = None,
) -> None:
    """Note a fitted model.

    Args:
        values: single numbers that it came to.
        parts: the names of what was fitted inside.
        children: candidates of a search, each with `params` and `scores`.
        model: as `keep` returns it.
        texts: documents that describe it, by file name.
    """
    top = sys.modules.get(framework)
    entry: dict[str, Any] = {
        "kind": "fit",
        "id": unique(),
        "framework": framework,
        "version": str(getattr(top, "__version__", "")),
        "name": name,
        "params": plainly(params),
        "values": {key: told for key, value in (values or {}).items() if (told := number(value)) is not None},
        "parts": list(parts),
        "model": model,
    }
    if cls is not None:
        entry["class"] = f"{cls.__module__}.{cls.__qualname__}"
    if data is not None:
        entry["rows"] = tried(framework, rows_of, data)
        entry["signature"] = tried(framework, signature, data, target)
        entry["example"] = tried(framework, example, data)
    if importance:
        greatest = sorted(importance.items(), key=lambda one: -abs(one[1]))[:MOST_IMPORTANCES]
        entry["importance"] = {str(key): float(value) for key, value in greatest}
    if children:
        entry["children"] = list(children)
    if texts:
        entry["texts"] = dict(texts)
    emit(entry)


def keep(
    framework: str, form: str, write: Callable[[str], None], *, safe: bool, told: bool = True
) -> dict[str, Any] | None:
    """Keep a model in a file; None when that fails, which is told.

    Args:
        form: what kind of file it is, which ends its name.
        write: writes to a path.
        safe: reading such a file runs no code.
        told: whether it is told when that fails; there is another way when not.
    """
    if not wanted():
        return None
    try:
        path = beside(form)
    except NoJournal:
        return None
    try:
        write(path)
        size = os.stat(path).st_size
        if size > LARGEST_MODEL:
            raise _TooLarge(f"a model of {size >> 20} MiB is larger than the {LARGEST_MODEL >> 20} MiB that are kept")
    except Exception as error:
        if os.path.exists(path):
            os.unlink(path)
        if told:
            warn(framework, "a fitted model is not kept", error)
        return None
    return {"path": path, "format": form, "safe": safe}


def keep_pickle(framework: str, model: Any) -> dict[str, Any] | None:
    """Keep a model by pickle, which nothing but its owner's own programs ever load."""

    def write(path: str) -> None:
        with open(path, "wb") as out:
            pickle.dump(model, _Bounded(out), protocol=pickle.HIGHEST_PROTOCOL)  # type: ignore[arg-type]

    return keep(framework, "pkl", write, safe=False)


class _TooLarge(Exception):
    pass


class _Bounded:
    """A file that takes no more than a model may have."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._left = LARGEST_MODEL

    def write(self, data: Any) -> int:
        self._left -= memoryview(data).nbytes
        if self._left < 0:
            raise _TooLarge(f"a model is larger than the {LARGEST_MODEL >> 20} MiB that are kept")
        return self._out.write(data)
