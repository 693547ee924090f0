"""Which blobs a version of a set needs: what garbage collection keeps, `forget` looks at and `migrate` takes along."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from bascule.catalog.schema import commits
from bascule.errors import BasculeError
from bascule.history import Workspace, expiry
from bascule.lake.filesets.entries import CHUNKED, PACKED, PREFIX, WHOLE, Digest, Entry
from bascule.lake.filesets.manifest import Manifest, manifest_of
from bascule.lake.filesets.reading import pieces, read_many, recipe, windows
from bascule.store import BlobStore


def references(store: BlobStore, value: Mapping[str, Any], seen: set[bytes] | None = None) -> Iterator[str]:
    """Iterate over the digests of all blobs that an object needs: of its manifest, its packs, its files and chunks.

    A blob may come more than once.

    Args:
        seen: parts of manifests that were looked through already, which are passed over; added to. With one set for
            many versions, each costs what it does not share with those before.

    Raises:
        EnvironmentProblem: a part of the manifest is missing or damaged.
    """
    manifest, seen = manifest_of(store, value), set() if seen is None else seen
    yield value["manifest"]
    nodes = [node for node in manifest.nodes if node.digest not in seen]
    yield from {node.pack.hex() for node in manifest.nodes}
    for node in nodes:
        segments = list(manifest.segments([node]))
        yield from {segment.pack.hex() for segment in segments}
        fresh = [segment for segment in segments if segment.digest not in seen]
        for entry in manifest.entries(fresh):
            yield from _of_entry(manifest, entry, seen)
        seen.update(segment.digest for segment in segments)
        seen.add(node.digest)


def _of_entry(manifest: Manifest, entry: Entry, seen: set[bytes]) -> Iterator[str]:
    if entry.how == WHOLE:
        yield entry.digest.hex()
    elif entry.pack:
        if entry.pack not in seen or entry.how == CHUNKED:
            seen.add(entry.pack)
            yield entry.pack.hex()
        if entry.how == CHUNKED:
            for chunk in recipe(manifest.store, entry, manifest.where):
                yield chunk.pack.hex()


@dataclass(slots=True)
class FilesReport:
    """What a look at all versions of all sets found.

    Attributes:
        versions: how many were looked at.
        blobs: how many blobs they need.
        problems: what is wrong, each a sentence.
    """

    versions: int = 0
    blobs: int = 0
    problems: list[str] = field(default_factory=list)


def states(workspace: Workspace) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Iterate over every version of every set in every commit: its name, a commit that has it, its object.

    Versions that expired are left out: what they need was let go.
    """
    history = workspace.history
    with workspace.catalog.read() as conn:
        found = conn.execute(select(commits.c.id, commits.c.root)).all()
        known = expiry.every(conn, expiry.CONTENT)
    for commit in {row.root: row.id for row in found}.values():
        for path, digest in history.digests(history.commit_by_id(commit), PREFIX).items():
            if digest not in known:
                known.add(digest)
                yield path.removeprefix(PREFIX), commit, history.object(digest)


def check(workspace: Workspace, *, deep: bool = False) -> FilesReport:
    """Look whether every blob that a version of a set needs is there.

    Args:
        deep: also read every file of every version and compare it with its digest.
    """
    store, report = workspace.store, FilesReport()
    there: dict[str, bool] = {}
    seen, were_read = set[bytes](), set[bytes]()
    for name, commit, value in states(workspace):
        report.versions += 1
        gone: set[str] = set()
        try:
            for digest in references(store, value, seen):
                if digest not in there:
                    there[digest] = store.has(digest)
                if not there[digest]:
                    gone.add(digest)
            if gone:
                report.problems += _told(store, name, commit, value, gone)
            elif deep:
                _read(store, name, value, were_read)
        except BasculeError as error:
            report.problems.append(f"{PREFIX}{name} in commit {commit[:10]}: {error.message}")
    report.blobs = len(there)
    return report


def _told(store: BlobStore, name: str, commit: str, value: Mapping[str, Any], gone: Iterable[str]) -> Iterator[str]:
    """Iterate over sentences that name the missing blobs and what is lost with each."""
    missing = {bytes.fromhex(digest) for digest in gone}
    lost: dict[Digest, list[str]] = {}
    manifest = manifest_of(store, value, name)
    for entry in manifest.entries():
        place = entry.digest if entry.how == WHOLE else entry.pack
        needs = {place}
        if entry.how == CHUNKED and place not in missing:
            needs |= {chunk.pack for chunk in recipe(store, entry, manifest.where)}
        for digest in needs & missing:
            lost.setdefault(digest, []).append(entry.path)
    for digest, paths in lost.items():
        files = f"{len(paths):,} files need it, first {paths[0]}" if len(paths) > 1 else f"{paths[0]} needs it"
        yield f"{PREFIX}{name} in commit {commit[:10]}: blob {digest.hex()[:16]} is missing; {files}"


def _read(store: BlobStore, name: str, value: Mapping[str, Any], were_read: set[bytes]) -> None:
    """Read the files of a version that are in no segment which was read before."""
    manifest = manifest_of(store, value, name)
    segments = [segment for segment in manifest.segments() if segment.digest not in were_read]
    for window in windows(manifest.entries(segments)):
        for _ in read_many(store, (entry for entry in window if entry.how == PACKED), manifest.where):
            pass
        for entry in window:
            if entry.how != PACKED:
                for _ in pieces(store, entry, manifest.where):
                    pass
    were_read.update(segment.digest for segment in segments)
