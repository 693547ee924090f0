"""Journals: what was written is read, up to the last whole record, wherever a file is cut and whatever is in it."""

from __future__ import annotations

import math
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.capture import module
from bascule.tracking.ambient.journal import Block, records, whole

written = module("bascule_journal")
legible = module("bascule_session").legible
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

entries = st.one_of(
    st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=20), st.none()), max_size=3),
    st.lists(st.tuples(st.sampled_from(["loss", "ä"]), st.floats(), st.integers(-(2**63), 2**63 - 1)), max_size=5),
)


def write(folder: Path, said: list[Any]) -> Path:
    folder.mkdir(exist_ok=True)
    journal = written.Journal(str(folder))
    for one in said:
        if isinstance(one, dict):
            journal.note({"kind": "x", **one})
        else:
            for place, (key, value, step) in enumerate(one):
                journal.waiting += ("", key, value, step, 7) if place % 3 else ("", {key: value}, None, step, 7)
            journal.flush()
    journal.close()
    (path,) = folder.glob("*.journal")
    return path


def plain(record: Any) -> Any:
    if isinstance(record, Block):
        names = [record.names[mark][1] for mark in record.marks]
        return [(name, repr(value), step) for name, value, step in zip(names, record.values, record.steps, strict=True)]
    return {key: value for key, value in record.items() if key not in ("at", "kind")}


@pytest.mark.slow
@QUICK
@given(said=st.lists(entries, min_size=1, max_size=6), data=st.data())
def test_a_journal_that_is_cut_anywhere_is_read_to_its_last_whole_record(
    tmp_path_factory: pytest.TempPathFactory, said: list[Any], data: st.DataObject
) -> None:
    path = write(tmp_path_factory.mktemp("j"), [{}, *said])
    ends = [end for _, end in records(path)]
    told = [plain(record) for record in whole(path)][1:]
    expected: list[Any] = [{}]
    for one in said:
        if isinstance(one, dict):
            expected.append(legible({key: value for key, value in one.items() if key not in ("at", "kind")}))
        elif one:
            expected.append([(legible(key), repr(value), step) for key, value, step in one])
    assert told == expected
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    assert [end for _, end in records(path)] == [end for end in ends if end <= cut]
    # What stands behind the cut, as a disk may leave it, is no record; and reading goes on from any record's end.
    path.write_bytes(content[:cut] + data.draw(st.binary(max_size=40)) + b"\0" * 16)
    assert len([*whole(path)]) >= len([end for end in ends if end <= cut])
    begin = data.draw(st.sampled_from([0, *ends]))
    path.write_bytes(content)
    assert [end for _, end in records(path, begin)] == [end for end in ends if end > begin]


def test_a_record_that_was_changed_ends_the_journal(tmp_path: Path) -> None:
    path = write(tmp_path / "j", [{"n": n} for n in range(5)])
    content = bytearray(path.read_bytes())
    third = [end for _, end in records(path)][2]
    content[third + 12] ^= 1
    path.write_bytes(content)
    assert len([*whole(path)]) == 3


@pytest.mark.slow
def test_threads_and_forks_lose_and_mix_nothing(tmp_path: Path) -> None:
    journal = written.Journal(str(tmp_path))

    def work(name: str) -> None:
        for step in range(5000):
            journal.point("", name, float(step), step, step)
            if step % 1000 == 0:
                journal.note({"kind": "x", "text": "y" * 2000})

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    journal.point("", "waits", 1.0, 0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads: that is it
        pid = os.fork()
    if pid == 0:
        journal.point("", "forked", 1.0, 0, 0)
        journal.note({"kind": "x", "text": "forked"})
        os._exit(0)
    os.waitpid(pid, 0)
    for thread in threads:
        thread.join()
    journal.close()
    seen: dict[str, list[int]] = {}
    for path in tmp_path.glob("*.journal"):
        for record in whole(path):
            if isinstance(record, Block):
                for mark, step in zip(record.marks, record.steps, strict=True):
                    seen.setdefault(record.names[mark][1], []).append(step)
    assert len([*tmp_path.glob("*.journal")]) == 2
    assert {name: sorted(steps) for name, steps in seen.items() if name.startswith("t")} == {
        f"t{n}": list(range(5000)) for n in range(4)
    }
    assert seen["forked"] == seen["waits"] == [0]  # what waited in the parent is the parent's


def test_a_full_disk_is_counted_and_leaves_no_torn_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = written.Journal(str(tmp_path))
    journal.note({"kind": "x", "n": 1})
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[: len(data) // 2]))
    journal.note({"kind": "x", "n": 2})

    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    journal.point("", "loss", 1.0, 0, 0)
    monkeypatch.setattr(os, "write", real)
    journal.note({"kind": "x", "n": 3})
    journal.close()
    (path,) = tmp_path.glob("*.journal")
    told = [record for record in whole(path) if isinstance(record, dict)]
    assert [record.get("n") or record.get("entries") for record in told[1:]] == [1, 2, 3]
    assert told[2]["kind"] == "lost"
    monkeypatch.setattr(os, "write", full)
    other = written.Journal(str(tmp_path / "other"))
    (tmp_path / "other").mkdir()
    assert other.note({"kind": "x", "n": 4}) is False
    monkeypatch.setattr(os, "write", real)
    other.close()  # the last that it says is what it lost
    (path,) = (tmp_path / "other").glob("*.journal")
    assert [*whole(path)][-1] == {"kind": "lost", "entries": 1}


def test_files_that_a_script_closes_and_opens_are_its_own(tmp_path: Path) -> None:
    journal = written.Journal(str(tmp_path))
    journal.note({"kind": "x", "n": 1})
    os.close(journal._file)
    with open(tmp_path / "mine.txt", "w") as mine:
        assert mine.fileno() == journal._file
        mine.write("mine")
        mine.flush()
        journal.note({"kind": "x", "n": 2})
    journal.close()
    assert (tmp_path / "mine.txt").read_text() == "mine"
    told = [record for path in tmp_path.glob("*.journal") for record in whole(path) if isinstance(record, dict)]
    assert sorted(record["n"] for record in told if "n" in record) == [1, 2]


def said_points(folder: Path) -> list[tuple[tuple[str, str], int, float]]:
    blocks = [one for path in folder.glob("*.journal") for one in whole(path) if isinstance(one, Block)]
    assert max(len(one.marks) for one in blocks) <= written.MOST_POINTS
    return [
        (one.names[mark], step, value)
        for one in blocks
        for mark, step, value in zip(one.marks, one.steps, one.values, strict=True)
    ]


def test_calls_of_every_shape_are_written_in_their_order_and_few_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = written.Journal(str(tmp_path))
    monkeypatch.setattr(module("bascule_watch"), "_journal", journal)
    made = module("bascule_run").ActiveRun
    run, below = made("run_a", "a", own=None, key=""), made("run_b", "b", own=None, key="run_b")
    expected: list[tuple[tuple[str, str], int, float]] = []
    for step in range(3000):
        run.log(step=step, loss=step / 2)
        expected.append((("", "loss"), step, step / 2))
    for step in range(3):
        run.log(step=step, loss=1, accuracy=0.5)
        below.log(step=step, accuracy=2.0)
        run.metric("loss", 3, step)
        expected += [(("", "loss"), step, 1), (("", "accuracy"), step, 0.5)]
        expected += [(("run_b", "accuracy"), step, 2.0), (("", "loss"), step, 3)]
    wide = {f"m{n}": float(n) for n in range(20_000)}
    run.log()
    run.log(step=7, **wide)
    assert journal.waiting == []  # what is wide does not wait for others
    expected += [(("", name), 7, value) for name, value in wide.items()]
    assert (
        max(len(journal.waiting) for step in range(5000) if run.log(step=step, x=0.0) is None) <= written.MOST_WAITING
    )
    expected += [(("", "x"), step, 0.0) for step in range(5000)]
    for bad, what in ((({"a": 1},), TypeError), (("x",), ValueError), ((math.inf,), ValueError)):
        with pytest.raises(what, match="A step is a whole number"):
            run.log(*bad, loss=1.0)
    for name in ("", "run_b\0loss"):
        with pytest.raises(ValueError, match="no name of a metric"):
            run.log(**{name: 1.0})
    journal.close()
    assert said_points(tmp_path) == expected


def test_a_step_that_is_not_given_is_one_more_than_the_metrics_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = written.Journal(str(tmp_path))
    monkeypatch.setattr(module("bascule_watch"), "_journal", journal)
    run = module("bascule_run").ActiveRun("run_a", "a", own=None, key="")
    run.log(loss=1.0)
    run.log(loss=1.0, rate=1.0)  # each goes on where it was
    run.log(step=10, loss=1.0, rate=1.0)
    run.log(loss=1.0, rate=1.0)
    run.metrics("loss", [1.0, 1.0])
    run.metrics("loss", [1.0, 1.0], [20, 30])
    run.metric("loss", 1.0)
    run.metric("loss", 1.0, 2**63 - 1)
    for late in (lambda: run.log(loss=1.0), lambda: run.metric("loss", 1.0), lambda: run.metrics("loss", [1.0])):
        with pytest.raises(ValueError, match="64 bits"):
            late()
    journal.close()
    steps: dict[str, list[int]] = {}
    for (_, name), step, _ in said_points(tmp_path):
        steps.setdefault(name, []).append(step)
    assert steps == {"loss": [0, 1, 10, 11, 12, 13, 20, 30, 31, 2**63 - 1], "rate": [0, 10, 11]}


@pytest.mark.parametrize("after", [False, True], ids=["before it is written", "while it is written"])
def test_what_a_signal_interrupts_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    journal = written.Journal(str(tmp_path))
    journal.note({"kind": "x"})
    journal.waiting += ("", "loss", 0.5, 0, 7, "", {"loss": 0.25, "other": 0.125}, None, 1, 7)
    write = os.write

    def interrupted(*given: Any) -> Any:
        if after:
            write(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(os if after else written, "write" if after else "_columns", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.flush()
    journal.waiting += ("", "loss", 1.0, 2, 7)
    journal.close()
    (path,) = tmp_path.glob("*.journal")
    told = [list(record.values) for record in whole(path) if isinstance(record, Block)]
    assert [value for part in told for value in part] == [0.5, 0.25, 0.125, 1.0]


def test_points_told_after_the_end_are_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = written.Journal(str(tmp_path))
    journal.point("", "loss", 0.5, 0, 7)
    journal.close()
    journal.point("", "loss", 0.25, 1, 7)
    assert journal.waiting == []

    def none_left(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    other = written.Journal(str(tmp_path))
    for step in range(2):
        other.point("", "loss", 0.125, step, 7)
    assert other.waiting == []
    found = [record for path in tmp_path.glob("*.journal") for record in whole(path) if isinstance(record, Block)]
    assert sorted(value for record in found for value in record.values) == [0.125, 0.125, 0.25, 0.5]
