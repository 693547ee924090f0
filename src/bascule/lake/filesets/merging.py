"""Three-way merge of two versions of a set, file by file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bascule.errors import Conflict
from bascule.lake.filesets.entries import Entry, Object
from bascule.lake.filesets.manifest import Edit, Manifest, ManifestWriter, diff
from bascule.lake.filesets.paths import Names, RefusedPath

SHOWN = 5

# Told the path of a file that both sides changed; says whose is kept, or None when nobody has said.
Choice = Callable[[str], Literal["ours", "theirs"] | None]


@dataclass(frozen=True, slots=True)
class FileConflict:
    """A file that both sides changed, each in another way: what it was, and what it is on each side."""

    path: str
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None

    def __str__(self) -> str:
        return f"{self.path} (ours {_did(self.base, self.ours)}, theirs {_did(self.base, self.theirs)})"


def merge(base: Manifest, ours: Manifest, theirs: Manifest, choose: Choice = lambda path: None) -> Object | None:
    """Return our version with what they changed since `base`; None when no file is left.

    Costs what the two changed. A file that only one side changed is theirs or ours; one that both changed alike agrees.

    Raises:
        Conflict: names the files that both changed differently.
    """
    conflicts: list[FileConflict] = []
    value = ManifestWriter(ours).write(_edits(base, ours, theirs, choose, conflicts))
    if conflicts:
        raise _clash(ours.where or theirs.where, conflicts)
    _refuse_collisions(base, ours, theirs, value)
    return value


def _edits(
    base: Manifest, ours: Manifest, theirs: Manifest, choose: Choice, conflicts: list[FileConflict]
) -> Iterator[Edit]:
    mine = diff(base, ours)
    my_before, my_after = next(mine, (None, None))
    for before, after in diff(base, theirs):
        path = _path(before, after)
        while (my_before or my_after) and _path(my_before, my_after) < path:
            my_before, my_after = next(mine, (None, None))
        if not (my_before or my_after) or _path(my_before, my_after) != path:
            yield path, after
        elif not _agree(my_after, after):
            kept = choose(path)
            if kept is None:
                conflicts.append(FileConflict(path, before, my_after, after))
            elif kept == "theirs":
                yield path, after


def _refuse_collisions(base: Manifest, ours: Manifest, theirs: Manifest, value: Object | None) -> None:
    """Raise `Conflict` when both sides together have paths that no disk has side by side: `a` and `A`, or `a/b`."""
    changed = any(new is not None and old is None for old, new in diff(base, theirs))
    if not changed or not value:
        return
    merged = Manifest(ours.store, value, ours.where)
    names = Names(ours.where)
    try:
        for entry in merged.entries():
            names.see(entry.path)
    except RefusedPath as error:
        raise Conflict(f"The two sides do not go together: {error.message}", hint=error.hint) from None


def _clash(where: str, conflicts: list[FileConflict]) -> Conflict:
    shown = "; ".join(map(str, conflicts[:SHOWN]))
    more = f"; and {len(conflicts) - SHOWN} more" if len(conflicts) > SHOWN else ""
    return Conflict(
        f"Both sides changed {len(conflicts)} file{'s' if len(conflicts) > 1 else ''} of {where}: {shown}{more}.",
        paths=[f"{where}/{one.path}" for one in conflicts],
        hint=f"Keep one side of a file with --ours {where}/{conflicts[0].path} or --theirs, "
        f"or of the whole set with --ours {where} or --theirs {where}.",
    )


def _path(before: Entry | None, after: Entry | None) -> str:
    entry = before or after
    assert entry is not None
    return entry.path


def _agree(a: Entry | None, b: Entry | None) -> bool:
    return a is b or (a is not None and b is not None and a.same(b))


def _did(before: Entry | None, after: Entry | None) -> str:
    if after is None:
        return "removed it"
    return f"{'added' if before is None else 'changed'} it: {after.size:,} bytes, {after.digest.hex()[:10]}"
