"""A lake that a team shares: tables in object storage, the catalog in PostgreSQL, several machines."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.lake.samples import names_in, people, state

from bascule.errors import EnvironmentProblem, InputError, MissingExtra
from bascule.history import Workspace
from bascule.lake import Lake, RecordTable, Session, engine, forget, ingest
from bascule.lake.doctor import check
from bascule.lake.iceberg import files
from bascule.lake.iceberg.tables import LOCK
from bascule.store import ObjectPath
from bascule.store.places import sizes

StaticTable = pytest.importorskip("pyiceberg.table").StaticTable


@pytest.fixture
def team(tmp_path: Path, database: str, s3: str) -> Iterator[tuple[Workspace, Workspace]]:
    """One workspace on two machines: the same catalog and storage, and nothing else in common."""
    both = tuple(Workspace.create(tmp_path / name, catalog=database, storage=s3) for name in ("one", "two"))
    yield both[0], both[1]
    for workspace in both:
        workspace.close()


@pytest.mark.slow
def test_from_files_to_a_merge_to_forgetting(team: tuple[Workspace, Workspace], s3_server: str, tmp_path: Path) -> None:
    one, two = team
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text("id,name\n1,ann\n2,bob\n")
    second.write_text("id,name\n3,cyd\n4,dan\n")
    ingest(Lake(one), "people", first, key=["id"])
    one.history.create_branch("dev")
    ingest(Lake(two), "people", second, branch="dev")
    two.history.merge("dev", "main")
    with Session(one) as session:
        assert session.arrow("select count(*) n from people").to_pylist() == [{"n": 4}]
        assert session.arrow("select name from people@main~1 order by 1")["name"].to_pylist() == ["ann", "bob"]
    before = {path.name for path, _ in sizes(one.cache_folder)}
    assert before
    report = forget(two, "people", {"name": "ann"})
    assert (report.rows, len(report.files)) == (1, 1)
    for workspace in team:
        assert check(workspace, deep=True).ok
        assert names_in(Lake(workspace), state(Lake(workspace), "people")) == ["bob", "cyd", "dan"]
    value = state(Lake(one), "people")
    table = StaticTable.from_metadata(str(Lake(one).location(value)), {"s3.endpoint": s3_server})
    assert sorted(table.scan().to_arrow()["name"].to_pylist()) == ["bob", "cyd", "dan"]
    assert all(b"ann" not in path.read_bytes() for path, _ in sizes(one.lake_folder))


@pytest.mark.slow
def test_what_was_forgotten_leaves_every_machine_that_works_on(team: tuple[Workspace, Workspace]) -> None:
    one, two = team
    Lake(one).append("people", people("zebra-subject", "bob"))
    for workspace in team:
        for file in Lake(workspace).files(state(Lake(workspace), "people")):
            assert isinstance(file.path, ObjectPath)
            assert file.path.shelf.cache is not None
            file.path.shelf.cache.read(file.path.key, 0, file.bytes)  # as a query on that machine does
        assert holds(workspace.cache_folder, b"zebra-subject")
    forget(one, "people", {"name": "zebra-subject"})
    assert not holds(one.cache_folder, b"zebra-subject")
    later = Workspace.open(two.folder)  # the next command on the other machine
    Lake(later)
    later.close()
    assert not holds(two.cache_folder, b"zebra-subject")


def holds(folder: Path, value: bytes) -> bool:
    # The names are short and the file is small, so zstd leaves them as they are.
    return any(value in path.read_bytes() for path, _ in sizes(folder))


@pytest.mark.slow
def test_writers_of_many_machines_are_all_kept(team: tuple[Workspace, Workspace]) -> None:
    Lake(team[0]).append("people", people("first"))
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for step in range(3):
                Lake(team[number % 2]).append("people", people(f"w{number}s{step}"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(14)]  # more than there are lock connections
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    lake = Lake(team[0])
    assert set(names_in(lake, state(lake, "people"))) == {"first", *(f"w{n}s{s}" for n in range(14) for s in range(3))}
    assert not check(team[1]).orphans


@pytest.mark.parametrize(
    ("change", "what"),
    [(("s3://lake/", "s3://leak/"), "does not exist"), (("http://127.0.0.1:", "http://127.0.0.1:9?x="), "no address")],
)
def test_no_workspace_is_begun_where_nothing_can_be_kept(
    change: tuple[str, str], what: str, s3: str, tmp_path: Path
) -> None:
    with pytest.raises((EnvironmentProblem, InputError), match=what):
        Workspace.create(tmp_path / "w", storage=s3.replace(*change).replace("?x=", "&x="))
    assert list(tmp_path.rglob("*.toml")) == []
    assert not (tmp_path / "w" / ".bascule").exists()


@pytest.mark.slow
@pytest.mark.parametrize("shared", ["sqlite", "postgresql"])
def test_locks_reach_all_who_share_the_catalog(shared: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    catalog = request.getfixturevalue("database") if shared == "postgresql" else ""
    one = Workspace.create(tmp_path / "one", catalog=catalog, storage=request.getfixturevalue("s3"))
    two = Workspace.open(one.folder) if shared == "sqlite" else Workspace.create(tmp_path / "two", **vars_of(one))
    mine, theirs = one.lake_folder / "t" / LOCK, two.lake_folder / "t" / LOCK
    with files.locked(mine, exclusive=False), files.locked(theirs, exclusive=False):
        pass
    with files.locked(mine, exclusive=True):
        for exclusive in (True, False):
            with pytest.raises(BlockingIOError), files.locked(theirs, exclusive=exclusive, wait=False):
                pass
        with files.locked(two.lake_folder / "u" / LOCK, exclusive=True, wait=False):
            pass
    with pytest.raises(KeyError), files.locked(mine, exclusive=True):
        raise KeyError
    with files.locked(theirs, exclusive=True, wait=False):
        pass
    one.close()
    two.close()


def vars_of(workspace: Workspace) -> dict[str, str]:
    return {"catalog": workspace.settings.catalog, "storage": workspace.settings.storage}


@pytest.mark.slow
def test_a_lock_whose_connection_was_lost_is_no_lock(team: tuple[Workspace, Workspace]) -> None:
    one, _ = team
    with (
        pytest.raises(EnvironmentProblem, match="lock"),
        files.locked(one.lake_folder / "t" / LOCK, exclusive=False),
        one.catalog.write() as conn,
    ):
        conn.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        )


@pytest.mark.slow
def test_a_session_reads_the_lake_and_nothing_else_in_the_bucket(
    team: tuple[Workspace, Workspace], tmp_path: Path
) -> None:
    one, _ = team
    Lake(one).append("people", people("ann"))
    assert isinstance(one.storage, ObjectPath)
    rows = pa.BufferOutputStream()
    pq.write_table(people("secret"), rows)
    beside = ObjectPath("lake/beside/secret.parquet", one.storage.shelf)
    beside.write_bytes(rows.getvalue().to_pybytes())
    (one.storage / "private.parquet").write_bytes(rows.getvalue().to_pybytes())
    with Session(one) as session:
        run = session.connection.execute
        for place in (beside, one.storage / "private.parquet", f"{one.lake_folder}/../private.parquet"):
            with pytest.raises(Exception, match=r"disabled by configuration|Not below"):
                run(f"select * from read_parquet('{place}')")
        with pytest.raises(Exception, match=r"through the lake only|disabled"):
            run(f"copy (select 1 as a) to '{one.lake_folder}/new.parquet'")
        assert run(f"select count(*) from {Lake(one).scan(state(Lake(one), 'people'))}").fetchall() == [(1,)]
    with engine.opened() as connection, pytest.raises(Exception, match="Not below"):
        connection.execute("select * from read_parquet('s3://elsewhere/x.parquet')")


@pytest.mark.slow
def test_a_manifest_that_leads_out_of_the_lake_is_refused(team: tuple[Workspace, Workspace]) -> None:
    lake = Lake(team[0])
    lake.append("people", people("ann"))
    table = lake.table(state(lake, "people"))
    with pytest.raises(InputError, match="not in an object storage that is open"):
        table.resolve("s3://elsewhere/x.parquet")


@pytest.mark.slow
def test_many_small_files_and_threads_read_the_same_rows(team: tuple[Workspace, Workspace]) -> None:
    lake = Lake(team[0])
    big = pa.table({"id": list(range(300_000)), "name": [f"n{i % 977}" for i in range(300_000)]})
    lake.append("big", big)
    for number in range(12):
        lake.append("big", pa.table({"id": [300_000 + number], "name": ["late"]}))
    wanted = (300_012, sum(range(300_012)), 978)
    for _ in range(3):
        with Session(team[1]) as session:
            found = session.arrow("select count(*) a, sum(id)::bigint b, count(distinct name) c from big").to_pylist()
            assert tuple(found[0].values()) == wanted


@pytest.mark.slow
def test_records_are_moved_once(team: tuple[Workspace, Workspace]) -> None:
    schema = pa.schema([("id", pa.string())])
    one, two = (RecordTable(workspace, "predictions", schema) for workspace in team)
    assert one.move_segment("s1", pa.table({"id": ["a"]})) == 1
    assert two.move_segment("s1", pa.table({"id": ["a"]})) is None
    for number in range(6):
        two.append(pa.table({"id": [str(number)]}))
    with Session(team[0]) as session:
        assert session.arrow("select count(*) n from predictions").to_pylist() == [{"n": 7}]


@pytest.mark.slow
def test_without_the_extra_the_line_to_install_it_is_said(
    team: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.delitem(sys.modules, "bascule.store.reading", raising=False)
    with pytest.raises(MissingExtra) as told:
        Session(team[0])
    assert told.value.hint == "Install them with: pip install 'bascule[s3]'"
