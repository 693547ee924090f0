"""Artifacts: files that runs and logged models keep, as they were sent, on disk or in object storage.

An artifact's path is confined: it is decoded until nothing changes, and what then leaves its folder, or could on any
system, is refused. Nothing is ever read as code here.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote

from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.store import Place
from bascule.store.places import ObjectPath

FOLDER = "artifacts"
MOST_CHARACTERS = 4096
_SHOWN = 120
CHUNK = 1 << 20


class Readable(Protocol):
    """What gives its bytes bit by bit."""

    def read(self, size: int = ..., /) -> bytes:
        """Return the next bytes; none at the end."""
        ...


@dataclass(frozen=True)
class Artifact:
    """A file or a folder; `path` from the folder that was listed, `size` in bytes, None for a folder."""

    path: str
    is_dir: bool
    size: int | None = None


def confined(path: str) -> str:
    """Return a path as its parts joined by `/`; `` is the root.

    Raises:
        InputError: when it leaves its folder, or would on another system.
    """
    text = path
    for _ in range(10):
        plain = unquote(text)
        if plain == text:
            break
        text = plain
    else:
        raise _invalid(path)
    parts = text.split("/")
    if (
        len(text) > MOST_CHARACTERS
        or not text.isprintable()  # half characters, which are no UTF-8, are not
        or text.startswith("/")
        or any(part == ".." or len(part.encode()) > 255 for part in parts)
        or any(sign in text for sign in ("\\", "\0", "#", "?"))
        or (len(text) > 1 and text[1] == ":")
    ):
        raise _invalid(path)
    return "/".join(part for part in parts if part not in ("", "."))


def _invalid(path: str) -> InputError:
    return InputError(
        f"Invalid path: {path[:_SHOWN]!r}", hint="Name a file below the folder, with / between the parts."
    )


class Artifacts:
    """The artifacts of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._root: Place = workspace.storage / FOLDER
        self._temporary = workspace.temporary_folder

    def place(self, path: str) -> Place:
        """Return where an artifact lies.

        Raises:
            InputError: as `confined`; also for a link that leads elsewhere.
        """
        clean = confined(path)
        place = self._root / clean if clean else self._root
        if isinstance(place, Path) and isinstance(self._root, Path):
            root, real = os.path.realpath(self._root), os.path.realpath(place)
            if real != root and not real.startswith(root.rstrip(os.sep) + os.sep):
                raise _invalid(path)
        return place

    def list(self, folder: str) -> list[Artifact]:
        """Return what is in a folder, by name; nothing for a file, and for what is not there."""
        place = self.place(folder)
        if not place.is_dir():
            return []
        found = []
        for one in place.iterdir():
            is_dir = one.is_dir()
            found.append(Artifact(one.name, is_dir, None if is_dir else one.stat().st_size))
        return sorted(found, key=lambda one: one.path)

    def file(self, path: str) -> Place:
        """Return the place of a file that is there.

        Raises:
            NotFound: when there is none.
            InputError: when it is a folder, or no path.
        """
        place = self.place(path)
        if place.is_dir():
            raise InputError(f"{path[:_SHOWN]!r} is a folder.", hint="List it, and ask for its files.")
        if not place.is_file():
            raise NotFound("artifact", path[:_SHOWN], hint="List the folder to see what there is.")
        return place

    def delete(self, path: str) -> None:
        """Delete a file, or a folder with all that is in it; what is not there is gone already."""
        place = self.place(path)
        if place == self._root:
            raise _invalid(path)
        if isinstance(place, ObjectPath):
            if place.is_file():
                place.unlink(missing_ok=True)
            place.remove_tree()
        elif place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)

    async def write(self, path: str, chunks: AsyncIterator[bytes]) -> int:
        """Keep a file as it comes; it appears whole or not at all, and is on the disk when this returns.

        Returns:
            How many bytes it has.
        """
        target = self.checked_target(path)
        size = 0
        with self._receiving() as (out, temporary):
            async for chunk in chunks:
                out.write(chunk)
                size += len(chunk)
            out.flush()
            os.fsync(out.fileno())
            self._land(temporary, target, path)
        return size

    def keep(self, path: str, source: Path) -> None:
        """Keep a file of this machine; it appears whole or not at all, and is on the disk when this returns."""
        with source.open("rb") as data:
            self.put(path, data)

    def checked_target(self, path: str) -> Place:
        """Return where a file is to lie; a path that no file can have is refused: it leads out, or is a folder.

        Raises:
            InputError.
        """
        target = self.place(path)
        if target == self._root or target.is_dir():
            raise _invalid(path)
        return target

    @property
    def waiting(self) -> Path:
        """A folder on the local disk for what is not whole yet."""
        folder = self._root.parent / f"{FOLDER}.tmp" if isinstance(self._root, Path) else self._temporary
        assert isinstance(folder, Path)
        return folder

    def put(self, path: str, source: Readable) -> int:
        """Keep a file as `write` does, from something that is read."""
        target = self.checked_target(path)
        with self._receiving() as (out, temporary):
            shutil.copyfileobj(source, out, CHUNK)
            size = out.tell()
            out.flush()
            os.fsync(out.fileno())
            self._land(temporary, target, path)
        return size

    def read(self, path: str, most: int) -> bytes:
        """Return a file whole.

        Raises:
            NotFound: there is none. InputError: it is a folder, or has more than `most` bytes.
        """
        place = self.file(path)
        size = place.stat().st_size
        if size > most:
            raise InputError(
                f"{path[:_SHOWN]!r} has {size:,} bytes; at most {most:,} are read.", hint="Use a smaller one."
            )
        return place.read_bytes()

    def size(self, path: str) -> int | None:
        """Return how many bytes a file has; None when there is none."""
        place = self.place(path)
        return place.stat().st_size if place.is_file() else None

    @contextmanager
    def _receiving(self) -> Iterator[tuple[BinaryIO, Path]]:
        temporary = self.waiting / f"artifact-{secrets.token_hex(8)}"
        try:
            try:
                new = temporary.open("xb")
            except FileNotFoundError:  # the first one of all
                temporary.parent.mkdir(parents=True, exist_ok=True)
                new = temporary.open("xb")
            with new as out:
                yield out, temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _land(self, temporary: Path, target: Place, path: str) -> None:
        if isinstance(target, ObjectPath):
            target.upload(temporary)
            return
        try:
            try:
                os.replace(temporary, target)
            except FileNotFoundError:  # the first one in its folder
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(temporary, target)
        except (NotADirectoryError, FileExistsError, IsADirectoryError):
            raise InputError(
                f"A file stands where {path[:_SHOWN]!r} needs a folder.", hint="Take another name."
            ) from None
