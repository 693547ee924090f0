"""Which paths a file set may hold. The same rules hold when files are added and when a manifest is written out, because
whoever can write to the store can write a manifest, and a path is where a file will lie on somebody's disk.
"""

from __future__ import annotations

import re
import sys
import unicodedata

from bascule.errors import InputError

LONGEST_PATH = 4096
LONGEST_NAME = 255
# Folders that make their surroundings act: a set never brings one. They are passed over when a folder is added.
RESERVED = frozenset({".git", ".bascule"})
STAGING = ".bascule-staging-"

# A backslash is a separator elsewhere, and a control character hides what a name is.
_BAD = re.compile(r"[\x00-\x1f\x7f\\]")
# What most paths are: nothing in them needs a second look, and a set may have a million.
_PLAIN = re.compile(r"(?:\w[\w. -]*/)*\w[\w. -]*", re.ASCII).fullmatch
_WINDOWS = re.compile(r'[<>:"|?*]|[. ]$|^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)', re.IGNORECASE)


class RefusedPath(InputError):
    """A path that a file set does not hold."""

    def __init__(self, path: str, why: str, where: str, hint: str) -> None:
        shown = path if len(path) <= 120 else f"{path[:100]}… ({len(path)} characters)"
        super().__init__(f"{shown!r} in {where} is refused: {why}.", hint=hint)


def checked_path(path: str, where: str, hint: str = "Rename it, or leave it out by a line in .basculeignore.") -> str:
    """Return a path if a set may hold it.

    Args:
        where: the folder or the set that it is in, for the message.

    Raises:
        RefusedPath: it is absolute, leads out, is not normal Unicode, is too long or names what is reserved.
    """
    why = _fault(path)
    if why:
        raise RefusedPath(path, why, where, hint)
    return path


def _fault(path: str) -> str:
    if len(path) <= LONGEST_NAME and _PLAIN(path) and sys.platform != "win32":
        return ""
    if path.isascii():
        size = len(path)
    else:
        try:
            size = len(path.encode())
        except UnicodeEncodeError:
            return "its name is not UTF-8"
        if not unicodedata.is_normalized("NFC", path):
            return "its name is not normal Unicode (NFC), so it would be another file on another machine"
    if size > LONGEST_PATH:
        return f"it is longer than {LONGEST_PATH} bytes"
    if bad := _BAD.search(path):
        return f"it has {bad.group()!r} in it"
    for name in path.split("/"):
        if fault := _name_fault(name, size):
            return fault
    return ""


def _name_fault(name: str, size: int) -> str:
    if name in ("", ".", ".."):
        return "it is no relative path inside the set"
    if size > LONGEST_NAME and len(name.encode()) > LONGEST_NAME:
        return f"a name in it is longer than {LONGEST_NAME} bytes"
    if name[0] == "." and (name.casefold() in RESERVED or name.startswith(STAGING)):
        return f"{name!r} is reserved"
    if sys.platform == "win32" and _WINDOWS.search(name):
        return f"Windows has no file named {name!r}"
    return ""


def checked_link(path: str, target: str, where: str) -> str:
    """Return what a link points to if that stays inside the set: relative, and never up after it went down.

    Up first and then down can be followed from the link's own folder, which is a real one; a `..` further on could
    lead out by way of another link.

    Raises:
        RefusedPath: it does not.
    """
    parts = target.split("/")
    up = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    leads_out = up > path.count("/") or any(part in ("", ".", "..") for part in parts[up:])
    if leads_out or _BAD.search(target) or len(target) > LONGEST_PATH:
        raise RefusedPath(
            path,
            f"it is a link to {target[:200]!r}, which may lead out of the set",
            where,
            "Replace it by the file itself or by a relative link inside, or leave it out by a line in .basculeignore.",
        )
    return target


class Names:
    """Finds paths that only upper and lower case tells apart, and files that are also folders.

    Fed with paths in order; holds no more than the names of the folders that are open.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._folder = ""
        self._open: list[dict[str, str]] = [{}]

    def see(self, path: str) -> None:
        """Take the next path. Raises `RefusedPath` when it collides with one before."""
        folder, _, name = path.rpartition("/")
        if folder != self._folder:
            self._enter(folder)
        self._put(name, path)

    def _enter(self, folder: str) -> None:
        wanted = folder.split("/") if folder else []
        held = self._folder.split("/") if self._folder else []
        common = 0
        while common < min(len(wanted), len(held)) and wanted[common] == held[common]:
            common += 1
        del self._open[common + 1 :]
        for name in wanted[common:]:
            self._put(name, folder)
            self._open.append({})
        self._folder = folder

    def _put(self, name: str, path: str) -> None:
        names, folded = self._open[-1], name.casefold()
        if folded not in names:
            names[folded] = name
            return
        before = names[folded]
        why = f"beside {before!r} only upper and lower case tells them apart, which not every disk does"
        if before == name:
            why = f"{name!r} is a file and a folder at once"
        raise RefusedPath(path, why, self.where, "Rename one of the two, or leave it out by a line in .basculeignore.")
