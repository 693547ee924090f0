"""A walk through a folder, in the order of a manifest, that reads no file whose content is known."""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from bascule.errors import InputError, NotFound
from bascule.lake.filesets import ignoring
from bascule.lake.filesets.entries import EXECUTABLE, FILE, LINK, Digest
from bascule.lake.filesets.paths import LONGEST_PATH, RESERVED, STAGING, Names, RefusedPath, checked_link, checked_path
from bascule.lake.filesets.statcache import Known, StatCache, changed_at, inode

_KINDS = {
    modes.S_IFIFO: "a pipe",
    modes.S_IFSOCK: "a socket",
    modes.S_IFCHR: "a device",
    modes.S_IFBLK: "a device",
}


class Found(NamedTuple):
    """A file of a folder.

    Attributes:
        path: relative to the folder, with `/`.
        digest: of its content if that is known without reading it; always known for a link.
    """

    path: str
    mode: int
    size: int
    digest: Digest | None
    stat: os.stat_result


def scan(folder: Path, cache: StatCache, *, ignore: bool = True) -> Iterator[Found]:
    """Walk through a folder in the order of its paths. Empty folders are passed over, and `.git` and `.bascule`.

    Args:
        ignore: heed `.basculeignore`, and raise for what a set does not hold; without it, such things are passed over.

    Raises:
        NotFound, InputError: there is no such folder, or it is none.
        RefusedPath: a path that a set does not hold.
    """
    if not folder.exists():
        raise NotFound("folder", str(folder), hint="Name a folder that is there.")
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder.", hint="A file set is a folder; put the file into one.")
    yield from _Walk(folder, cache, ignore).files()


class _Walk:
    def __init__(self, root: Path, cache: StatCache, ignore: bool) -> None:
        self.root, self.cache, self.strict = str(root), cache, ignore
        self.ignored = ignoring.Ignored()

    def files(self) -> Iterator[Found]:
        # Folders are met where their paths stand among those of files: `a-b`, `a/c`, `a0`.
        stack = [self.below("")]
        while stack:
            for found in stack[-1]:
                if isinstance(found, str):
                    stack.append(self.below(found))
                    break
                yield found
            else:
                stack.pop()

    def below(self, prefix: str) -> Iterator[Found | str]:
        """Iterate over the files of a folder and, as text that ends with `/`, the folders in it, in order."""
        folder = f"{self.root}/{prefix[:-1]}" if prefix else self.root
        entries = self.listed(folder, prefix)
        known = self.cache.folder(folder)
        if len(known) > 2 * len(entries) + 16:
            known = {name: known[name] for name, entry in entries if entry is not None and name in known}
            self.cache.replace(folder, known)
        for name, entry in entries:
            path = prefix + name
            if entry is None:
                yield path
                continue
            found = self.found(path, name, entry, known)
            if found is not None:
                yield found

    def listed(self, folder: str, prefix: str) -> list[tuple[str, os.DirEntry[str] | None]]:
        """Return the names of a folder in the order of paths: a folder's name with its `/`, and no entry."""
        listed: list[tuple[str, os.DirEntry[str] | None]] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        listed.append((entry.name, entry))
                    elif entry.name not in RESERVED and not entry.name.startswith(STAGING):
                        listed.append((entry.name + "/", None))
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                why = f"with the folder's own path it is longer than {LONGEST_PATH} bytes"
                raise RefusedPath(prefix, why, self.root, "Move it up, or leave it out in .basculeignore.") from error
            raise InputError(
                f"{_short(folder)} cannot be read: {error.strerror}.",
                hint="Check its rights, or leave it out by a line in .basculeignore.",
            ) from error
        if self.strict:
            here = Path(folder)
            self.ignored.enter(here, prefix, any(name == ignoring.FILE for name, _ in listed))
            if self.ignored:
                listed = [one for one in listed if prefix + one[0] not in self.ignored]
            for name, _ in listed:
                checked_path(prefix + name if name[-1] != "/" else prefix + name[:-1], self.root)
            names = {name.rstrip("/").casefold() for name, _ in listed}
            if len(names) < len(listed):
                listed.sort(key=_name)
                siblings = Names(self.root)
                for name, _ in listed:
                    siblings.see(prefix + name.rstrip("/"))
        listed.sort(key=_name)
        return listed

    def found(self, path: str, name: str, entry: os.DirEntry[str], known: dict[str, Known]) -> Found | None:
        try:
            stat = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None  # it went while we looked
        mode = stat.st_mode
        if modes.S_ISREG(mode):
            executable = EXECUTABLE if mode & 0o100 else FILE
            was = known.get(name)
            if (
                was is not None
                and was[1] == stat.st_mtime_ns
                and was[2] == changed_at(stat)
                and was[0] == stat.st_size
                and was[3] == inode(stat)
            ):
                return Found(path, executable, stat.st_size, was[4], stat)
            return Found(path, executable, stat.st_size, None, stat)
        if modes.S_ISLNK(mode):
            return self.link(path, entry, stat)
        if not self.strict:
            return None
        kind = _KINDS.get(modes.S_IFMT(mode), "no file")
        raise RefusedPath(
            path, f"it is {kind}", self.root, "Move it away, or leave it out by a line in .basculeignore."
        )

    def link(self, path: str, entry: os.DirEntry[str], stat: os.stat_result) -> Found:
        target = os.readlink(entry.path)
        if self.strict:
            checked_link(path, target, self.root)
        content = os.fsencode(target)
        return Found(path, LINK, len(content), blake3(content).digest(), stat)


def _short(path: str) -> str:
    return path if len(path) <= 200 else f"{path[:200]}…"


def _name(listed: tuple[str, object]) -> str:
    return listed[0]


def read_link(path: str) -> bytes:
    """Return the content of a link: what it points to."""
    return os.fsencode(os.readlink(path))


def check_rights(path: str, error: OSError) -> InputError:
    """Return the error for a file that cannot be read."""
    return InputError(
        f"{path} cannot be read: {error.strerror}.",
        hint="Check its rights, or leave it out by a line in .basculeignore.",
    )
