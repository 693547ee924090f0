"""Forgetting a person who stands everywhere: afterwards no byte of the workspace tells, and all else is as it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from bascule.catalog import audit
from bascule.catalog.schema import jobs, metadata, run_io, runs, training_sets
from bascule.errors import Held, InputError, NotFound
from bascule.features import LmdbStore
from bascule.history import Workspace, holding, holds
from bascule.lake import Lake, doctor
from bascule.lake.filesets.references import check as check_files
from bascule.lake.forgetting import AFTER, Forgotten, Request
from bascule.lake.records import RecordTable
from bascule.project.forgetting import Forgetting, forget_subject
from bascule.project.querying import query
from bascule.project.retraining import _claim
from bascule.project.sections import Forget, ForgetLink
from bascule.serving.log import move_segments
from bascule.tracking.code import restore_code
from tests.project.erasing.world import LINKS, NUMBER, OTHERS, WHO, build, seen, traces


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "ws"
    build(folder).close()
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "ws")
    return tmp_path / "ws"


def forget(workspace: Workspace, **options: object) -> Forgetting:
    return forget_subject(workspace, "people", {"email": WHO}, policy=LINKS, **options)  # type: ignore[arg-type]


def counted(done: Forgetting) -> dict[str, int]:
    """How much left each place, but those where a subject in two tables counts twice while it is there."""
    twice = ("reports and records", "caches and temporary files")
    return {place.place: place.rows for place in done.report.elsewhere if place.place not in twice}


def code_of(workspace: Workspace) -> str:
    with workspace.catalog.read() as conn:
        return str(conn.execute(select(runs.c.code_snapshot)).scalar_one())


def written(workspace: Workspace, path: str) -> bytes:
    with workspace.catalog.read() as conn:
        return workspace.store.get(conn.execute(select(run_io.c.version).where(run_io.c.path == path)).scalar_one())


def files_with(folder: Path) -> list[str]:
    """The files that hold the person, but the catalog's, whose pages come and go."""
    return [name for name in traces(folder, WHO, NUMBER) if "catalog.db" not in name]


@pytest.mark.slow
def test_no_byte_tells_and_all_else_is_as_it_was(folder: Path) -> None:
    assert len(traces(folder, WHO, NUMBER)) > 8
    workspace = Workspace.open(folder)
    before = seen(workspace)
    assert workspace.catalog.write  # open: its write-ahead log has pages of its own
    done = forget(workspace, reason="asked for")
    places = {place.place: place.rows for place in done.report.elsewhere}
    assert places["files/photos"] == 3
    assert places["tables/orders"] == 2
    assert places["training sets"] == places["quarantine"] == places["logs"] == 1
    assert places["online stores"] == 1
    assert places["reports and records"] >= 3
    assert (done.models, done.training_sets, done.kept) == (("churn@1",), ("t" * 64,), ())

    after = seen(workspace)
    assert {name: value for name, value in after.items() if name in before} == before
    assert query(workspace, f"SELECT count(*) AS n FROM people WHERE email = '{OTHERS[0]}'") == [{"n": 1}]
    assert audit.verify(workspace.catalog).ok
    assert doctor.check(workspace).ok
    assert not check_files(workspace, deep=True).problems
    assert LmdbStore(workspace.online_folder).count({"email": OTHERS[0]}) == 1
    assert (places["outputs and code"], places["artifacts"]) == (3, 1)
    assert restore_code(code_of(workspace), workspace.store, folder.parent / "then") == ["other.py", "show.py"]
    assert (folder.parent / "then" / "show.py").read_text() == "print('(forgotten)')"
    assert written(workspace, "stdout") == f"first: (forgotten)\nthen: {OTHERS[0]}\n".encode()
    scores = pq.read_table(pa.BufferReader(written(workspace, "scores.parquet")))
    assert [row["mail"] for row in scores.to_pylist()] == ["(forgotten)", OTHERS[0]]
    assert traces(folder, WHO, NUMBER, "the passport of 77104", "the face of z") == []
    workspace.close()
    assert traces(folder, WHO, NUMBER, "the passport of 77104", "the face of z") == []


@pytest.mark.slow
def test_entities_are_known_by_any_value_that_is_the_subjects_alone(folder: Path) -> None:
    """The entity is an email; who is known by more than that, or by another column of the row, leaves it as well."""
    for key in ({"email": WHO, "id": NUMBER}, {"id": NUMBER}):
        shutil.copytree(folder, folder.parent / "copy")
        workspace = Workspace.open(folder.parent / "copy")
        assert LmdbStore(workspace.online_folder).count({"email": WHO}) == 1
        planned = forget_subject(workspace, "people", key, policy=LINKS, dry_run=True)
        done = forget_subject(workspace, "people", key, policy=LINKS)
        for told in (planned, done):
            assert ("online stores", 1) in [(one.place, one.rows) for one in told.report.elsewhere]
        assert LmdbStore(workspace.online_folder).count({"email": WHO}) == 0
        assert LmdbStore(workspace.online_folder).count({"email": OTHERS[0]}) == 1
        workspace.close()
        assert not [name for name in traces(folder.parent / "copy", WHO) if "online" in name]
        shutil.rmtree(folder.parent / "copy")


@pytest.mark.slow
def test_artifacts_lose_the_values_and_keep_their_form(folder: Path) -> None:
    """Whatever a client sent: in text a value is replaced, other formats keep their length; other files stay."""
    workspace = Workspace.open(folder)
    runs = workspace.folder / "artifacts" / "0" / "r1" / "artifacts"
    runs.mkdir(parents=True)
    pickled = b"\x80\x05\x8c\x10" + WHO.encode() + b"\x00\xff\x94."
    sent = {
        "note.txt": f"of {WHO}, and of {OTHERS[0]}".encode(),
        "show.py": rf'print("email\n{WHO}\tthat")'.encode(),
        "rows.json": json.dumps([{"email": WHO}, {"email": OTHERS[0]}]).encode(),
        "model.pkl": pickled,
        "other.bin": b"\x00\xff nobody",
    }
    for name, data in sent.items():
        (runs / name).write_bytes(data)
    planned = forget_subject(workspace, "people", {"email": WHO}, dry_run=True)
    assert {name: (runs / name).read_bytes() for name in sent} == sent
    done = forget_subject(workspace, "people", {"email": WHO})
    for told in (planned, done):
        assert ("artifacts", 5) in [(one.place, one.rows) for one in told.report.elsewhere]
    assert (runs / "show.py").read_text() == r'print("email\n(forgotten)\tthat")'
    assert (runs / "note.txt").read_text() == f"of (forgotten), and of {OTHERS[0]}"
    assert json.loads((runs / "rows.json").read_text()) == [{"email": OTHERS[0]}]
    assert (runs / "model.pkl").read_bytes() == pickled.replace(WHO.encode(), b"*" * len(WHO.encode()))
    assert (runs / "other.bin").read_bytes() == sent["other.bin"]
    assert traces(folder, WHO) == []
    workspace.close()


def test_a_number_that_means_somebody_here_means_nothing_in_lines_of_other_tables(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    Lake(workspace).append("people", pa.table({"id": [7, 8]}))
    lines = {
        "table": ["people", "flights"],
        "source": ["p", "f"],
        "reason": ["bad", "bad"],
        "raw": ["7,x", "9,7,x"],
    }
    fresh = pa.table({**lines, "file": ["a", "b"], "line": [1, 2]})
    RecordTable(workspace, "quarantine", fresh.schema).append(fresh)
    forget_subject(workspace, "people", {"id": "7"})
    assert query(workspace, 'SELECT "table" FROM quarantine') == [{"table": "flights"}]
    workspace.close()


@pytest.mark.slow
def test_a_dry_run_counts_the_same_and_changes_nothing(folder: Path) -> None:
    workspace = Workspace.open(folder)
    move_segments(workspace, sealing=True)
    before, where = seen(workspace), files_with(folder)
    planned = forget(workspace, dry_run=True)
    assert (seen(workspace), files_with(folder)) == (before, where)
    done = forget(workspace)
    assert counted(planned) == counted(done)
    assert (planned.report.rows, planned.models, planned.training_sets) == (
        done.report.rows,
        done.models,
        done.training_sets,
    )
    again = forget_subject(workspace, "people", {"email": WHO})
    assert (again.report.rows, again.report.elsewhere, again.models) == (0, (), ())
    workspace.close()


@pytest.mark.slow
def test_with_the_catalog_in_postgresql(tmp_path: Path, database: str) -> None:
    workspace = build(tmp_path / "ws", database)
    before = seen(workspace)
    done = forget(workspace)
    assert (done.models, done.kept) == (("churn@1",), ())
    after = seen(workspace)
    assert {name: value for name, value in after.items() if name in before} == before
    assert traces(tmp_path / "ws", WHO, NUMBER) == []
    with workspace.catalog.read() as conn:
        for table in metadata.sorted_tables:
            assert not any(WHO in str(row) or NUMBER in str(row) for row in conn.execute(select(table)).all()), table
    workspace.close()


def killed_at(folder: Path, step: int) -> bool:
    """Forget in a process that SIGKILL ends at its step-th change of a file or of the catalog; False if it ended."""
    child = os.fork()
    if child == 0:
        count = 0

        def look(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal count
            writes = event == "open" and isinstance(arguments[1], str) and set("wax+") & set(arguments[1])
            if writes or event in ("os.rename", "os.remove", "bascule.write"):
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        original = type(Workspace.open(folder).catalog).write

        def write(self: object) -> object:
            sys.audit("bascule.write")
            return original(self)  # type: ignore[arg-type]

        type(Workspace.open(folder).catalog).write = write  # type: ignore[method-assign, assignment]
        sys.addaudithook(look)
        try:
            forget(Workspace.open(folder))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.slow
def test_killed_and_repeated_it_is_the_same(made: Path, tmp_path: Path) -> None:
    reference = Workspace.open(shutil.copytree(made, tmp_path / "whole"))
    before = seen(reference)
    forget(reference)
    reference.close()
    step, kills = 2, 0
    while True:
        folder = shutil.copytree(made, tmp_path / f"killed-{step}")
        if not killed_at(folder, step):
            break
        kills += 1
        workspace = Workspace.open(folder)
        done = forget(workspace)
        after = seen(workspace)
        assert {name: value for name, value in after.items() if name in before} == before, step
        assert done.models == ("churn@1",) or step > 60, step
        assert not check_files(workspace, deep=True).problems
        with workspace.catalog.read() as conn:
            assert len(conn.execute(select(jobs.c.id)).all()) == 1
        workspace.close()
        assert traces(folder, WHO, NUMBER, "the passport of 77104", "the face of z") == [], step
        shutil.rmtree(folder)
        step += 31
    assert kills >= 6


@pytest.mark.slow
def test_a_hold_on_anything_that_would_go_refuses(folder: Path) -> None:
    workspace = Workspace.open(folder)
    move_segments(workspace, sealing=True)
    before, where = seen(workspace), files_with(folder)
    for subject in ("files/photos", "tables/orders", "tables/predictions", "pictures"):
        holding.hold(workspace, subject, "a law suit")
        with pytest.raises(Held):
            forget(workspace)
        assert (seen(workspace), files_with(folder)) == (before, where)
        with workspace.catalog.write() as conn:
            holds.release(conn, subject, "ana")
    workspace.close()


@pytest.mark.slow
def test_a_policy_is_carried_out_once(folder: Path) -> None:
    workspace = Workspace.open(folder)
    bare = Forget(policy="justify")
    with pytest.raises(InputError, match="no reason"):
        forget_subject(workspace, "people", {"email": WHO}, policy=bare)
    assert query(workspace, f"SELECT count(*) AS n FROM people WHERE email = '{WHO}'") == [{"n": 1}]
    done = forget(workspace)
    assert done.action["policy"] == "schedule"
    assert _claim(workspace) is None  # it is not due
    with workspace.catalog.write() as conn:
        row = conn.execute(select(jobs)).one()
        assert (row.kind, row.status, row.branch) == ("retrain", "scheduled", "main")
        conn.execute(jobs.update().values(spec_json='{"due": 1}'))
    claimed = _claim(workspace)
    assert claimed is not None
    assert claimed["id"] == row.id
    workspace.close()


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "reason"), [("justify", "the contract runs"), ("retrain", "")])
def test_other_policies(folder: Path, policy: str, reason: str) -> None:
    workspace = Workspace.open(folder)
    done = forget_subject(workspace, "people", {"email": WHO}, policy=Forget(policy=policy), reason=reason)  # type: ignore[arg-type]
    if policy == "justify":
        assert done.action == {"policy": "justify", "reason": reason}
        assert _claim(workspace) is None
    else:
        job = _claim(workspace)
        assert job is not None
        assert done.action == {"policy": "retrain", "jobs": [job["id"]]}
    workspace.close()


@pytest.mark.slow
def test_rooms_join_by_the_list_of_forgetters(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def labels(request: Request) -> list[Forgotten]:
        asked.append((request.table, request.dry_run))
        return [Forgotten("labels", 2)]

    monkeypatch.setattr(sys.modules[__name__], "joined", labels, raising=False)
    AFTER.append(f"{__name__}:joined")
    try:
        workspace = Workspace.open(folder)
        done = forget_subject(workspace, "people", {"email": WHO}, dry_run=True)
    finally:
        AFTER.pop()
    assert Forgotten("labels", 2) in done.report.elsewhere
    assert asked == [("people", True)]
    workspace.close()


@pytest.mark.slow
def test_a_picture_that_others_name_too_stays(folder: Path) -> None:
    workspace = Workspace.open(folder)
    done = forget_subject(workspace, "people", {"email": OTHERS[1]})
    # faces/1.bin is named by rows of main and of next, which are other people's
    assert "files/photos" not in {place.place for place in done.report.elsewhere}
    workspace.close()


@pytest.mark.parametrize(
    ("link", "error"),
    [
        (ForgetLink(subject="people", table="ghosts", columns={"a": "id"}), NotFound),
        (ForgetLink(subject="people", table="orders", columns={"customer": "number"}), NotFound),
        (ForgetLink(subject="poeple", table="orders", columns={"customer": "id"}), NotFound),
        (ForgetLink(subject="people", files="photos", path="{picture}/**"), InputError),
    ],
)
def test_a_link_that_leads_nowhere_is_refused_before_anything_changes(
    folder: Path, link: ForgetLink, error: type[Exception]
) -> None:
    workspace = Workspace.open(folder)
    before = seen(workspace)
    with pytest.raises(error):
        forget_subject(workspace, "people", {"email": WHO}, policy=Forget(link={"one": link}))
    assert seen(workspace) == before
    with workspace.catalog.read() as conn:
        assert conn.execute(select(training_sets.c.rows)).scalar() == 4
    workspace.close()
