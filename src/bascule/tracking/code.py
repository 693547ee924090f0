"""The code of a project as it stands: the git commit, whether it is dirty, and every text file itself.

A commit id alone does not bring a run back: the tree may be dirty, the repository may be gone, there may be no git at
all. So the text of the project is kept in the store, each file once, and a run points at the list.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bascule.capture import module
from bascule.store import BlobStore

legible = module("bascule_session").legible
SUFFIXES = {".py", ".sql", ".toml", ".yaml", ".yml", ".json", ".md", ".txt", ".cfg", ".ini", ".lock", ".ipynb", ".sh"}
# These came later: snapshots that were taken before lack them, so what a snapshot lacks of them was there all the same.
LATER = {".ipy", "Makefile", "makefile", "GNUmakefile", "justfile", "Justfile", "Snakefile", "Dockerfile"}
# What of a changed text is data: it is versioned as what was read.
DATA = {".csv", ".tsv", ".jsonl", ".ndjson"}
# A text file above this is data, and data is versioned by the lake.
LARGEST = 1 << 20
SKIPPED = {".git", ".bascule", ".venv", "venv", "node_modules", "__pycache__", "data"}


@dataclass(frozen=True, slots=True)
class Code:
    """What a project's code was.

    Attributes:
        commit: the git commit, if the project is in a repository with one.
        dirty: whether tracked files differ from that commit, or untracked text lies beside them.
        snapshot: the blob with `{path: blob}` of every text file of the project.
    """

    commit: str | None
    dirty: bool | None
    snapshot: str


def capture_code(folder: Path, store: BlobStore) -> Code:
    """Keep the project's text in the store and say what it was. Costs a read of each text file."""
    listing = {name: store.put((folder / name).read_bytes()) for name in _texts(folder)}
    snapshot = store.put(msgspec.json.encode(listing, order="deterministic"))
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    status = _git(folder, "status", "--porcelain", "--untracked-files=normal", "--", ".") if commit else None
    return Code(commit or None, bool(status) if commit else None, snapshot)


def restore_code(snapshot: str, store: BlobStore, into: Path) -> list[str]:
    """Write the text files of a snapshot below a folder and return their paths.

    Raises:
        NotFound: when the snapshot or a file of it is not in the store any more.
    """
    listing: dict[str, str] = msgspec.json.decode(store.get(snapshot))
    for name, digest in listing.items():
        place = into / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(store.get(digest))
    return sorted(listing)


def git_branch(folder: Path) -> str | None:
    """Return the current git branch, or None without git, without a repository or on a detached head."""
    return _git(folder, "symbolic-ref", "--quiet", "--short", "HEAD") or None


def is_detached(folder: Path) -> bool:
    """Whether git stands on a commit and on no branch, as in most CI checkouts."""
    return git_branch(folder) is None and bool(_git(folder, "rev-parse", "--verify", "--quiet", "HEAD"))


def _texts(folder: Path) -> list[str]:
    listed = _git(folder, "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", ".")
    names = listed.split("\0") if listed is not None else _walk(folder)
    # What git's commit has otherwise is code of whatever language: an R script, a header in C.
    told = _git(folder, "diff", "--name-only", "--relative", "-z", "HEAD", "--", ".") if listed else None
    changed = set((told or "").split("\0"))
    # A name that is no UTF-8 has no place in the list, which is JSON.
    wanted = {name for name in names if name and legible(name) == name}
    return sorted(
        name for name in wanted if _is_text(folder / name) or (name in changed and _reads_as_text(folder / name))
    )


def _walk(folder: Path) -> list[str]:
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in SKIPPED]
        found += [Path(parent, name).relative_to(folder).as_posix() for name in files]
    return found


def _is_text(path: Path) -> bool:
    known = path.suffix in SUFFIXES or {path.suffix, path.name} & LATER
    return bool(known) and path.is_file() and path.stat().st_size <= LARGEST


def _reads_as_text(path: Path) -> bool:
    try:
        if path.suffix in DATA or not path.is_file() or path.stat().st_size > LARGEST:
            return False
        return "\0" not in path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return False


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, or None when there is no git or it says no."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # names of files are bytes
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
