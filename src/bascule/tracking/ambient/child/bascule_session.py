"""A session: one tracked command or process, and the folder on local disk that its journals lie in.

`session.json` says what is known when it begins; `owner` names the process whose end is the session's.
"""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any

from bascule_journal import Journal, this_process

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
HEADER, OWNER, BLOBS = "session.json", "owner", "blobs"
# Room on the disk that is taken while there is some: the end is written there when the disk is full then.
LAST, LAST_BYTES = "last", 512
JOURNALS, RUN, FOLDER = "BASCULE_JOURNALS", "BASCULE_RUN", "BASCULE_JOURNAL"
KEEP_OUTPUTS = "BASCULE_KEEP_OUTPUTS"
RUN_ID = re.compile(r"[A-Za-z0-9_.-]{1,40}")


def new_id(prefix: str) -> str:
    """Return an id as `bascule.catalog.new_id` makes them: 11 characters of time in microseconds, 15 of chance."""
    return f"{prefix}_{_base32(now(), 11)}{_base32(int.from_bytes(os.urandom(10), 'big'), 15)}"


def _base32(number: int, width: int) -> str:
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(width)))


def now() -> int:
    """Return the time in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def project_folder(start: str) -> str | None:
    """Return the nearest folder upwards that is a project's, or None."""
    folder = os.path.realpath(start)
    while True:
        if os.path.isfile(os.path.join(folder, "bascule.toml")) or os.path.isdir(os.path.join(folder, ".bascule")):
            return folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def find(start: str, workspace: str | None = None) -> tuple[str, str] | None:
    """Return a project's folder and where its workspace is: a folder that is one, or a server's address.

    None when there is no such project or workspace, or it takes more than a look to tell.
    """
    project = project_folder(start)
    if project is None:
        return None
    address = workspace or os.environ.get("BASCULE_WORKSPACE") or _written(project)
    if "://" in address:
        return project, address
    own = os.path.join(os.getcwd(), address)
    if os.path.basename(os.path.normpath(own)) != ".bascule":
        own = os.path.join(own, ".bascule")
    return (project, own) if os.path.isfile(os.path.join(own, "workspace.toml")) else None


def _written(project: str) -> str:
    """Return the workspace that the project's file names, or the one beside it."""
    try:
        with open(os.path.join(project, "bascule.toml"), "rb") as text:
            data = text.read()
        if b"workspace" in data:
            import tomllib

            url = tomllib.loads(data.decode()).get("workspace", {}).get("url", "")
            if isinstance(url, str) and url:
                return url if "://" in url else os.path.join(project, url)
    except (OSError, ValueError, AttributeError):
        pass
    return project


def own_spool() -> str:
    """Return where journals lie that have no workspace's folder: in the person's own state."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "bascule", "journals")


def spools(project: str | None, workspace: str | None) -> list[str]:
    """Return the folders that a session may lie in, the best first.

    Args:
        workspace: as it was named, if it was: a folder, or a server's address.
    """
    places = []
    if os.environ.get(JOURNALS):
        places.append(os.path.abspath(os.environ[JOURNALS]))
    found = find(project, workspace) if project else None
    if found is not None and "://" not in found[1]:
        places.append(os.path.join(os.path.realpath(found[1]), "journals"))
    return [*places, own_spool()]


def create(
    *, name: str, command: list[str], start: str, workspace: str | None = None, spool: str | None = None, **more: Any
) -> str:
    """Make a session's folder and return it.

    Args:
        start: a folder in or below the project.
        workspace: as it was named by an option, if it was.
        more: what else the header says: run, branch, experiment, tags, parent, keep_outputs.

    Raises:
        OSError: when no folder can be made.
    """
    project = project_folder(start)
    workspace = workspace or os.environ.get("BASCULE_WORKSPACE") or None
    run = more.pop("run", None)
    session = new_id("ses")
    header = {
        "session": session,
        "run": run or new_id("run"),
        "resumes": bool(run),
        "name": name,
        "command": command,
        "folder": project or os.path.realpath(start),
        "has_project": project is not None,
        "working_folder": os.getcwd(),
        "workspace": workspace,
        "branch": os.environ.get("BASCULE_BRANCH") or None,
        "user": os.environ.get("BASCULE_USER") or None,
        "login": _login(),
        "host": os.uname().nodename if hasattr(os, "uname") else "",
        "started_at": now(),
        "keep_outputs": os.environ.get(KEEP_OUTPUTS, "") not in ("", "0"),
        **{key: value for key, value in more.items() if value},
    }
    import shutil

    problem: OSError = FileNotFoundError("no place for journals")
    for place in [spool] if spool else spools(project, workspace):
        folder = os.path.join(place, session)
        try:
            os.makedirs(os.path.join(folder, BLOBS), mode=0o700)
            _write(os.path.join(folder, OWNER), this_process())
            _write(os.path.join(folder, HEADER), json.dumps(legible(header)))
            _write(os.path.join(folder, LAST), " " * LAST_BYTES)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            problem = error
        else:
            return folder
    raise problem


def header_of(folder: str) -> dict[str, Any]:
    """Return what a session's header says."""
    with open(os.path.join(folder, HEADER), encoding="utf-8") as text:
        found: dict[str, Any] = json.load(text)
    return found


def own(folder: str) -> None:
    """Make this process the one whose end is the session's."""
    _write(os.path.join(folder, OWNER), this_process())


def legible(value: Any) -> Any:
    """Return a value with all of its texts as every database takes them.

    A file's name or an argument may hold bytes that are no UTF-8, which Python has as lone surrogates; those, and NUL,
    are written as people write them: `\\udcff`, `\\x00`.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    if isinstance(value, list):
        return [legible(one) for one in value]
    if isinstance(value, dict):
        return {legible(key): legible(one) for key, one in value.items()}
    return value


def checked_run(run: str) -> str:
    """Return a run's id.

    Raises:
        ValueError: when it can be none.
    """
    if not RUN_ID.fullmatch(run):
        raise ValueError(f"{run[:60]!r} is no run's id: it has 1 to 40 of the signs A-Z a-z 0-9 _ . -")
    return run


def note_last(folder: str, entry: dict[str, Any]) -> None:
    """Write down how a session ended where there is room on a full disk, too."""
    try:
        data = json.dumps({"at": now(), **entry}).encode().ljust(LAST_BYTES)
        with open(os.path.join(folder, LAST), "r+b", buffering=0) as room:
            room.write(data[:LAST_BYTES])
    except OSError:
        return


def last_of(folder: str) -> dict[str, Any] | None:
    """Return the end that was written down on a full disk; None when none was."""
    try:
        with open(os.path.join(folder, LAST), "rb") as room:
            found: dict[str, Any] = json.loads(room.read())
            return found
    except (OSError, ValueError):
        return None


def keep(folder: str, path: str) -> str:
    """Copy a file into the session and return its name there.

    Raises:
        OSError: when it cannot be read or kept.
    """
    import shutil

    name = os.urandom(12).hex()
    shutil.copyfile(path, os.path.join(folder, BLOBS, name))
    return name


def keep_bytes(folder: str, data: bytes) -> str:
    """Keep bytes in the session and return their name there.

    Raises:
        OSError: when they cannot be kept.
    """
    name = os.urandom(12).hex()
    with open(os.path.join(folder, BLOBS, name), "xb") as out:
        out.write(data)
    return name


def journal_of(folder: str) -> Journal:
    """Return a journal of this process in a session."""
    return Journal(folder)


def _write(path: str, text: str) -> None:
    with open(path + ".new", "w", encoding="utf-8") as out:
        out.write(text)
    os.replace(path + ".new", path)


def _login() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid-{os.getuid()}" if hasattr(os, "getuid") else "unknown"
