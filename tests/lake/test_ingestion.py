"""Ingestion: each content once, all files or none."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.lake.samples import everything_in, everywhere, names_in, state

from bascule.errors import Conflict, InputError, NotFound
from bascule.lake import Lake, ingest, seen, stage_ingest
from bascule.lake.doctor import check
from bascule.lake.ingestion import pending


def put(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.slow
@everywhere
def test_a_file_is_taken_in_once(lake: Lake, tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "id,name\n1,ann\n2,bob\n")
    report = ingest(lake, "people", path, key=["id"])
    assert (report.rows, [f.status for f in report.files]) == (2, ["ingested"])
    assert report.commit is not None
    assert report.commit.meta["ingest"][0]["file"] == "a.csv"
    assert state(lake, "people") == report.value
    again = ingest(lake, "people", path)
    assert (again.rows, again.changed, again.commit, again.files[0].rows) == (0, False, None, 2)
    renamed = path.rename(tmp_path / "b.csv")
    assert not ingest(lake, "people", renamed).changed  # the content counts, not the name
    put(tmp_path, "b.csv", "id,name\n1,ann\n2,bob\n3,cyd\n")
    assert ingest(lake, "people", renamed).rows == 3


def test_new_files_of_a_folder_are_taken_in(lake: Lake, tmp_path: Path) -> None:
    put(tmp_path / "d", "1.csv", "id,name\n1,ann\n")
    ingest(lake, "people", tmp_path / "d")
    put(tmp_path / "d", "2.csv", "id,name\n2,bob\n")
    put(tmp_path / "d", "3.csv", "name,id\ncyd,3\n")
    put(tmp_path / "d", "4.csv", "name,id\ncyd,3\n")  # the same as 3.csv
    report = ingest(lake, "people", tmp_path / "d")
    assert [(f.path.name, f.status) for f in report.files] == [
        ("1.csv", "skipped"),
        ("2.csv", "ingested"),
        ("3.csv", "ingested"),
    ]
    assert names_in(lake, state(lake, "people")) == ["ann", "bob", "cyd"]
    known = seen.sources(lake.table(state(lake, "people")))
    assert [(s.file, s.rows) for s in known.values()] == [("1.csv", 1), ("2.csv", 1), ("3.csv", 1)]


@pytest.mark.slow
@everywhere
def test_one_bad_file_stops_all(lake: Lake, tmp_path: Path) -> None:
    put(tmp_path / "d", "1.csv", "id,name\n1,ann\n")
    ingest(lake, "people", tmp_path / "d")
    before = everything_in(lake.folder)
    put(tmp_path / "d", "2.csv", "id,name\n2,bob\n")
    put(tmp_path / "d", "3.csv", "id,name\n3,cyd,extra\n")
    with pytest.raises(InputError, match=r"3\.csv:2"):
        ingest(lake, "people", tmp_path / "d")
    assert everything_in(lake.folder) == before
    put(tmp_path / "d", "3.csv", "id,name\n")
    with pytest.raises(InputError, match=r"3\.csv has a header and no rows"):
        ingest(lake, "people", tmp_path / "d")
    assert everything_in(lake.folder) == before


@pytest.mark.slow
def test_a_first_file_that_is_wrong_leaves_no_table(lake: Lake, tmp_path: Path) -> None:
    for text in ("", "id,name\n", "id,name\n1\n"):
        with pytest.raises(InputError):
            ingest(lake, "people", put(tmp_path, "a.csv", text))
    assert everything_in(lake.folder) == {}
    with pytest.raises(NotFound):
        ingest(lake, "people", tmp_path / "missing.csv")
    assert lake.workspace.history.read("main", "tables/people") is None


@pytest.mark.slow
def test_columns_may_come_and_go_when_that_is_asked_for(lake: Lake, tmp_path: Path) -> None:
    ingest(lake, "people", put(tmp_path, "1.csv", "id,name\n1,ann\n"))
    path = put(tmp_path, "2.csv", "id,born\n2,1990\n")
    with pytest.raises(InputError, match="lacks column 'name' and has the new column 'born'"):
        ingest(lake, "people", path)
    ingest(lake, "people", path, evolve=True)
    assert names_in(lake, state(lake, "people"), "born") == [None, 1990]


@pytest.mark.slow
def test_replace_takes_all_files_anew_unless_they_are_the_same(lake: Lake, tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "id,name\n1,ann\n")
    ingest(lake, "people", path, mode="replace")
    assert ingest(lake, "people", path, mode="replace").commit is None
    put(tmp_path, "a.csv", "id,name,x\n2,bob,7\n")
    report = ingest(lake, "people", path, mode="replace")
    assert report.rows == 1
    assert names_in(lake, state(lake, "people")) == ["bob"]
    put(tmp_path, "a.csv", "id,name\n1,ann\n")
    assert ingest(lake, "people", path, mode="replace").rows == 1  # an older content is new again


@pytest.mark.slow
def test_what_was_ingested_is_known_by_branch(lake: Lake, tmp_path: Path) -> None:
    history = lake.workspace.history
    ingest(lake, "people", put(tmp_path, "1.csv", "id,name\n1,ann\n"))
    history.create_branch("one")
    history.create_branch("two")
    second, third = put(tmp_path, "2.csv", "id,name\n2,bob\n"), put(tmp_path, "3.csv", "id,name\n3,cyd\n")
    ingest(lake, "people", second, branch="one")
    ingest(lake, "people", third, branch="two")
    resolve = lambda _, base, ours, theirs: lake.merge_appends(base, ours, theirs)  # noqa: E731
    history.merge("one", "main", resolve=resolve)
    history.merge("two", "main", resolve=resolve)
    assert names_in(lake, state(lake, "people")) == ["ann", "bob", "cyd"]
    for path in (second, third):
        assert not ingest(lake, "people", path).changed
    history.revert("main", on="main")
    assert ingest(lake, "people", third).rows == 1


@pytest.mark.slow
def test_the_same_file_on_both_sides_of_a_merge_is_a_conflict_and_not_twice_there(lake: Lake, tmp_path: Path) -> None:
    history = lake.workspace.history
    ingest(lake, "people", put(tmp_path, "1.csv", "id,name\n1,ann\n"))
    history.create_branch("other")
    path = put(tmp_path, "2.csv", "id,name\n2,bob\n")
    ingest(lake, "people", path)
    ingest(lake, "people", path, branch="other")
    with pytest.raises(Conflict):
        history.merge("other", "main", resolve=lambda _, *sides: lake.merge_appends(*sides))


@pytest.mark.slow
@everywhere
def test_the_same_file_ingested_at_once_is_there_once(lake: Lake, tmp_path: Path) -> None:
    ingest(lake, "people", put(tmp_path, "1.csv", "id,name\n1,ann\n"))
    path = put(tmp_path, "2.csv", "id,name\n2,bob\n")
    failures: list[BaseException] = []

    def work() -> None:
        try:
            ingest(Lake(lake.workspace), "people", path)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert names_in(lake, state(lake, "people")) == ["ann", "bob"]


@pytest.mark.slow
def test_many_sources_are_kept_in_few_small_files(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "PART", 4)
    paths = [put(tmp_path, f"{n:02}.csv", f"id,name\n{n},x{n}\n") for n in range(11)]
    for path in paths:
        ingest(lake, "people", path)
    table = lake.table(state(lake, "people"))
    assert len(seen.paths(table)) == 3
    assert len(seen.sources(table)) == 11
    assert not any(ingest(lake, "people", path).changed for path in paths)
    assert check(lake.workspace).ok


@pytest.mark.slow
def test_staging_commits_nothing(lake: Lake, tmp_path: Path) -> None:
    report = stage_ingest(lake, None, "people", put(tmp_path, "1.csv", "id,name\n1,ann\n"))
    assert lake.workspace.history.read("main", "tables/people") is None
    assert names_in(lake, report.value) == ["ann"]
    more = stage_ingest(lake, report.value, "people", put(tmp_path, "2.csv", "id,name\n2,bob\n"))
    assert names_in(lake, more.value) == ["ann", "bob"]


@pytest.mark.slow
def test_deleted_rows_do_not_come_back_with_their_file(lake: Lake, tmp_path: Path) -> None:
    path = put(tmp_path, "1.csv", "id,name\n1,ann\n2,bob\n")
    ingest(lake, "people", path)
    lake.delete("people", "id = 1")
    assert not ingest(lake, "people", path).changed
    assert names_in(lake, state(lake, "people")) == ["bob"]


def _days(lake: Lake) -> list[str]:
    return sorted(value.isoformat()[:10] for value in names_in(lake, state(lake, "visits"), "day"))


@pytest.mark.slow
def test_later_files_are_read_in_the_order_of_the_first(lake: Lake, tmp_path: Path) -> None:
    report = ingest(lake, "visits", put(tmp_path, "1.csv", "day\n31/01/2025 10:00\n"))
    assert report.assumed == ()
    report = ingest(lake, "visits", put(tmp_path, "2.csv", "day\n01/02/2025 10:00:00 AM\n"))
    assert (_days(lake), report.assumed) == (["2025-01-31", "2025-02-01"], ())
    with pytest.raises(InputError, match=r"3\.csv:3: column 'day' is TIMESTAMP and cannot hold '02/28/2025 10:00'"):
        ingest(lake, "visits", put(tmp_path, "3.csv", "day\n01/02/2025 10:00\n02/28/2025 10:00\n"))
    with pytest.raises(InputError, match="were read day-first, not month-first"):
        ingest(lake, "visits", put(tmp_path, "4.csv", "day\n01/02/2025 11:00\n"), dates="month-first")
    ingest(lake, "visits", put(tmp_path, "5.csv", "day\n2025-03-01 10:00\n"))  # ISO 8601 says what it is
    assert _days(lake)[-1] == "2025-03-01"


def test_an_order_that_was_assumed_is_said_and_can_be_corrected(lake: Lake, tmp_path: Path) -> None:
    path = put(tmp_path, "1.csv", "day\n01/02/2025\n")
    report = ingest(lake, "visits", path, mode="replace")
    assert "'day' shows whether the day or the month comes first; it is read month-first" in report.assumed[0]
    assert _days(lake) == ["2025-01-02"]
    assert not ingest(lake, "visits", path, mode="replace").changed
    value = state(lake, "visits")
    assert [found for found, _ in pending(lake, value, path, mode="replace", dates="day-first")] == [path]
    assert ingest(lake, "visits", path, mode="replace", dates="day-first").assumed == ()
    assert _days(lake) == ["2025-02-01"]
    assert not ingest(lake, "visits", path, mode="replace", dates="day-first").changed
