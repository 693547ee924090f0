"""The journal: all of a record or nothing, whatever happens to the process or the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import EnvironmentProblem
from bascule.serving.log import Journal, JournalLimits, read_segment
from bascule.serving.log.frames import frame
from bascule.serving.log.journal import seal
from bascule.serving.log.segment import segment_paths, taken


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "log")
    yield made
    made.close()


def payloads(folder: Path) -> list[bytes]:
    return [payload for path in segment_paths(folder) for payload in read_segment(path).payloads]


@pytest.mark.slow
@given(records=st.lists(st.binary(min_size=1, max_size=50), max_size=8), cut=st.integers(0, 500))
def test_a_file_cut_anywhere_reads_up_to_its_last_whole_record(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes], cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.log"
    whole = b"".join(frame(record) for record in records)
    path.write_bytes(whole[: min(cut, len(whole))])
    reading = read_segment(path)
    ends = [0]
    for record in records:
        ends.append(ends[-1] + len(frame(record)))
    complete = sum(end <= cut for end in ends[1:])
    assert reading.payloads == records[:complete]
    assert reading.whole + reading.torn == path.stat().st_size
    assert reading.damaged == 0


def test_a_changed_byte_is_found_and_what_is_before_it_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    data = bytearray(b"".join(frame(b"record %d" % n) for n in range(5)))
    data[3 * len(frame(b"record 0")) + 12] ^= 1
    path.write_bytes(data)
    reading = read_segment(path)
    assert reading.payloads == [b"record 0", b"record 1", b"record 2"]
    assert reading.damaged == 2 * len(frame(b"record 0"))


def test_zeros_behind_the_records_are_a_cut_write(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(frame(b"x") + bytes(100))
    assert read_segment(path).payloads == [b"x"]
    assert read_segment(path).damaged == 0


def test_records_are_readable_when_commit_returns(journal: Journal) -> None:
    journal.append(b"one")
    assert payloads(journal.folder) == []
    journal.commit()
    assert payloads(journal.folder) == [b"one"]
    journal.append(b"two")
    journal.append(b"three")
    journal.commit()
    assert payloads(journal.folder) == [b"one", b"two", b"three"]


def test_a_record_in_pieces_stands_where_it_was_added(journal: Journal) -> None:
    journal.append(b"one")
    journal.append_parts([b"tw", memoryview(b"o" * 50_000), b""])
    journal.append_parts([b"three"])
    journal.append(b"four")
    assert payloads(journal.folder) == []
    journal.commit()
    assert payloads(journal.folder) == [b"one", b"tw" + b"o" * 50_000, b"three", b"four"]
    for number in range(1_500):  # more than one system call takes
        journal.append_parts([b"%d" % number, b"!"])
    journal.commit()
    journal.append(b"last")
    journal.commit()
    assert payloads(journal.folder)[4:] == [*(b"%d!" % number for number in range(1_500)), b"last"]


@pytest.mark.parametrize("most", [0, 3, 1_007, 1_008, 3_000])
def test_a_write_that_is_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    whole = os.writev

    def short(descriptor: int, parts: list[bytes]) -> int:
        return whole(descriptor, [b"".join(parts)[:most]])

    monkeypatch.setattr(os, "writev", short)
    journal = Journal(tmp_path / "log")
    for letter in (b"a", b"b"):
        journal.append_parts([letter * 500, letter * 500])
        journal.append(letter)
        journal.commit()
    journal.close()
    assert payloads(tmp_path / "log") == [b"a" * 1_000, b"a", b"b" * 1_000, b"b"]


def test_nothing_is_made_before_the_first_record(journal: Journal) -> None:
    journal.commit()
    journal.tick()
    assert not journal.folder.exists()


def test_a_segment_ends_when_it_is_large(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log", JournalLimits(segment_bytes=100))
    for number in range(10):
        journal.append(b"%d" % number * 30)
        journal.commit()
    journal.close()
    assert len(segment_paths(tmp_path / "log")) == 4
    assert payloads(tmp_path / "log") == [b"%d" % number * 30 for number in range(10)]


def test_a_segment_ends_when_it_is_old_or_when_asked(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log", JournalLimits(segment_s=0.05, sync_s=0.01))
    journal.append(b"a")
    journal.commit()
    epoch = journal.epoch
    time.sleep(0.06)
    journal.tick()
    assert journal.epoch != epoch
    journal.close()
    journal = Journal(tmp_path / "log")
    journal.append(b"b")
    journal.commit()
    epoch = journal.epoch
    journal.tick()
    assert journal.epoch == epoch
    seal(tmp_path / "log")
    journal.tick()
    assert journal.epoch != epoch
    journal.append(b"c")
    journal.commit()
    epoch = journal.epoch
    journal.tick()
    assert journal.epoch == epoch  # it was asked before this segment began
    journal.close()
    assert payloads(tmp_path / "log") == [b"a", b"b", b"c"]


def test_a_segment_is_its_writers_until_it_is_closed(journal: Journal) -> None:
    journal.append(b"x")
    journal.commit()
    (path,) = segment_paths(journal.folder)
    with taken(path) as mine:
        assert not mine
    journal.close()
    with taken(path) as mine:
        assert mine
        with taken(path) as again:
            assert not again
    with taken(path.with_name("other.log")) as mine:
        assert not mine


FILL = """
import resource, sys
from pathlib import Path
from bascule.errors import EnvironmentProblem
from bascule.serving.log import Journal
journal = Journal(Path(sys.argv[1]))
journal.append(b"a" * 500)
journal.commit()
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
if sys.argv[2] == "whole":
    journal.append(b"b" * 300)
    journal.append(b"c" * 300)
else:
    journal.append_parts([b"b" * 150, b"b" * 150])
    journal.append_parts([b"c" * 100, memoryview(b"c" * 200)])
try:
    journal.commit()
except EnvironmentProblem as problem:
    print(problem.message)
print(journal.failing, journal.works())
journal.append(b"d" * 100)
journal.commit()
print(journal.failing)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(journal.works())
journal.append(b"e" * 5000)
journal.commit()
journal.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("records", ["whole", "parts"])
def test_a_full_disk_keeps_all_of_a_turn_or_nothing(tmp_path: Path, records: str) -> None:
    program = [sys.executable, "-c", FILL, str(tmp_path), records]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert "could not be written" in said[0]
    assert said[1:] == ["True False", "False", "True"]
    assert payloads(tmp_path) == [b"a" * 500, b"d" * 100, b"e" * 5000]


def test_a_folder_that_cannot_be_written_is_told_and_recovers(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file is in the way")
    journal = Journal(tmp_path / "log")
    journal.append(b"lost")
    with pytest.raises(EnvironmentProblem, match="could not be written"):
        journal.commit()
    assert not journal.works()
    (tmp_path / "log").unlink()
    assert journal.works()
    journal.append(b"kept")
    journal.commit()
    journal.close()
    assert payloads(tmp_path / "log") == [b"kept"]


WRITE = """
import sys
from pathlib import Path
from bascule.serving.log import Journal, JournalLimits
journal = Journal(Path(sys.argv[1]), JournalLimits(segment_bytes=2000))
number = 0
while True:
    for _ in range(number % 7 + 1):
        journal.append(b"record %d " % number + b"." * (number % 90))
        number += 1
    journal.commit()
    print(number, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.02, 0.05, 0.11, 0.2])
def test_what_was_committed_survives_kill_9(tmp_path: Path, delay: float) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    time.sleep(delay)
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged = int(writer.stdout.read().splitlines()[-1])
    writer.wait()
    writer.stdout.close()
    found = [int(payload.split()[1]) for payload in payloads(tmp_path)]
    assert found == list(range(len(found)))
    assert len(found) >= acknowledged
    for path in segment_paths(tmp_path):
        assert read_segment(path).damaged == 0
        with taken(path) as mine:
            assert mine
