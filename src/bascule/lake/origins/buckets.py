"""Objects in S3-compatible storage: `s3://BUCKET/KEY`, or a pattern of keys."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit, urlunsplit

import msgspec

from bascule.errors import EnvironmentProblem, InputError, NotFound
from bascule.lake.iceberg import files
from bascule.lake.origins.local import CONVERTED, readable
from bascule.lake.origins.origin import Asked, Part, refuse_options
from bascule.lake.sources import discovery
from bascule.sizes import format_size
from bascule.store.buckets import Bucket

CHUNK = 8 << 20
WILD = "*?["


@dataclass(frozen=True, slots=True)
class _Object:
    """An object: its key with the bucket before it, and what tells it from any other that had the key."""

    key: str
    mark: str
    bytes: int


class Buckets:
    """Objects of one bucket. Credentials and options are those of a workspace's storage."""

    def versions(self, asked: Asked) -> dict[str, str]:
        """See `Origin`: when each object was written, and its size."""
        refuse_options(asked, "sheet", "encoding")
        _, objects = _listed(asked)
        return {one.key: one.mark for one in objects}

    def parts(self, asked: Asked) -> Iterator[Part]:
        """See `Origin`. Objects that did not change are not fetched; one that was cut off goes on from there."""
        bucket, objects = _listed(asked)
        held = {name: mark for source in asked.known for name, mark in source.version.items()}
        fresh = [one for one in objects if asked.whole or held.get(one.key) != one.mark]
        total, done = sum(one.bytes for one in fresh), 0
        for number, one in enumerate(fresh):
            path = asked.spool / f"{number:05}" / PurePosixPath(one.key).name
            path.parent.mkdir(exist_ok=True)
            asked.tell(f"fetching {path.name}, {format_size(done)} of {format_size(total)} so far")
            etag = _fetch(bucket, one, path)
            done += one.bytes
            version = {one.key: one.mark, **({"etag": etag} if etag else {})}
            part = Part(path, files.digest(path), path.name, asked.shown, version)
            yield from readable(part, asked)


def _listed(asked: Asked) -> tuple[Bucket, list[_Object]]:
    parts = urlsplit(asked.address)
    path = parts.path.lstrip("/")
    wild = next((at for at, sign in enumerate(path) if sign in WILD), None)
    # Where a `?` stands for a sign, the rest of the address cannot be told from its options.
    folder = path if wild is None else path[:wild].rpartition("/")[0]
    bucket = Bucket(urlunsplit(("s3", parts.netloc, f"/{folder}", parts.query, "")))
    name = parts.netloc.rpartition("@")[2]
    if wild is None:
        try:
            found = [bucket.file(bucket.root)]
        except FileNotFoundError:
            found = [one for one in bucket.list(bucket.root) if one.is_file and _is_data(one.path)]
    else:
        listed = bucket.list(bucket.root, deep=True)
        found = [one for one in listed if one.is_file and fnmatch.fnmatchcase(one.path, f"{name}/{path}")]
    if not found:
        raise NotFound("object", asked.shown, hint="Check the bucket and the key; * stands for any signs.")
    marked = [_Object(one.path, f"{one.mtime_ns}-{one.size}", int(one.size)) for one in found]
    return bucket, sorted(marked, key=lambda one: one.key)


def _is_data(key: str) -> bool:
    return discovery.known(Path(PurePosixPath(key).name), CONVERTED)


def _fetch(bucket: Bucket, one: _Object, path: Path) -> str:
    working, note = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.note")
    try:
        with bucket.opened(one.key) as source, bucket.told():
            etag = bytes((source.metadata() or {}).get("ETag", b"")).decode()
            mark = etag or one.mark
            is_same = note.exists() and msgspec.json.decode(note.read_bytes(), type=str) == mark
            if is_same and path.exists():
                return etag.strip('"')  # it came, and was not taken in
            if not is_same:
                working.unlink(missing_ok=True)
                note.write_bytes(msgspec.json.encode(mark))
            with working.open("ab") as out:
                source.seek(min(out.tell(), one.bytes))
                while chunk := source.read(CHUNK):
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
    except FileNotFoundError:
        raise NotFound("object", f"s3://{one.key}", hint="It was deleted meanwhile.") from None
    if working.stat().st_size != one.bytes:
        working.unlink()
        raise EnvironmentProblem(f"s3://{one.key} changed while it was read.", hint="Repeat.")
    if not one.bytes:
        raise InputError(f"s3://{one.key} is empty.", hint="Give a file with rows.")
    working.replace(path)
    return etag.strip('"')
