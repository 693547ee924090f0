"""What a watched process notes by itself: its interpreter, files, seeds, source files, and how it ended.

`note` is how everything here, and all that watches frameworks, says something: an entry is a dict with its `kind`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType, TracebackType
from typing import Any

from bascule_journal import Journal
from bascule_session import BLOBS, FOLDER, keep_bytes

JOURNAL = FOLDER
# What of a process' variables can change a result; `tracking.environment` has the same.
VARIABLES = (
    *("PYTHONHASHSEED", "PYTHONOPTIMIZE", "CUBLAS_WORKSPACE_CONFIG", "TF_DETERMINISTIC_OPS", "CUDA_VISIBLE_DEVICES"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    *("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "LOKY_MAX_CPU_COUNT", "TZ", "LANG", "LC_ALL"),
)
LONGEST_TRACE = 20_000

_busy = threading.local()
_journal: Journal | None = None
_skipped: tuple[str, ...] = ()
_hooked = False


def begin(folder: str | None = None) -> None:
    """Open a journal in a session's folder, the one that the environment names by default, and start to watch."""
    global _journal, _skipped, _hooked
    place = folder or os.environ.get(JOURNAL)
    if not place or not os.path.isdir(place) or any("resource_tracker" in word for word in sys.orig_argv):
        return  # (a resource tracker is a servant of `multiprocessing`: it outlives its script, and does no work of it)
    _journal = Journal(place)
    _skipped = _not_of_the_user(place)
    note(_start())
    import bascule_files

    bascule_files.forget()
    if _hooked:
        return
    _hooked = True
    sys.addaudithook(
        _auditor(
            {
                "open": bascule_files.opened,
                "os.rename": lambda source, target, *_: bascule_files.moved(source, target),
                "os.remove": lambda path, *_: bascule_files.removed(path),
                "sqlite3.connect": bascule_files.connected,
            }
        )
    )
    _watch_exceptions()
    atexit.register(end)
    import bascule_seeds

    bascule_seeds.watch_seeds()
    import bascule_frameworks

    bascule_frameworks.watch_imports()


def end() -> None:
    """Say what is known when all is done, and close the journal."""
    global _journal
    journal = _journal
    if journal is None:
        return
    with contextlib.suppress(Exception):
        import bascule_frameworks

        bascule_frameworks.end()
    with contextlib.suppress(Exception):
        import bascule_files

        bascule_files.end()
    with contextlib.suppress(Exception):
        note({"kind": "sources", "paths": _sources()})
    note({"kind": "end", "pid": os.getpid()})
    journal.close()
    _journal = None


def active() -> Journal | None:
    """Return the journal of this process, or None while it is not watched."""
    return _journal


def note(entry: dict[str, Any]) -> bool:
    """Append one entry; tell whether it is written. Nothing is raised: a full disk is not the script's business."""
    if _journal is None:
        return False
    before = getattr(_busy, "now", False)
    _busy.now = True  # the journal opens files too, and those are not the script's
    try:
        return _journal.note(entry)
    finally:
        _busy.now = before


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """Let the block open files that are not the script's."""
    before = getattr(_busy, "now", False)
    _busy.now = True
    try:
        yield
    finally:
        _busy.now = before


def keep(data: bytes) -> str | None:
    """Put bytes beside the journal, for an entry to name; return their path, or None when they cannot be kept."""
    if _journal is None:
        return None
    before = getattr(_busy, "now", False)
    _busy.now = True
    try:
        return os.path.join(_journal.folder, BLOBS, keep_bytes(_journal.folder, data))
    except OSError as error:
        note({"kind": "warning", "text": f"{len(data)} bytes are not kept: {error}"})
        return None
    finally:
        _busy.now = before


def _start() -> dict[str, Any]:
    return {
        "kind": "start",
        "pid": os.getpid(),
        "argv": sys.orig_argv,
        "python": sys.version.split()[0],
        "executable": sys.executable,
        "path": [os.path.abspath(place) for place in sys.path if os.path.isdir(place or ".")],
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def _not_of_the_user(place: str) -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    roots = {paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"], sys.prefix, sys.base_prefix}
    roots |= {os.path.dirname(__file__), "/proc", "/sys", "/dev", "/etc", "/usr"}
    # What tools keep of their own below one's home is no data.
    roots |= {os.path.expanduser(f"~/{name}") for name in (".ipython", ".jupyter", ".cache", ".config", ".local")}
    above = os.path.dirname(os.path.dirname(os.path.realpath(place)))
    own = os.path.realpath(os.getcwd())
    if os.path.basename(above) == ".bascule" and not own.startswith(above):  # what is done again is done in there
        roots.add(above)
    # A project below the temporary folder (as in a test) is still a project.
    temporary = os.path.realpath(os.environ.get("TMPDIR") or "/tmp")
    if not own.startswith(temporary):
        roots.add(temporary)
    found = {os.path.realpath(place), *roots, *(os.path.realpath(root) for root in roots)}
    return tuple(root + os.sep for root in sorted(found))


def _sources() -> list[str]:
    """Return the Python files of the user's that were imported or run."""
    found = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and path.endswith(".py") and not path.startswith(_skipped):
            path = os.path.realpath(path)
            if not path.startswith(_skipped):
                found.add(path)
    return sorted(found)


def own_modules() -> list[ModuleType]:
    """Return the modules of the user's that are there, with the script or the notebook itself."""
    found = []
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if name == "__main__" or (isinstance(path, str) and not os.path.realpath(path).startswith(_skipped)):
            found.append(module)
    return found


def _auditor(told: Mapping[str, Callable[..., None]]) -> Callable[[str, tuple[Any, ...]], None]:
    def on_audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in told or _journal is None:
            return
        # A hook cannot be taken off, and it sees what it does itself: `_busy` keeps it from answering its own calls.
        if getattr(_busy, "now", False):
            return
        _busy.now = True
        try:
            told[event](*arguments)
        except Exception:
            return
        finally:
            _busy.now = False

    return on_audit


def _watch_exceptions() -> None:
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        with contextlib.suppress(Exception):
            note_exception(kind, error, trace)
        before(kind, error, trace)

    sys.excepthook = hook


def note_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Note the exception that ends a process."""
    if issubclass(kind, KeyboardInterrupt):  # an import here would make the interpreter forget that it was interrupted
        note({"kind": "exception", "text": "Interrupted."})
        return
    import traceback  # only when there is one

    text = "".join(traceback.format_exception(kind, error, trace))[-LONGEST_TRACE:]
    note({"kind": "exception", "text": f"{kind.__name__}: {error}", "trace": text})
