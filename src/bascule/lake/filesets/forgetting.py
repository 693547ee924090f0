"""Removing files from every version of the file sets: from manifests, packs, chunks and blobs, on every branch and tag.

A version's object is written anew under its old digest, with a note that it was; so no tree, commit or tag changes, and
every other file of every version is read as before. The heads of branches get a fresh object, so what was derived from
them is seen to be out of date. Killed at any moment, the next call does what is left: what is to be deleted is noted in
the catalog, in the transaction that puts the new objects in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from blake3 import blake3
from sqlalchemy import delete, insert, select, update

from bascule.catalog.schema import commits, nodes, settings
from bascule.errors import Conflict
from bascule.history import Workspace
from bascule.history.commits import canonical
from bascule.lake.filesets.entries import CHUNKED, FILE, PACKED, PREFIX, WHOLE, Digest, Entry, Object
from bascule.lake.filesets.fileset import cache_of
from bascule.lake.filesets.known import Chunk, encode_recipe
from bascule.lake.filesets.manifest import Manifest, ManifestWriter, manifest_of
from bascule.lake.filesets.packs import PackWriter, read_span
from bascule.lake.filesets.reading import content, recipe
from bascule.lake.filesets.references import references, states
from bascule.store import BlobStore

NOTE = "forgetting-files"
FORGOTTEN = "forgotten"
TRIES = 20

# Tells whether a file of a set, by the set's name and its entry, is to go.
Doomed = Callable[[str, Entry], bool]
# Gives the contents that a file has instead; the same when it tells of nobody who goes.
Clean = Callable[[bytes], bytes]


class _Todo(msgspec.Struct):
    """What is left to do after the objects were replaced: names of blobs, and of objects' digests."""

    blobs: list[str]
    objects: dict[str, Object]


@dataclass(frozen=True, slots=True)
class ForgottenFiles:
    """What was removed, or would be.

    Attributes:
        files: distinct files, by set.
        commits: the ids of the commits that have a version with such files.
        changed: distinct files that have other contents now, by set.
    """

    files: dict[str, int]
    commits: tuple[str, ...]
    changed: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Version:
    name: str
    commit: str
    digest: str
    value: Object
    entries: list[Entry]
    doomed: list[Entry] = field(default_factory=list)
    changed: list[Entry] = field(default_factory=list)

    @property
    def gone(self) -> list[Entry]:
        """The files whose bytes go: with the file, or as it has others."""
        return [*self.doomed, *self.changed]

    @property
    def kept(self) -> list[Entry]:
        gone = {entry.path for entry in self.gone}
        return [entry for entry in self.entries if entry.path not in gone]


def paths_in(workspace: Workspace) -> Iterator[tuple[str, Entry]]:
    """Iterate over every file of every version of every set, with the set's name. One may come more than once.

    What versions share is read once, so a set of many versions costs what they have of their own.
    """
    seen: set[tuple[str, Digest]] = set()
    for name, _, value in states(workspace):
        manifest = manifest_of(workspace.store, value, name)
        nodes = [node for node in manifest.nodes if (name, node.digest) not in seen]
        segments = [one for one in manifest.segments(nodes) if (name, one.digest) not in seen]
        for entry in manifest.entries(segments):
            yield name, entry
        seen.update((name, one.digest) for one in (*nodes, *segments))


def forget_files(
    workspace: Workspace,
    doomed: Doomed,
    *,
    clean: Clean | None = None,
    dry_run: bool = False,
    author: str | None = None,
) -> ForgottenFiles:
    """Remove files from every version of every set, and give those that stay cleaned contents.

    Content that a file that stays has, too, stays. Folders outside of the workspace are the user's own.

    Raises:
        EnvironmentProblem: a part of a manifest or a pack is missing or damaged.
    """
    if not dry_run:
        _finish(workspace, author)
    fresh = _cleaned(workspace, doomed, clean) if clean is not None else {}
    if not fresh and not any(doomed(name, entry) for name, entry in paths_in(workspace)):
        return ForgottenFiles({}, ())
    versions = [
        _Version(name, commit, canonical_digest, value, [])
        for name, commit, canonical_digest, value in _digested(workspace)
    ]
    for version in versions:
        version.entries = list(manifest_of(workspace.store, version.value, version.name).entries())
        version.doomed = [entry for entry in version.entries if doomed(version.name, entry)]
        mine = {entry.path for entry in version.doomed}
        version.changed = [e for e in version.entries if e.digest in fresh and e.path not in mine]
    hit = [version for version in versions if version.gone]
    where = _commits_with(workspace, {(v.name, v.digest) for v in hit}) if hit else ()
    files, changed = (_counted(hit, which) for which in ("doomed", "changed"))
    if hit and not dry_run:
        _Rewriting(workspace, versions, hit, fresh).run()
        _finish(workspace, author)
    return ForgottenFiles(files, where, changed)


def _counted(versions: Iterable[_Version], which: Literal["doomed", "changed"]) -> dict[str, int]:
    files: dict[str, set[tuple[str, Digest]]] = {}
    for version in versions:
        files.setdefault(version.name, set()).update((e.path, e.digest) for e in getattr(version, which))
    return {name: len(found) for name, found in files.items() if found}


def _cleaned(workspace: Workspace, doomed: Doomed, clean: Clean) -> dict[Digest, bytes]:
    """Return other contents of files that stay, by the digest of those that they have."""
    fresh: dict[Digest, bytes] = {}
    seen: set[Digest] = set()
    for name, entry in paths_in(workspace):
        if entry.digest in seen or not entry.size or doomed(name, entry):
            continue
        seen.add(entry.digest)
        before = content(workspace.store, entry, f"{name}/{entry.path}")
        after = clean(before)
        if after != before:
            fresh[entry.digest] = after
    return fresh


def _digested(workspace: Workspace) -> Iterator[tuple[str, str, str, Object]]:
    for name, commit, value in states(workspace):
        digest = workspace.history.digest(workspace.history.commit_by_id(commit), PREFIX + name)
        assert digest is not None
        yield name, commit, digest, value


def _commits_with(workspace: Workspace, wanted: set[tuple[str, str]]) -> tuple[str, ...]:
    history = workspace.history
    with workspace.catalog.read() as conn:
        every = conn.execute(select(commits.c.id, commits.c.root)).all()
    has: dict[str, bool] = {}
    for row in every:
        if row.root not in has:
            found = history.digests(history.commit_by_id(row.id), PREFIX)
            has[row.root] = any((path.removeprefix(PREFIX), digest) in wanted for path, digest in found.items())
    return tuple(sorted(row.id for row in every if has[row.root]))


@dataclass(slots=True)
class _Rewriting:
    """Writes the affected versions anew, then puts all new objects in place at once."""

    workspace: Workspace
    versions: list[_Version]
    hit: list[_Version]
    contents: Mapping[Digest, bytes]
    _recipes: dict[Digest, list[Chunk]] = field(default_factory=dict)

    @property
    def _store(self) -> BlobStore:
        return self.workspace.store

    def run(self) -> None:
        bad = self._affected()
        shared = {pack for version in self.hit for pack in manifest_of(self._store, version.value).packs()}
        stale = [v for v in self.versions if v.gone or self._touches(v, bad, shared)]
        moved = self._moved(stale, bad)
        instead = self._instead(stale)
        fresh: dict[str, Object] = {}
        for version in stale:
            entries = [moved.get(_place(entry), entry) for entry in version.kept]
            ready = [_named(new, old) for new, old in zip(entries, version.kept, strict=True)]
            for was in version.changed:
                now = instead[was.digest]
                ready.append(Entry(was.path, was.mode, now.size, now.digest, now.how, now.pack, now.offset, now.length))
            ready.sort(key=lambda entry: entry.path)
            fresh[version.digest] = _written(self._store, ready)
        old = {blob for version in stale for blob in references(self._store, version.value)}
        self._put(fresh, old)

    def _affected(self) -> set[Digest]:
        """Return the packs and blobs that hold bytes of files that go, and of no file that stays."""
        stay = {entry.digest for version in self.versions for entry in version.kept}
        bad: set[Digest] = set()
        for version in self.hit:
            for entry in version.gone:
                if entry.digest in stay:
                    continue
                bad.add(entry.digest if entry.how == WHOLE else entry.pack)
                if entry.how == CHUNKED:
                    bad |= {chunk.pack for chunk in self._chunks(entry)}
        return bad - {b""}

    def _touches(self, version: _Version, bad: set[Digest], shared: set[Digest]) -> bool:
        if not shared.isdisjoint(manifest_of(self._store, version.value).packs()):
            return True
        return any(self._holds(entry, bad) for entry in version.entries)

    def _holds(self, entry: Entry, bad: set[Digest]) -> bool:
        if entry.how == WHOLE:
            return False  # a blob of one content: it goes or it stays
        if entry.pack in bad:
            return True
        return entry.how == CHUNKED and any(chunk.pack in bad for chunk in self._chunks(entry))

    def _chunks(self, entry: Entry) -> list[Chunk]:
        if entry.digest not in self._recipes:
            self._recipes[entry.digest] = recipe(self._store, entry, entry.path)
        return self._recipes[entry.digest]

    def _moved(self, stale: Iterable[_Version], bad: set[Digest]) -> dict[tuple[Any, ...], Entry]:
        """Copy what stays out of packs that hold what goes; return where each is now, by where it was."""
        kept = {_place(e): e for version in stale for e in version.kept if self._holds(e, bad)}
        ordered = [kept[place] for place in sorted(kept)]
        packs = PackWriter(self._store)
        try:
            chunks: dict[Digest, Chunk] = {}
            found: dict[tuple[Any, ...], Entry] = {}
            for entry in ordered:
                new = _named(entry, entry)
                if entry.how == PACKED:
                    packs.add(read_span(self._store, entry.pack, entry.offset, entry.length, entry.path), new)
                else:
                    for chunk in self._chunks(entry):
                        if chunk.pack in bad and chunk.digest not in chunks:
                            copy = Chunk(chunk.digest, b"", 0, 0)
                            packs.add(read_span(self._store, chunk.pack, chunk.offset, chunk.length, entry.path), copy)
                            chunks[chunk.digest] = copy
                found[_place(entry)] = new
            packs.finish()
            for entry in ordered:  # a recipe names the packs of its chunks, so those were named before
                if entry.how == CHUNKED:
                    body = [chunks.get(chunk.digest, chunk) for chunk in self._chunks(entry)]
                    packs.add(encode_recipe(body), found[_place(entry)])
            packs.finish()
            return found
        finally:
            packs.close()

    def _instead(self, stale: Iterable[_Version]) -> dict[Digest, Entry]:
        """Put cleaned contents into packs; return where they are, by the digest of what was there."""
        wanted = sorted({entry.digest for version in stale for entry in version.changed})
        packs = PackWriter(self._store)
        try:
            found = {}
            for digest in wanted:
                data = self.contents[digest]
                found[digest] = Entry("", FILE, len(data), blake3(data).digest())
                packs.add(data, found[digest])
            packs.finish()
            return found
        finally:
            packs.close()

    def _put(self, fresh: Mapping[str, Object], old: set[str]) -> None:
        todo = _Todo(sorted(old), dict(fresh))
        with self.workspace.catalog.write() as conn:
            for digest, value in fresh.items():
                body = canonical({**value, FORGOTTEN: True})
                conn.execute(update(nodes).where(nodes.c.hash == digest).values(body=body))
            conn.execute(insert(settings).values(key=NOTE, value=msgspec.json.encode(todo).decode()))


def _place(entry: Entry) -> tuple[Any, ...]:
    return entry.how, entry.pack, entry.offset, entry.length, entry.digest


def _named(where: Entry, entry: Entry) -> Entry:
    """Return an entry of a path whose bytes are where another's are."""
    return Entry(entry.path, entry.mode, entry.size, entry.digest, where.how, where.pack, where.offset, where.length)


def _written(store: BlobStore, entries: list[Entry]) -> Object:
    found = ManifestWriter(Manifest(store, None)).write(iter([(entry.path, entry) for entry in entries]))
    return found or ManifestWriter(Manifest(store, None)).empty()


def _finish(workspace: Workspace, author: str | None) -> None:
    """Do what a replacement left to do: give heads fresh objects, move checkouts along, delete the old blobs."""
    with workspace.catalog.read() as conn:
        held = conn.execute(select(settings.c.value).where(settings.c.key == NOTE)).scalar()
    if held is None:
        return
    todo = msgspec.json.decode(held, type=_Todo)
    for branch in [ref.name for ref in workspace.history.branches()]:
        _freshen(workspace, branch, todo.objects, author)
    with cache_of(workspace) as cache:
        cache.purge()
    needed: set[str] = set()
    seen: set[bytes] = set()
    for _, _, value in states(workspace):
        needed.update(references(workspace.store, value, seen))
    for blob in todo.blobs:
        if blob not in needed:
            workspace.store.delete(blob)
    with workspace.catalog.write() as conn:
        conn.execute(delete(settings).where(settings.c.key == NOTE))


def _freshen(workspace: Workspace, branch: str, objects: Mapping[str, Object], author: str | None) -> None:
    for path, digest in workspace.history.digests(branch, PREFIX).items():
        value = objects.get(digest)
        for _ in range(TRIES if value is not None else 0):
            found = workspace.history.digest(branch, path)
            if found != digest:
                break
            try:
                workspace.history.commit(
                    branch,
                    {path: value},
                    message=f"Forget files of a subject in {path.removeprefix(PREFIX)}",
                    author=author,
                    expect={path: digest},
                    action="forget",
                )
                break
            except Conflict:
                continue
