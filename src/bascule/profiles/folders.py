"""A profile of a set of files: of all what their list says, of some what is in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Literal

import msgspec
import numpy as np

from bascule.profiles import figures, images, writings
from bascule.profiles.results import Copies, FilesProfile, Measure, Note, Share, Top

IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
TEXTS = (".txt", ".md", ".rst", ".html", ".htm", ".xml", ".log", ".tex", ".srt")
LOOKED_AT = 2_000
LARGEST = 64 << 20
MOST_GROUPS = 10
MOST_PATHS = 5
TOP = 10
# A word that fewer files have may be somebody's name.
FEWEST_FILES = 5
DARK, BRIGHT, BLURRED = 0.12, 0.92, 15.0


@dataclass(frozen=True)
class File:
    """A file of the set: `digest` is equal for equal contents."""

    path: str
    bytes: int
    digest: str


def measure_files(
    name: str,
    listed: Iterable[File],
    read: Callable[[Sequence[File]], Iterator[tuple[str, bytes]]],
    *,
    sample: int = 0,
    now: datetime | None = None,
) -> FilesProfile:
    """Profile a set of files.

    Args:
        listed: all files.
        read: gives the contents of some of them.
        sample: how many contents are looked at, drawn by digest so that the same set gives the same; 0 for 2,000.

    Raises:
        MissingExtra: most are images, and Pillow is not installed.
    """
    everything = list(listed)
    endings = Counter(PurePosixPath(one.path).suffix.lower() or "none" for one in everything)
    content = _content(endings, len(everything))
    wanted = {"images": IMAGES, "texts": TEXTS, "files": ()}[content]
    fitting = [one for one in everything if PurePosixPath(one.path).suffix.lower() in wanted and one.bytes <= LARGEST]
    chosen = sorted(fitting, key=lambda one: (one.digest, one.path))[: sample or LOOKED_AT]
    groups: dict[str, list[str]] = {}
    for one in everything:
        if one.bytes:
            groups.setdefault(one.digest, []).append(one.path)
    equal = sorted((paths for paths in groups.values() if len(paths) > 1), key=lambda paths: (-len(paths), paths[0]))
    made = FilesProfile(
        name=name,
        content=content,
        files=len(everything),
        bytes=sum(one.bytes for one in everything),
        looked_at=len(chosen),
        made_at=(now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0).isoformat(),
        empty=sum(not one.bytes for one in everything),
        copied=sum(len(paths) - 1 for paths in equal),
        copies=tuple(Copies(tuple(paths[:MOST_PATHS]), len(paths)) for paths in equal[:MOST_GROUPS]),
        measures=_measures({"bytes": [float(one.bytes) for one in everything]}),
        shares=(_share("endings", "all files", endings),),
    )
    some = "all files" if len(chosen) == len(everything) else f"{len(chosen):,} files, drawn by their content"
    basis = {"files, sizes, endings, equal files": "exact"} | ({"contents": some} if content != "files" else {})
    made = _with(made, basis=basis)
    if content == "images":
        made = _images(made, images.look(read(chosen)))
    elif content == "texts":
        made = _texts(made, writings.look(read(chosen)))
    return _with(made, notes=tuple(_notes(made)))


def _images(made: FilesProfile, found: images.Images) -> FilesProfile:
    groups = images.alike(found.hashes)
    measured = {
        "width": found.widths,
        "height": found.heights,
        "brightness": found.brightness,
        "sharpness": found.sharpness,
    }
    dark = sum(one < DARK for one in found.brightness)
    bright = sum(one > BRIGHT for one in found.brightness)
    blurred = sum(one < BLURRED for one in found.sharpness)
    told = [(dark, "very dark"), (bright, "very bright"), (blurred, "blurred, or of one colour")]
    count = made.looked_at
    notes = [Note(level="info", text=f"{n:,} of {count:,} images: {what}") for n, what in told if n]
    return _with(
        made,
        measures=(*made.measures, *_measures(measured)),
        shares=(
            *made.shares,
            _share("formats", "looked-at images", found.formats),
            _share("modes", "looked-at images", found.modes),
        ),
        alike=tuple(
            Copies(tuple(found.paths[place] for place in group[:MOST_PATHS]), len(group))
            for group in groups[:MOST_GROUPS]
        ),
        broken=len(found.unreadable),
        unreadable=tuple(found.unreadable[:TOP]),
        notes=tuple(notes),
        basis=made.basis
        | {
            "looks alike": "a 64-bit difference hash that differs in at most 4 bits",
            "brightness, sharpness": "mean grey, 0 to 1; variance of the Laplacian at 256 pixels",
        },
    )


def _texts(made: FilesProfile, found: writings.Writings) -> FilesProfile:
    words = sum(found.vocabulary.values())
    shared = Counter({word: n for word, n in found.vocabulary.items() if found.files_with[word] >= FEWEST_FILES})
    notes = []
    if found.blank:
        text = _counted(found.blank, "text holds nothing but blanks", "texts hold nothing but blanks")
        notes = [Note(level="warning", text=text)]
    return _with(
        made,
        measures=(
            *made.measures,
            *_measures({"characters": found.characters, "words": found.words, "lines": found.lines}),
        ),
        shares=(
            *made.shares,
            _share("languages", "looked-at texts", found.languages),
            _share("words", f"words that {FEWEST_FILES} files or more have", shared),
        ),
        words=len(found.vocabulary),
        words_once=sum(n == 1 for n in found.vocabulary.values()) / len(found.vocabulary) if words else None,
        broken=len(found.unreadable),
        unreadable=tuple(found.unreadable[:TOP]),
        notes=tuple(notes),
        basis=made.basis | {"languages": "by the script, else by whose commonest words occur most, of ten languages"},
    )


def _notes(made: FilesProfile) -> Iterator[Note]:
    if not made.files:
        yield Note(level="warning", text="the set has no files")
    if made.broken:
        yield Note(
            level="warning", text=f"{made.broken:,} of {made.looked_at:,} files cannot be read as {made.content}"
        )
    if made.empty:
        yield Note(level="warning", text=_counted(made.empty, "file is empty", "files are empty"))
    if made.copied:
        yield Note(
            level="warning", text=_counted(made.copied, "file is a copy of another", "files are copies of another")
        )
    if made.alike:
        yield Note(level="warning", text=f"{sum(one.files for one in made.alike):,} images look like another")
    yield from made.notes


def _counted(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def _content(endings: Counter[str], files: int) -> Literal["images", "texts", "files"]:
    if sum(endings[one] for one in IMAGES) > files / 2:
        return "images"
    return "texts" if sum(endings[one] for one in TEXTS) > files / 2 else "files"


def _measures(found: dict[str, list[float]]) -> tuple[Measure, ...]:
    made = []
    for name, values in found.items():
        if not values:
            continue
        numbers = np.array(values, dtype=np.float64)
        whole = bool((numbers == np.round(numbers)).all())
        quantiles = figures.quantiles(numbers)
        low, high = float(numbers.min()), float(numbers.max())
        histogram = None
        if low < high:
            scale, cuts = figures.edges(dict(quantiles), low, high, whole=whole)
            counts = np.bincount(np.searchsorted(cuts, numbers, side="left"), minlength=len(cuts) + 1)
            histogram = figures.histogram(scale, cuts, [int(one) for one in counts], whole=whole)
        made.append(Measure(name=name, quantiles=((0.0, low), *quantiles, (1.0, high)), histogram=histogram))
    return tuple(made)


def _share(name: str, of: str, counted: Counter[str]) -> Share:
    top = sorted(counted.items(), key=lambda one: (-one[1], one[0]))[:TOP]
    return Share(name=name, of=of, top=tuple(Top(value, count) for value, count in top))


def _with(made: FilesProfile, **values: Any) -> FilesProfile:
    replace: Any = msgspec.structs.replace
    done: FilesProfile = replace(made, **values)
    return done
