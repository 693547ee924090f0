"""Bringing a folder to a version of a set: files that are right already stay, others are written or removed.

Everything is written into a folder of its own inside the target first, and then renamed into its place: a whole folder
at once where there was none. So a killed checkout leaves no half of a file, and the next one goes on from there.
Nothing that somebody changed is overwritten without their word.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bascule.errors import Conflict, EnvironmentProblem
from bascule.lake.filesets.comparing import differs
from bascule.lake.filesets.entries import Entry
from bascule.lake.filesets.manifest import Manifest
from bascule.lake.filesets.paths import STAGING, Names, checked_path
from bascule.lake.filesets.progress import Progress, Tell, silent
from bascule.lake.filesets.reading import windows
from bascule.lake.filesets.scanning import Found, scan
from bascule.lake.filesets.statcache import StatCache, past
from bascule.lake.filesets.writing import Writer

SHOWN = 20
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Entry]).decode


@dataclass(slots=True)
class CheckedOut:
    """What a checkout did.

    Attributes:
        written, removed, kept: how many files; kept ones were right already.
        bytes: of the files that were written.
        linked, cloned: how many of those are hard links, or share their blocks with the store.
    """

    written: int = 0
    removed: int = 0
    kept: int = 0
    bytes: int = 0
    linked: int = 0
    cloned: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counts as one JSON object."""
        return {name: getattr(self, name) for name in ("written", "removed", "kept", "bytes", "linked", "cloned")}


@dataclass(slots=True)
class _Plan:
    """What is to be done; the entries to write are in windows of a temporary file."""

    spool: Any
    windows: list[int] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    clashing: int = 0
    files: int = 0
    bytes: int = 0
    kept: int = 0

    def clash(self, path: str, why: str) -> None:
        self.clashing += 1
        if len(self.conflicts) < SHOWN:
            self.conflicts.append(f"{path} ({why})")

    def entries(self) -> Iterator[list[Entry]]:
        self.spool.seek(0)
        for size in self.windows:
            yield _decode(self.spool.read(size))


class Checkout:
    """One checkout.

    Args:
        folder: the target, resolved; made when it is not there.
        wanted: the version that it is brought to.
        base: the version that it has, as far as is known: what differs from it was changed by somebody.
        chosen: tells whether a path is meant; None for all.
        force: overwrite and remove what somebody changed.
        link: make hard links, read-only, to blobs that hold one file.
    """

    def __init__(
        self,
        folder: Path,
        wanted: Manifest,
        base: Manifest,
        cache: StatCache,
        *,
        chosen: Callable[[str], bool] | None = None,
        force: bool = False,
        link: bool = False,
        tell: Tell = silent,
    ) -> None:
        self.folder, self.wanted, self.base, self.cache = folder, wanted, base, cache
        self.chosen, self.force, self.link, self.tell = chosen, force, link, tell

    def run(self, spool: Any) -> CheckedOut:
        """Do it.

        Args:
            spool: a temporary file for the plan.

        Raises:
            Conflict: somebody changed what would be overwritten or removed; nothing was changed.
            RefusedPath: the version has a path that no set holds; nothing was changed.
            EnvironmentProblem: a blob is missing or damaged, or the disk is full. The target is as it was.
        """
        self.tell(Progress("Comparing", 0, 0, *self._whole()))
        plan = self._plan(spool)
        if plan.clashing and not self.force:
            shown = "; ".join(plan.conflicts) + (f"; and {plan.clashing - SHOWN} more" if plan.clashing > SHOWN else "")
            raise Conflict(
                f"In {self.folder} a checkout would lose what the set does not have, {plan.clashing} in all: {shown}.",
                paths=plan.conflicts,
                hint="Add them first, move them away, or overwrite them with --force.",
            )
        done = CheckedOut(kept=plan.kept)
        if not plan.windows and not plan.remove:
            return done
        staging, stamp = self._staging()
        writer = Writer(self.wanted.store, staging, stamp, self.folder, self.cache, self.wanted.where, self.link)
        for window in plan.entries():
            for entry, how in writer.write(window):
                done.written, done.bytes = done.written + 1, done.bytes + entry.size
                done.linked, done.cloned = done.linked + (how == "linked"), done.cloned + (how == "cloned")
                if done.written % 256 == 1:
                    self.tell(Progress("Writing", done.written, done.bytes, plan.files, plan.bytes))
        self.tell(Progress("Writing", done.written, done.bytes, plan.files, plan.bytes))
        self.cache.save()
        done.removed = self._remove(plan.remove)
        _publish(staging, self.folder, self.cache)
        self.cache.save()
        return done

    def _whole(self) -> tuple[int | None, int | None]:
        value = self.wanted.value
        return (value["files"], value["bytes"]) if value else (None, None)

    # The plan --------------------------------------------------------------------------------------------------------

    def _plan(self, spool: Any) -> _Plan:
        plan, names = _Plan(spool), Names(self.wanted.where)
        is_there = self.folder.is_dir()
        found = scan(self.folder, self.cache, ignore=False) if is_there else iter(())
        base = self.base.entries() if is_there else iter(())
        for window in windows(self._to_write(found, base, plan, names)):
            body = _encode(window)
            spool.write(body)
            plan.windows.append(len(body))
            plan.files += len(window)
            plan.bytes += sum(entry.size for entry in window)
        if is_there and plan.windows:
            self._clear_way(plan)
        return plan

    def _to_write(self, found: Iterator[Found], base: Iterator[Entry], plan: _Plan, names: Names) -> Iterator[Entry]:
        hint = "The version was not made by Bascule; use another one."
        for wanted, file, was in _three(self.wanted.entries(), found, base):
            if wanted is not None:
                checked_path(wanted.path, self.wanted.where, hint)
                names.see(wanted.path)
            path = (wanted or file or was).path  # type: ignore[union-attr]
            if self.chosen is not None and not self.chosen(path):
                continue
            if wanted is None:
                if file is not None and was is not None:
                    if differs(self.folder, file, was, self.cache):
                        plan.clash(path, "changed here, removed there")
                    plan.remove.append(path)
            elif file is None:
                yield wanted
            elif not differs(self.folder, file, wanted, self.cache):
                plan.kept += 1
            else:
                if was is None or differs(self.folder, file, was, self.cache):
                    plan.clash(path, "changed here" if was else "not of this set")
                yield wanted

    def _clear_way(self, plan: _Plan) -> None:
        """Look for folders where files will be, and for files and links where folders will be."""
        going, seen = set(plan.remove), set[str]()
        for window in plan.entries():
            for entry in window:
                self._above(entry.path, going, seen, plan)
                place = f"{self.folder}/{entry.path}"
                if os.path.isdir(place) and not os.path.islink(place):
                    for file in _all_files(place):
                        path = file[len(str(self.folder)) + 1 :]
                        if path not in going:
                            plan.clash(path, f"in the way of file {entry.path}")
                            plan.remove.append(path)

    def _above(self, path: str, going: set[str], seen: set[str], plan: _Plan) -> None:
        while path := path.rpartition("/")[0]:
            if path in seen:
                return
            seen.add(path)
            place = f"{self.folder}/{path}"
            if os.path.lexists(place) and (os.path.islink(place) or not os.path.isdir(place)) and path not in going:
                plan.clash(path, "in the way of a folder")
                plan.remove.append(path)

    # Doing it --------------------------------------------------------------------------------------------------------

    def _staging(self) -> tuple[Path, int]:
        """Return the folder that files are written into, and the time that marks finished ones: a killed one's."""
        assert self.wanted.value is not None or self.base.value is not None
        mark = f"{STAGING}{(self.wanted.value or {'digest': 'none'})['digest'][:16]}-"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            kept = None
            for path in sorted(self.folder.glob(f"{STAGING}*")):
                rest = path.name.removeprefix(mark)
                if kept is None and path.name.startswith(mark) and rest.isdigit() and not path.is_symlink():
                    kept = path, int(rest) * 1_000_000_000
                else:
                    shutil.rmtree(path, ignore_errors=True)
            if kept is not None:
                return kept
            stamp = past()
            path = self.folder / f"{mark}{stamp // 1_000_000_000}"
            path.mkdir()
        except OSError as error:
            raise EnvironmentProblem(
                f"Cannot write to {self.folder}: {error.strerror}.", hint="Check the rights and the space, then repeat."
            ) from error
        return path, stamp

    def _remove(self, paths: list[str]) -> int:
        folders = set()
        for path in paths:
            Path(f"{self.folder}/{path}").unlink(missing_ok=True)
            folders.add(path.rpartition("/")[0])
        for folder in sorted(folders, key=len, reverse=True):
            while folder:
                try:
                    os.rmdir(f"{self.folder}/{folder}")
                except OSError:
                    break
                folder = folder.rpartition("/")[0]
        return len(paths)


def _three(
    wanted: Iterator[Entry], found: Iterator[Found], base: Iterator[Entry]
) -> Iterator[tuple[Entry | None, Found | None, Entry | None]]:
    """Bring three sorted lists together by path."""
    w, f, b = next(wanted, None), next(found, None), next(base, None)
    while w is not None or f is not None or b is not None:
        path = min(one.path for one in (w, f, b) if one is not None)
        here = (
            w if w is not None and w.path == path else None,
            f if f is not None and f.path == path else None,
            b if b is not None and b.path == path else None,
        )
        yield here
        if here[0] is not None:
            w = next(wanted, None)
        if here[1] is not None:
            f = next(found, None)
        if here[2] is not None:
            b = next(base, None)


def _all_files(folder: str) -> Iterator[str]:
    for where, _, names in os.walk(folder):
        yield from (f"{where}/{name}" for name in names)


def _publish(staging: Path, target: Path, cache: StatCache) -> None:
    """Rename what was written into its place: a folder at once where there is none."""
    with os.scandir(staging) as listed:
        entries = list(listed)
    for entry in entries:
        place = f"{target}/{entry.name}"
        if not entry.is_dir(follow_symlinks=False):
            os.replace(entry.path, place)
            # A rename changes the file's ctime, by which it is known.
            cache.moved(str(target), entry.name, os.lstat(place))
        elif os.path.lexists(place):
            _publish(Path(entry.path), Path(place), cache)
        else:
            os.rename(entry.path, place)
    os.rmdir(staging)
