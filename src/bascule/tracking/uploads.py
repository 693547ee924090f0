"""Artifacts that come in parts: each part is a file of its own until all are there, then they become one at once.

Parts lie on this machine's disk, wherever the artifacts are kept. What nobody completed is removed after two days.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec
from blake3 import blake3

from bascule.errors import InputError, NotFound
from bascule.tracking.artifacts import CHUNK, Artifacts

MOST_PARTS = 10_000
MOST_PART = 5 << 30
MOST_OPEN = 1_000
STALE_S = 2 * 86_400
ABOUT, DONE = "about.json", "done"
_ID = re.compile(r"[0-9a-f]{32}")


class Uploads:
    """The uploads that are under way.

    Args:
        artifacts: where the files go.
        folder: on the local disk, for the parts.
    """

    def __init__(self, artifacts: Artifacts, folder: Path) -> None:
        self._artifacts = artifacts
        self._folder = folder

    def begin(self, path: str, parts: int) -> str:
        """Begin an upload of a file in so many parts, and return its id.

        Raises:
            InputError: the path leads out of its folder, or there are too many parts or uploads.
        """
        self._artifacts.checked_target(path)
        if not 1 <= parts <= MOST_PARTS:
            raise InputError(f"A file has 1 to {MOST_PARTS:,} parts, not {parts:,}.", hint="Make the parts larger.")
        self._folder.mkdir(parents=True, exist_ok=True)
        others = list(self._folder.iterdir())
        for one in others:
            if time.time() - one.stat().st_mtime > STALE_S:
                shutil.rmtree(one, ignore_errors=True)
        if len(others) >= MOST_OPEN:
            raise InputError(f"{MOST_OPEN:,} uploads are under way already.", hint="Complete or abort some of them.")
        upload = secrets.token_hex(16)
        place = self._folder / upload
        place.mkdir()
        (place / ABOUT).write_bytes(msgspec.json.encode({"path": path, "parts": parts}))
        return upload

    async def put(self, upload: str, part: int, chunks: AsyncIterator[bytes]) -> str:
        """Keep a part, and return its mark (an ETag); sent again it takes the place of what was sent before.

        Raises:
            NotFound: there is no such upload. InputError: no such part, or it is too large.
        """
        place, about = self._open(upload)
        if not 1 <= part <= int(about["parts"]):
            raise InputError(f"The upload has {about['parts']} parts; there is no part {part}.", hint="Begin anew.")
        temporary = place / f"{part}.{secrets.token_hex(4)}"
        mark, size = blake3(), 0
        try:
            with temporary.open("xb") as out:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > MOST_PART:
                        raise InputError(f"A part has at most {MOST_PART:,} bytes.", hint="Make more parts.")
                    mark.update(chunk)
                    out.write(chunk)
            os.replace(temporary, place / f"{part}.part")
            (place / f"{part}.mark").write_text(mark.hexdigest())
        finally:
            temporary.unlink(missing_ok=True)
        return mark.hexdigest()

    def complete(self, upload: str, path: str, marks: Mapping[int, str]) -> None:
        """Make the file of its parts; said again it changes nothing.

        Args:
            marks: part to the mark that was answered; they must be all that the upload has.

        Raises:
            NotFound: there is no such upload. InputError: it is another file's, or a part is missing or another one.
        """
        place, about = self._open(upload)
        if about["path"] != path:
            raise InputError("The upload is another file's.", hint="Complete it under the path that it began with.")
        if (place / DONE).exists():
            return
        wanted = range(1, int(about["parts"]) + 1)
        for part in wanted:
            mark = place / f"{part}.mark"
            if not mark.exists() or not (place / f"{part}.part").exists():
                raise InputError(f"Part {part} is missing.", hint="Send it, then complete.")
            if marks.get(part, "").strip('"') != mark.read_text():
                raise InputError(f"Part {part} is not the one that was completed with.", hint="Send it again.")
        if set(marks) != set(wanted):
            raise InputError(f"The upload has {len(wanted)} parts; {len(marks)} were named.", hint="Name all of them.")
        self._artifacts.put(path, _Joined([place / f"{part}.part" for part in wanted]))
        (place / DONE).touch()
        for part in wanted:
            (place / f"{part}.part").unlink(missing_ok=True)

    def abort(self, upload: str) -> None:
        """Give an upload up; one that is not there is gone already."""
        if _ID.fullmatch(upload):
            shutil.rmtree(self._folder / upload, ignore_errors=True)

    def _open(self, upload: str) -> tuple[Path, dict[str, str | int]]:
        place = self._folder / upload
        if not _ID.fullmatch(upload) or not (place / ABOUT).is_file():
            raise NotFound("upload", upload[:60], hint="Begin it again: it was aborted, or is too old.")
        return place, msgspec.json.decode((place / ABOUT).read_bytes(), type=dict[str, str | int])


class _Joined:
    """Files that are read as one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._left = list(reversed(paths))
        self._at = 0

    def read(self, size: int = CHUNK, /) -> bytes:
        """Return the next bytes; none at the end."""
        while self._left:
            path = self._left[-1]
            with path.open("rb") as source:
                source.seek(self._at)
                data = source.read(size)
            if data:
                self._at += len(data)
                return data
            self._left.pop()
            self._at = 0
        return b""
