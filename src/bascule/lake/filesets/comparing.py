"""What differs: between a folder and a version of a set, and between two versions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from blake3 import blake3

from bascule.lake.filesets.entries import LINK, Digest, Entry
from bascule.lake.filesets.manifest import Manifest, diff
from bascule.lake.filesets.progress import Progress, Tell, silent
from bascule.lake.filesets.scanning import Found, check_rights, scan
from bascule.lake.filesets.statcache import StatCache, is_settled, known_of, same_state

Kind = Literal["added", "removed", "changed", "renamed"]
# Renames are looked for among so many files that came and went; more are told as what they are.
MOST_RENAMES = 200_000


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file that differs. `before` is the earlier path of a renamed one; sizes are None where it is not."""

    kind: Kind
    path: str
    before: str = ""
    size_before: int | None = None
    size_after: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The change as one JSON object."""
        named = {"before": self.before} if self.before else {}
        return {"kind": self.kind, "path": self.path, **named, "bytes": [self.size_before, self.size_after]}


@dataclass(slots=True)
class FilesDiff:
    """What differs between two versions of a set.

    Attributes:
        added, removed, changed, renamed: how many files; a renamed one is neither added nor removed.
        bytes_added, bytes_removed: of the files that came, or changed to, and that went, or changed from.
        sample: the first of them, in the order of their paths.
    """

    added: int = 0
    removed: int = 0
    changed: int = 0
    renamed: int = 0
    bytes_added: int = 0
    bytes_removed: int = 0
    sample: list[FileChange] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.removed or self.changed or self.renamed)

    def counts(self) -> dict[str, int]:
        """How many files of each kind."""
        return {name: getattr(self, name) for name in ("added", "removed", "changed", "renamed")}

    def words(self) -> str:
        """The counts that are not zero, as people say them."""
        said = [f"{count:,} {name}" for name, count in self.counts().items() if count]
        return ", ".join(said) or "nothing differs"

    def as_dict(self) -> dict[str, Any]:
        """The difference as one JSON object."""
        size = {"bytes_added": self.bytes_added, "bytes_removed": self.bytes_removed}
        return {**self.counts(), **size, "sample": [one.as_dict() for one in self.sample]}


def compare(
    before: Manifest, after: Manifest, limit: int = 20, chosen: Callable[[str], bool] | None = None
) -> FilesDiff:
    """Return how two versions differ, with the first `limit` files. Costs what differs, not what there is.

    A file that went and one that came with the same content are one that was renamed.

    Args:
        chosen: tells whether a path is looked at; all are by default.
    """
    if chosen is None and not (before.value and after.value):
        return _whole(before, after, limit)
    found = FilesDiff()
    came: dict[Digest, list[Entry]] = {}
    went: dict[Digest, list[Entry]] = {}
    single: list[FileChange] = []
    for old, new in diff(before, after):
        path = (old or new).path  # type: ignore[union-attr]
        if chosen is not None and not chosen(path):
            continue
        found.bytes_removed += old.size if old else 0
        found.bytes_added += new.size if new else 0
        if old is not None and new is not None:
            found.changed += 1
            if len(single) < limit:
                single.append(FileChange("changed", path, "", old.size, new.size))
        elif found.added + found.removed < MOST_RENAMES:
            # Counted here, and taken back below when a rename turns up.
            side, entry = (came, new) if old is None else (went, old)
            assert entry is not None
            side.setdefault(entry.digest, []).append(entry)
            found.added, found.removed = found.added + (old is None), found.removed + (new is None)
        else:
            found.added, found.removed = found.added + (old is None), found.removed + (new is None)
            if len(single) < limit:
                single.append(_one_sided(old, new))
    single += _renames(found, came, went)
    found.sample = sorted(single, key=lambda one: one.path)[:limit]
    return found


def _whole(before: Manifest, after: Manifest, limit: int) -> FilesDiff:
    """Return how a version differs from a set without files: no more of it is read than is shown."""
    old, new = (manifest.value or {"files": 0, "bytes": 0} for manifest in (before, after))
    sample = [_one_sided(entry, None) for entry in islice(before.entries(), limit)]
    sample += [_one_sided(None, entry) for entry in islice(after.entries(), limit)]
    return FilesDiff(new["files"], old["files"], 0, 0, new["bytes"], old["bytes"], sample)


def _renames(
    found: FilesDiff, came: dict[Digest, list[Entry]], went: dict[Digest, list[Entry]]
) -> Iterator[FileChange]:
    for digest, entries in came.items():
        before = went.get(digest, [])
        for new in entries:
            if before and new.size:
                old = before.pop(0)
                found.renamed, found.added, found.removed = found.renamed + 1, found.added - 1, found.removed - 1
                found.bytes_added, found.bytes_removed = found.bytes_added - new.size, found.bytes_removed - old.size
                yield FileChange("renamed", new.path, old.path, old.size, new.size)
            else:
                yield _one_sided(None, new)
    for entries in went.values():
        for old in entries:
            yield _one_sided(old, None)


def _one_sided(old: Entry | None, new: Entry | None) -> FileChange:
    if old is None:
        assert new is not None
        return FileChange("added", new.path, "", None, new.size)
    return FileChange("removed", old.path, "", old.size, None)


def side_by_side(found: Iterable[Found], entries: Iterable[Entry]) -> Iterator[tuple[Found | None, Entry | None]]:
    """Pair the files of a folder with the entries of a manifest, both in the order of their paths."""
    files, listed = iter(found), iter(entries)
    file, entry = next(files, None), next(listed, None)
    while file is not None and entry is not None:
        if file.path == entry.path:
            yield file, entry
            file, entry = next(files, None), next(listed, None)
        elif file.path < entry.path:
            yield file, None
            file = next(files, None)
        else:
            yield None, entry
            entry = next(listed, None)
    while file is not None:
        yield file, None
        file = next(files, None)
    while entry is not None:
        yield None, entry
        entry = next(listed, None)


def digest_of_file(folder: Path, file: Found, cache: StatCache) -> Digest:
    """Return the digest of a file's content, read if need be and remembered if that is safe."""
    if file.digest is not None:
        return file.digest
    import time

    path, read_at = f"{folder}/{file.path}", time.time_ns()
    hasher = blake3(max_threads=blake3.AUTO) if file.size > 1 << 20 else blake3()
    try:
        with open(path, "rb") as source:
            before = _stat(source)
            if file.size > 1 << 20:
                hasher.update_mmap(path)
            else:
                hasher.update(source.read())
            after = _stat(source)
    except OSError as error:
        raise check_rights(path, error) from error
    digest = hasher.digest()
    if same_state(before, after) and is_settled(after, read_at):
        parent, _, name = path.rpartition("/")
        cache.remember(parent, name, known_of(after, digest))
    return digest


def status(
    folder: Path,
    base: Manifest,
    cache: StatCache,
    *,
    scope: Callable[[str], bool] | None,
    limit: int,
    tell: Tell = silent,
) -> FilesDiff:
    """Return how a folder differs from a version of a set. Reads the files of equal size whose content is not known.

    Args:
        scope: tells whether a missing file counts as removed; outside of a partial checkout none does.
    """
    found = FilesDiff()
    root = folder.resolve()
    of_files = int(base.value["files"]) if base.value else None
    for number, (file, entry) in enumerate(side_by_side(scan(root, cache), base.entries())):
        if number % 1000 == 0:
            tell(Progress("Comparing", number, 0, of_files))
        if file is None:
            assert entry is not None
            if scope is not None and not scope(entry.path):
                continue
            found.removed, found.bytes_removed = found.removed + 1, found.bytes_removed + entry.size
            change = _one_sided(entry, None)
        elif entry is None:
            found.added, found.bytes_added = found.added + 1, found.bytes_added + file.size
            change = FileChange("added", file.path, "", None, file.size)
        else:
            if file.digest == entry.digest and file.mode == entry.mode:
                continue
            if not differs(root, file, entry, cache):
                continue
            found.changed += 1
            found.bytes_added, found.bytes_removed = found.bytes_added + file.size, found.bytes_removed + entry.size
            change = FileChange("changed", file.path, "", entry.size, file.size)
        if len(found.sample) < limit:
            found.sample.append(change)
    return found


def differs(root: Path, file: Found, entry: Entry, cache: StatCache) -> bool:
    """Tell whether a file is not what an entry says; it is read only when nothing else tells."""
    if file.size != entry.size or (file.mode == LINK) != (entry.mode == LINK) or file.mode != entry.mode:
        return True
    return digest_of_file(root, file, cache) != entry.digest


def _stat(source: Any) -> Any:
    import os

    return os.fstat(source.fileno())
