"""A file that grows and is put back as a copy: it is read on, and another file of the same beginning is not."""

from __future__ import annotations

import shutil
from pathlib import Path

from bascule.features.streams.events import EventType
from bascule.features.streams.sources.files import GrowingFile

HEADER = ",".join(["user", *(f"column_{place}" for place in range(10)), "at"]) + "\n"


def rows(first: int, last: int) -> str:
    return "".join(f"u{n},{'x,' * 10}2025-01-01T00:00:{n:02d}Z\n" for n in range(first, last))


def test_a_copy_in_its_place_is_read_on_and_another_file_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    source = GrowingFile(EventType("clicks", {"user": "text", "at": "time"}, "at"), path)
    path.write_text(HEADER + rows(0, 20))
    offsets: dict[str, str] = {}

    def users() -> tuple[list[str], tuple[str, ...]]:
        polled = source.poll(offsets, 1000, 0.0)
        offsets.update(polled.offsets)
        return polled.events.rows["user"].to_pylist(), polled.notes

    assert users() == ([f"u{n}" for n in range(20)], ())
    shutil.copy(path, tmp_path / "saved")
    (tmp_path / "saved").replace(path)  # another inode
    with path.open("a") as out:
        out.write(rows(20, 22))
    assert users() == (["u20", "u21"], ())
    (tmp_path / "other").write_text(HEADER + rows(30, 59))  # as long, and it begins with the same bytes
    (tmp_path / "other").replace(path)
    found, notes = users()
    assert found == [f"u{n}" for n in range(30, 59)]
    assert "was replaced" in notes[0]
