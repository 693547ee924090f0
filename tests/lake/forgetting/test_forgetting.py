"""Forgetting: the subject is in no file, everything else is as it was, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.lake.samples import everything_in, everywhere, read, state

from bascule.catalog import audit
from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.lake import Lake, RecordTable, Session, forget, forget_rows, ingest
from bascule.lake.doctor import check, settle
from bascule.lake.forgetting import Forgotten, Request
from bascule.lake.iceberg import files
from bascule.store.buckets import Bucket

SUBJECT = "zebra-subject@example.com"
OTHER = "zebra-another@example.com"

pyiceberg = pytest.importorskip("pyiceberg")
from pyiceberg.table import StaticTable  # noqa: E402

pytestmark = pytest.mark.slow


def people(*emails: str | None, start: int = 0) -> pa.Table:
    return pa.table(
        {"email": pa.array(emails, pa.string()), "n": pa.array(range(start, start + len(emails)), pa.int64())}
    )


def rows(lake: Lake, ref: str, table: str = "people") -> list[tuple[Any, ...]]:
    found = read(f"FROM {lake.scan(state(lake, table, ref))}")
    return sorted((tuple(row.values()) for row in found.to_pylist()), key=repr)


def traces(lake: Lake, value: str) -> list[str]:
    """Where a value is, in raw bytes or in any row of any Parquet file."""
    found = [name for name, data in everything_in(lake.folder).items() if value.encode() in data]
    for path in lake.folder.rglob("*.parquet"):
        columns = pq.read_table(files.readable(path)).to_pydict().values()
        if any(value == str(cell) for column in columns for cell in column):
            found.append(str(path))
    return found


@pytest.fixture
def history_of_people(lake: Lake) -> list[str]:
    """Many states with the subject in them; returns the commits."""
    h = lake.workspace.history
    lake.append("people", people("ann", SUBJECT, OTHER, None), key=["email"])
    h.tag("v1")
    for number in range(10):
        lake.append("people", people(f"p{number}", *([SUBJECT] if number == 7 else []), start=10 * number))
    h.create_branch("dev")
    lake.delete("people", "email = 'ann'", branch="dev")
    lake.append("people", people(SUBJECT, "eve", start=900), branch="dev")
    renamed = lake.stage_columns(state(lake, "people"), rename={"email": "address"})
    h.commit("main", {"tables/people": renamed}, message="Rename")
    lake.append("people", pa.table({"address": [SUBJECT, "kim"], "n": [700, 701]}))
    lake.overwrite("people", pa.table({"address": ["only", SUBJECT], "n": [1, 2]}))
    return sorted({c.id for ref in ("main", "dev") for c in h.log(ref) if h.read(c, "tables/people")})


@everywhere
def test_the_subject_is_nowhere_and_all_else_is_as_it_was(lake: Lake, history_of_people: list[str]) -> None:
    before = {commit: rows(lake, commit) for commit in history_of_people}
    assert traces(lake, SUBJECT)
    report = forget(lake.workspace, "people", {"email": SUBJECT})
    assert traces(lake, SUBJECT) == []
    assert traces(lake, OTHER) != []
    for commit, was in before.items():
        assert rows(lake, commit) == [row for row in was if row[0] != SUBJECT]
    touched = {commit for commit, was in before.items() if any(row[0] == SUBJECT for row in was)}
    assert set(report.commits) == touched
    assert report.rows == sum(f.rows for f in report.files) == 6
    assert set(report.branches) == {"main", "dev"}
    assert all(f.before != f.after for f in report.files)
    looked = check(lake.workspace, deep=True)
    assert looked.ok, looked.problems
    assert looked.orphans == ()


@everywhere
def test_counts_are_right_at_the_heads_and_for_other_engines(
    lake: Lake, history_of_people: list[str], client: dict[str, str]
) -> None:
    forget(lake.workspace, "people", {"email": SUBJECT})
    for ref in ("main", "dev"):
        assert state(lake, "people", ref)["rows"] == len(rows(lake, ref))
    for commit in history_of_people:
        table = StaticTable.from_metadata(str(lake.location(state(lake, "people", commit))), client)
        assert table.scan().count() == table.scan().to_arrow().num_rows == len(rows(lake, commit))
        summary = table.current_snapshot().summary  # type: ignore[union-attr]
        assert summary["total-records"] == str(len(rows(lake, commit)))  # type: ignore[index]
    lake.append("people", pa.table({"address": ["new"], "n": [5]}))
    assert state(lake, "people")["rows"] == 2


def test_the_head_has_another_digest_so_that_what_was_made_of_it_is_made_anew(
    lake: Lake, history_of_people: list[str]
) -> None:
    was = state(lake, "people")["digest"]
    forget(lake.workspace, "people", {"address": SUBJECT})
    assert state(lake, "people")["digest"] != was
    assert lake.table(state(lake, "people")).properties["bascule.forgotten"].startswith("forget_")


def test_a_dry_run_tells_and_changes_nothing(lake: Lake, history_of_people: list[str]) -> None:
    before = everything_in(lake.folder)
    head = lake.workspace.history.resolve("main").id
    report = forget(lake.workspace, "people", {"email": SUBJECT}, dry_run=True)
    assert everything_in(lake.folder) == before
    assert lake.workspace.history.resolve("main").id == head
    assert report.dry_run
    real = forget(lake.workspace, "people", {"email": SUBJECT})
    assert (report.rows, report.commits) == (real.rows, real.commits)
    assert [f.path for f in report.files] == [f.path for f in real.files]


def test_forgetting_twice_does_nothing_more(lake: Lake, history_of_people: list[str]) -> None:
    forget(lake.workspace, "people", {"email": SUBJECT})
    before = everything_in(lake.folder)
    again = forget(lake.workspace, "people", {"email": SUBJECT})
    assert (again.rows, again.files, again.commits, again.id) == (0, (), (), "")
    assert everything_in(lake.folder) == before


def test_the_audit_log_tells_of_it_without_the_value(lake: Lake, history_of_people: list[str]) -> None:
    report = forget(lake.workspace, "people", {"email": SUBJECT}, author="officer")
    with Session(lake.workspace) as session:
        told = session.arrow(
            "select actor, subject, detail_json from audit where action = 'forget' and subject like 'tables/%'"
        )
    assert len(told) == 1
    assert told["actor"].to_pylist() == ["officer"]
    assert report.id in told["detail_json"][0].as_py()
    assert SUBJECT not in told["detail_json"][0].as_py()
    assert SUBJECT not in str(report.as_dict())
    assert audit.verify(lake.workspace.catalog).ok


@pytest.mark.parametrize(
    ("lake", "step"),
    [*(("disk", step) for step in range(0, 60, 7)), *(("s3", step) for step in range(1, 130, 43))],
    indirect=["lake"],
)
def test_killed_at_any_step_and_called_again(
    lake: Lake, history_of_people: list[str], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    before = {commit: rows(lake, commit) for commit in history_of_people}
    left = step

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return original(*args, **named)

        return call

    with monkeypatch.context() as patched:
        for name in ("publish", "replace", "remove_folder"):
            patched.setattr(files, name, counted(getattr(files, name)))
        patched.setattr(Path, "unlink", counted(Path.unlink))
        for name in ("write", "copy", "delete"):
            patched.setattr(Bucket, name, counted(getattr(Bucket, name)))
        try:
            forget(lake.workspace, "people", {"email": SUBJECT})
        except KeyboardInterrupt:
            left = -1
    for commit, was in before.items():
        assert [row for row in rows(lake, commit) if row[0] != SUBJECT] == [row for row in was if row[0] != SUBJECT]
    settle(lake.workspace)  # what the doctor does first
    assert check(lake.workspace, deep=True).problems == ()
    lake.append("people", pa.table({"address": ["meanwhile"], "n": [3]}))  # a writer in between does no harm
    forget(lake.workspace, "people", {"email": SUBJECT})
    assert traces(lake, SUBJECT) == []
    for commit, was in before.items():
        assert rows(lake, commit) == [row for row in was if row[0] != SUBJECT]
    assert [row[0] for row in rows(lake, "main")] == ["meanwhile", "only"]
    looked = check(lake.workspace, deep=True)
    assert looked.ok, looked.problems
    with Session(lake.workspace) as session:
        assert len(session.arrow("from audit where action = 'forget' and subject like 'tables/%'")) == 1


def test_states_that_nobody_committed_are_rewritten_too(lake: Lake) -> None:
    lake.append("people", people("ann"))
    lake.stage_append(state(lake, "people"), people(SUBJECT), name="people")
    lake.stage_append(None, people(SUBJECT), name="people")
    (next(lake.folder.iterdir()) / "data" / "killed.parquet.unfinished").write_bytes(SUBJECT.encode())
    forget(lake.workspace, "people", {"email": SUBJECT})
    assert traces(lake, SUBJECT) == []


def test_a_source_that_was_ingested_does_not_bring_the_subject_back(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text(f"email,n\nann,1\n{SUBJECT},2\n")
    ingest(lake, "people", path)
    forget(lake.workspace, "people", {"email": SUBJECT})
    assert not ingest(lake, "people", path).changed
    assert rows(lake, "main") == [("ann", 1)]


def test_keys_of_several_columns_and_types(lake: Lake) -> None:
    lake.append("people", people("ann", "ann", "bob"))
    assert forget(lake.workspace, "people", {"email": "ann", "n": "1"}).rows == 1
    assert rows(lake, "main") == [("ann", 0), ("bob", 2)]
    assert forget(lake.workspace, "people", {"N": 2}).rows == 1
    assert rows(lake, "main") == [("ann", 0)]


def test_a_file_of_nothing_but_the_subject_becomes_empty(lake: Lake) -> None:
    lake.append("people", people(SUBJECT))
    lake.append("people", people("ann"))
    forget(lake.workspace, "people", {"email": SUBJECT})
    assert rows(lake, "main") == [("ann", 0)]
    assert rows(lake, "main~1") == [("ann", 0)] or rows(lake, "main~1") == []
    assert check(lake.workspace, deep=True).ok


@pytest.mark.parametrize(
    ("key", "error", "what"),
    [
        ({}, InputError, "no subject"),
        ({"email": None}, InputError, "no subject"),
        ({"emial": "x"}, NotFound, "emial"),
        ({"n": "many"}, InputError, "Could not convert"),
    ],
)
def test_what_names_no_subject_is_refused(lake: Lake, key: dict[str, Any], error: type[Exception], what: str) -> None:
    lake.append("people", people("ann"))
    before = everything_in(lake.folder)
    with pytest.raises(error, match=what):
        forget(lake.workspace, "people", key)
    assert everything_in(lake.folder) == before
    with pytest.raises(NotFound, match="peple"):
        forget(lake.workspace, "peple", {"email": "x"})


def test_upper_rooms_take_part(lake: Lake) -> None:
    lake.append("people", people(SUBJECT))
    asked: list[Request] = []

    def hook(request: Request) -> list[Forgotten]:
        asked.append(request)
        return [Forgotten("online store", 3)]

    report = forget(lake.workspace, "people", {"email": SUBJECT}, hooks=[hook])
    assert (asked[0].table, asked[0].key, asked[0].dry_run) == ("people", {"email": SUBJECT}, False)
    assert report.elsewhere == (Forgotten("online store", 3),)


def test_record_tables_forget_by_a_condition(local_workspace: Workspace) -> None:
    schema = pa.schema([("id", pa.string()), ("inputs", pa.string())])
    table = RecordTable(local_workspace, "predictions", schema)
    table.append(pa.table({"id": ["a", "b"], "inputs": [f'{{"email":"{SUBJECT}"}}', "{}"]}))
    report = forget_rows(local_workspace, "predictions", f"inputs ->> 'email' = '{SUBJECT}'")
    assert report.rows == 1
    assert traces(Lake(local_workspace), SUBJECT) == []
    value = table.object()
    assert value is not None
    assert value["rows"] == 1
    assert forget(local_workspace, "predictions", {"id": "b"}).rows == 1


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    batches=st.lists(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=6), min_size=1, max_size=6),
    deletes=st.lists(st.sampled_from(["a", "b"]), max_size=2),
    subject=st.sampled_from(["a", "b", "c", "d"]),
)
def test_every_other_row_of_every_state_stays(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[str | None]], deletes: list[str], subject: str
) -> None:
    workspace = Workspace.create(tmp_path_factory.mktemp("w"))
    lake = Lake(workspace)
    for number, batch in enumerate(batches):
        lake.append("people", people(*batch, start=10 * number))
        if number < len(deletes):
            lake.delete("people", f"email = '{deletes[number]}'")
    h = workspace.history
    before = {c.id: rows(lake, c.id) for c in h.log("main") if h.read(c, "tables/people")}
    forget(workspace, "people", {"email": subject})
    for commit, was in before.items():
        assert rows(lake, commit) == [row for row in was if row[0] != subject]
    looked = check(workspace, deep=True)
    assert looked.ok, looked.problems
    workspace.close()
