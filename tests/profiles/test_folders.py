"""Folders of images and texts."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from blake3 import blake3

from bascule.profiles import FilesProfile, writings
from bascule.profiles.folders import File, measure_files

ENGLISH = "The cat is in the house and it is not for you. "
GERMAN = "Der Hund ist nicht im Haus, und das ist auch gut für die Katze. "


def profiled(contents: dict[str, bytes], sample: int = 0) -> FilesProfile:
    files = [File(path, len(data), blake3(data).hexdigest()) for path, data in contents.items()]

    def read(chosen: Sequence[File]) -> Iterator[tuple[str, bytes]]:
        return ((one.path, contents[one.path]) for one in chosen)

    return measure_files("things", files, read, sample=sample)


def test_texts() -> None:
    contents = {f"e{k}.txt": (ENGLISH * (k + 1)).encode() for k in range(6)}
    contents |= {f"g{k}.txt": (GERMAN * (k + 1)).encode() for k in range(4)}
    contents |= {
        "again.txt": contents["e0.txt"],
        "blank.txt": b" \n",
        "empty.txt": b"",
        "bytes.txt": b"\xff\x00\x80",
        "a.csv": b"x",
    }
    found = profiled(contents)
    assert (found.content, found.files, found.looked_at) == ("texts", 15, 14)
    assert (found.copied, found.empty, found.broken) == (1, 1, 1)
    assert found.copies[0].paths == ("e0.txt", "again.txt")
    assert found.unreadable == (("bytes.txt", "it is not UTF-8"),)
    shares = {one.name: {top.value: top.rows for top in one.top} for one in found.shares}
    assert shares["languages"] == {"English": 7, "German": 4, "unknown": 2}
    assert shares["endings"] == {".txt": 14, ".csv": 1}
    assert shares["words"]["the"] == 2 * (1 + 1 + 2 + 3 + 4 + 5 + 6)
    assert "hund" not in shares["words"]  # fewer than five files have it
    measures = {one.name: dict(one.quantiles) for one in found.measures}
    assert measures["words"][1.0] == 12 * 6
    assert [note.text for note in found.notes] == [
        "1 of 14 files cannot be read as texts",
        "1 file is empty",
        "1 file is a copy of another",
        "2 texts hold nothing but blanks",
    ]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Le chat est dans la maison et il ne veut pas sortir avec vous.", "French"),
        ("El perro no está en la casa porque se fue con los niños al parque.", "Spanish"),
        ("Het huis van de buren is niet groot, maar er zijn ook een tuin en een schuur.", "Dutch"),
        ("Это короткий русский текст о погоде", "Cyrillic script"),
        ("これは日本語の短い文章です", "Japanese"),
        ("今天天气很好我们去公园", "Chinese or Japanese"),
        ("안녕하세요 오늘 날씨가 좋네요", "Korean"),
        ("zxcv qwer asdf hjkl uiop bnmv", "unknown"),
        ("", "unknown"),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert writings.language(text, text.casefold().replace(".", "").replace(",", "").split()) == language


def picture(seed: int, side: int = 64, kind: str = "PNG", scale: float = 1.0) -> bytes:
    image = pytest.importorskip("PIL.Image")
    values = np.random.default_rng(seed).random((8, 9)) * 255 * scale
    made = image.fromarray(values.astype("uint8")).resize((side, side))
    out = io.BytesIO()
    made.save(out, kind)
    return out.getvalue()


def test_images() -> None:
    contents = {f"p{k}.png": picture(k) for k in range(8)}
    contents["copy.png"] = contents["p0.png"]
    contents["smaller.jpg"] = picture(1, side=48, kind="JPEG")
    contents["dark.png"] = picture(99, scale=0.05)
    contents["cut.png"] = contents["p2.png"][:200]
    contents["none.png"] = b"no image"
    found = profiled(contents)
    assert (found.content, found.files, found.looked_at, found.broken, found.copied) == ("images", 13, 13, 2, 1)
    assert {path for path, _ in found.unreadable} == {"cut.png", "none.png"}
    assert {frozenset(one.paths) for one in found.alike} == {
        frozenset({"p0.png", "copy.png"}),
        frozenset({"p1.png", "smaller.jpg"}),
    }
    assert {one.name: {top.value: top.rows for top in one.top} for one in found.shares}["formats"] == {
        "PNG": 10,
        "JPEG": 1,
    }
    measures = {one.name: dict(one.quantiles) for one in found.measures}
    assert (measures["width"][0.0], measures["width"][1.0]) == (48, 64)
    assert measures["brightness"][0.0] < 0.05 < measures["brightness"][0.5]
    assert "1 of 13 images: very dark" in {note.text for note in found.notes}


def test_an_image_that_would_fill_the_memory_is_not_decoded() -> None:
    import struct
    import zlib

    pytest.importorskip("PIL.Image")

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )
    found = profiled({"bomb.png": bomb, "fine.png": picture(1)})
    assert [path for path, _ in found.unreadable] == ["bomb.png"]


def test_only_a_sample_is_read_and_it_is_the_same_each_time() -> None:
    contents = {f"{k}.txt": f"{k} {ENGLISH}".encode() for k in range(50)}
    first, second = profiled(contents, sample=10), profiled(contents, sample=10)
    assert (first.looked_at, first.files) == (10, 50)
    assert first.measures == second.measures


def test_files_of_any_kind_and_none() -> None:
    found = profiled({"a.bin": b"123", "b.bin": b"123", "c": b"4"})
    assert (found.content, found.looked_at, found.copied) == ("files", 0, 1)
    assert [note.text for note in profiled({}).notes] == ["the set has no files"]
