"""A set of files of a project's state: its profile, and that in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from bascule.errors import InputError
from bascule.history import Workspace
from bascule.lake.filesets import FileSet
from bascule.profiles import FilesProfile
from bascule.profiles.folders import File, measure_files
from bascule.profiles.results import Measure
from bascule.project.reviewing.words import figure, share
from bascule.sizes import format_size

NAMES = {"bytes": "Size", "width": "Width", "height": "Height", "brightness": "Brightness", "sharpness": "Sharpness"}


def profile_files(
    workspace: Workspace, name: str, state: str, *, sample: int = 0, against: str | None = None
) -> FilesProfile:
    """Profile a set of files at a state.

    Raises:
        InputError: it shall be compared with another state.
        MissingExtra: it holds images, and Pillow is not installed.
    """
    if against is not None:
        raise InputError(
            f"{name} is a set of files, whose profile is not compared.",
            hint=f"See what differs with: bascule files diff {name} {against}",
        )
    commit = workspace.history.resolve(state)
    found = FileSet(workspace, name, state, commit.id)

    def read(chosen: Sequence[File]) -> Iterator[tuple[str, bytes]]:
        return ((one.path, found.read(one.path)) for one in chosen)

    listed = (File(one.path, one.bytes, one.digest) for one in found.list() if not one.link)
    replace: Any = msgspec.structs.replace
    made: FilesProfile = replace(measure_files(name, listed, read, sample=sample), at=state, commit=commit.id)
    return made


def facts(found: FilesProfile) -> list[tuple[str, str]]:
    """Return what is said of the set first."""
    told = [("Files", f"{found.files:,}"), ("Size", format_size(found.bytes)), ("Holds", found.content)]
    if found.content != "files":
        told.append(("Looked at", f"{found.looked_at:,} files"))
    told += [("Copies", f"{found.copied:,}"), ("Empty", f"{found.empty:,}")]
    if found.words is not None:
        once = f", {share(found.words_once)} of them once" if found.words_once is not None else ""
        told.append(("Different words", f"{found.words:,}{once}"))
    if found.at:
        told.append(("State", f"{found.at} ({found.commit[:12]})" if found.commit else found.at))
    return told


def title(measure: Measure) -> str:
    """Return what a number of each file is called."""
    return NAMES.get(measure.name, measure.name.capitalize())


def about(measure: Measure) -> list[tuple[str, str]]:
    """Return what is said of a number of each file."""
    known = dict(measure.quantiles)
    names = (("Least", 0.0), ("5 %", 0.05), ("Median", 0.5), ("95 %", 0.95), ("Greatest", 1.0))
    return [(name, _shown(measure, known[level])) for name, level in names]


def lines(found: FilesProfile) -> Iterator[str]:
    """Yield the profile as lines of text."""
    yield f"{found.name}: " + ", ".join(f"{name.lower()} {value}" for name, value in facts(found))
    yield ""
    for one in found.measures:
        yield f"{title(one)}: " + ", ".join(f"{name.lower()} {value}" for name, value in about(one))
    for share_ in found.shares:
        if share_.top:
            yield f"{share_.name.capitalize()}: " + ", ".join(f"{top.value} {top.rows:,}" for top in share_.top)
    if found.notes:
        yield ""
        yield "Worth knowing"
        yield from (f"  {note.text}" for note in found.notes)
    for groups, word in ((found.copies, "Equal"), (found.alike, "Alike")):
        if groups:
            yield ""
            yield word
            yield from (f"  {one.files:,} files: {', '.join(one.paths)}" for one in groups[:5])
    if found.unreadable:
        yield ""
        yield "Not readable"
        yield from (f"  {path}: {why}" for path, why in found.unreadable)


def _shown(measure: Measure, value: float) -> str:
    return format_size(round(value)) if measure.name == "bytes" else figure(value)
