"""Packed files: what is in them, and no more of it than a file of that size can honestly hold."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from bascule.errors import InputError
from bascule.lake.origins.origin import Asked
from bascule.lake.origins.spool import whole
from bascule.lake.sources import text
from bascule.lake.sources.discovery import COMPRESSIONS
from bascule.sizes import format_size

# Texts shrink to a tenth or a fiftieth; what unpacks to more than this is made to fill a disk.
RATIO = 250
SMALL = 256 << 20  # what may come out of any file
MEMBERS = 10_000
CHUNK = 1 << 20


class Member(NamedTuple):
    """A file that was packed: where it is now, and its name in the archive."""

    path: Path
    name: str


def members(path: Path, asked: Asked, formats: Mapping[str, str]) -> Iterator[Member]:
    """Unpack the data files of a ZIP archive into the spool, one after the other.

    Raises:
        InputError: it is damaged, encrypted or a bomb, or holds no data file.
    """
    limit = most(path.stat().st_size)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            if len(infos) > MEMBERS:
                raise InputError(f"{path} holds {len(infos):,} files; {MEMBERS:,} may be.", hint="Unpack it yourself.")
            chosen = [info for info in infos if _is_data(info.filename, formats)]
            if not chosen:
                names = ", ".join(info.filename for info in infos[:5]) or "nothing"
                raise InputError(f"{path} holds no data file, but {names}.", hint="Give an archive of data files.")
            if left := len(infos) - len(chosen):
                asked.tell(f"{path.name}: {left} files that are no data are left out")
            left_bytes = limit
            for number, info in enumerate(chosen):
                # The name in the archive is only told: where the file goes is ours to say.
                target = asked.spool / f"member-{number:05}" / Path(info.filename.replace("\\", "/")).name
                target.parent.mkdir(exist_ok=True)
                left_bytes -= _unpack(archive, info, target, left_bytes, path)
                yield Member(target, info.filename)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        what = "is encrypted" if "password" in str(error) or "encrypted" in str(error) else f"is damaged: {error}"
        raise InputError(f"{path} {what}.", hint="Bring it again, or unpack it yourself.") from error


def refuse_bomb(path: Path) -> None:
    """Raise `InputError` when a compressed file unpacks to far more than a file of its size can honestly hold."""
    limit = most(path.stat().st_size)
    done = 0
    try:
        with text.opened(path) as source:
            while chunk := source.read(CHUNK):
                done += len(chunk)
                if done > limit:
                    raise _bomb(path, limit)
    except OSError as error:
        raise InputError(f"{path} is damaged: {error}.", hint="Bring it again.") from error


def refuse_packed_bomb(path: Path) -> None:
    """Do what `refuse_bomb` does for a file that is a ZIP archive inside, such as a workbook; others pass."""
    if not zipfile.is_zipfile(path):
        return
    left = limit = most(path.stat().st_size)
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                with archive.open(info) as source:
                    while chunk := source.read(CHUNK):
                        left -= len(chunk)
                        if left < 0:
                            raise _bomb(path, limit)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise InputError(f"{path} is damaged: {error}.", hint="Bring it again.") from error


def most(packed: int) -> int:
    """Return how many bytes may come out of so many packed ones."""
    return max(SMALL, packed * RATIO)


def _is_data(name: str, formats: Mapping[str, str]) -> bool:
    path = Path(name)
    endings = [one.lower() for one in path.suffixes[-2:]]
    if endings and endings[-1] in COMPRESSIONS:
        endings.pop()
    hidden = any(part.startswith((".", "__MACOSX")) and part.strip(".") for part in path.parts)
    return bool(endings) and endings[-1] in formats and endings[-1] != ".zip" and not hidden


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, limit: int, path: Path) -> int:
    done = 0
    with archive.open(info) as source, whole(target) as out:
        while chunk := source.read(CHUNK):  # what comes is counted: what the header says may be a lie
            done += len(chunk)
            if done > limit:
                raise _bomb(path, limit)
            out.write(chunk)
    return done


def _bomb(path: Path, limit: int) -> InputError:
    packed = format_size(path.stat().st_size)
    return InputError(
        f"{path} has {packed} and unpacks to more than {format_size(limit)}: it is made to fill a disk.",
        hint="If you trust it, unpack it yourself and bring what comes out.",
    )
