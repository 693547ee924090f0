"""Moving a workspace from disk and SQLite to S3 and PostgreSQL and back: every id and every row stays what it was."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import insert, select

from bascule.catalog import Catalog, audit, copying, now
from bascule.catalog.schema import names, run_tags, runs
from bascule.errors import Busy, EnvironmentProblem, InputError
from bascule.history import Workspace
from bascule.lake import Lake, RecordTable, Session, doctor, forget
from bascule.project.migrating import MARK, migrate
from bascule.store import ObjectPath
from bascule.store.places import sizes
from bascule.tracking.artifacts import Artifacts
from tests.kills.forked import Commands
from tests.lake.iceberg.deleting import delete_file, with_deletes
from tests.project.conftest import Bascule
from tests.project.parcels import write

StaticTable = pytest.importorskip("pyiceberg.table").StaticTable
SCHEMA = pa.schema([("id", pa.string()), ("n", pa.int64())])


def rows(*ids: str) -> pa.Table:
    return pa.table({"id": list(ids), "n": list(range(len(ids)))}, schema=SCHEMA)


@pytest.fixture(scope="module")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("filled")
    workspace = Workspace.create(place)
    lake, history = Lake(workspace), workspace.history
    for number in range(4):
        lake.append("people", rows(f"anna-{number}", f"boris-{number}"), key=["id"])
    history.tag("v1")
    history.create_branch("dev")
    lake.delete("people", "id = 'anna-1'", branch="dev")
    lake.append("ops.weather", rows("rain"), branch="dev")
    forget(workspace, "people", {"id": "boris-2"})
    RecordTable(workspace, "predictions", SCHEMA).append(rows("p1", "p2"))
    workspace.store.put(b"a model")
    workspace.store.put(os.urandom(100_000))
    for name in ("0/r/artifacts/a b.txt", "0/r/artifacts/plots/ü.bin"):
        path = workspace.folder / "artifacts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 1000)
    run = {"id": "run_1", "name": "n", "kind": "step", "status": "done", "code_dirty": True, "user_name": "ana"}
    with workspace.catalog.write() as conn:
        conn.execute(insert(runs).values(**run, started_at=now(), environment_json="{}"))
        conn.execute(insert(run_tags).values(subject=1, name=1, value="日本 'quoted' \\ %s"))
    workspace.close()
    return place


@pytest.fixture
def filled(_filled: Path, tmp_path: Path) -> Workspace:
    """A workspace with branches, tags, deleted and forgotten rows, records, runs and blobs; nobody has it open."""
    shutil.copytree(_filled, tmp_path / "w")
    return Workspace.open(tmp_path / "w")


def seen(folder: Path) -> dict[str, Any]:
    """Everything that a workspace answers, by ids and values."""
    workspace = Workspace.open(folder)
    history = workspace.history
    found: dict[str, Any] = {"blobs": sorted(workspace.store.digests())}
    artifacts = Artifacts(workspace)
    for folder in ("0/r/artifacts", "0/r/artifacts/plots"):
        for one in artifacts.list(folder):
            place = artifacts.place(f"{folder}/{one.path}")
            found[f"{folder}/{one.path}"] = None if one.is_dir else place.read_bytes()
    for ref in (*history.branches(), *history.tags()):
        commits = [(c.id, c.message, c.author) for c in history.log(ref.head)]
        found[ref.name] = (ref.head, commits, dict(history.digests(ref.head)))
        with Session(workspace, ref.name) as session:
            found[f"{ref.name} rows"] = {
                t: sorted(map(repr, session.arrow(f'from "{t}"').to_pylist())) for t in session.tables() if "." not in t
            }
    with Session(workspace) as session:
        found["predictions"] = session.arrow("from predictions order by id").to_pylist()
    with workspace.catalog.read() as conn:
        skipped = ("audit", "settings")
        found["catalog"] = {t.name: copying.contents(conn, t) for t in copying.tables() if t.name not in skipped}
        found["tags"] = [tuple(row) for row in conn.execute(select(run_tags))]
    found["audit"] = [
        (entry["seq"], entry["hash"])
        for entry in reversed(audit.last(workspace.catalog, 10_000))
        if entry["action"] != "migrate"
    ]
    looked = doctor.check(workspace, deep=True)
    assert looked.ok, looked.problems
    assert audit.verify(workspace.catalog).ok
    workspace.close()
    return found


def settings_of(folder: Path) -> str:
    return (folder / ".bascule" / "workspace.toml").read_text("utf-8")


@pytest.mark.slow
def test_there_and_back_with_every_id(
    filled: Workspace, database: str, s3: str, s3_server: str, tmp_path: Path
) -> None:
    before, folder = seen(tmp_path / "w"), tmp_path / "w"
    told: list[tuple[str, int, int | None]] = []
    done = migrate(filled, catalog=database, storage=s3, progress=lambda *said: told.append(said))
    assert seen(folder) == before
    assert {what for what, _, _ in told} >= {"copying blobs", "copying tables", "copying the catalog"}
    assert any(done == total for what, done, total in told if what == "copying tables")
    assert (done.blobs, done.commits, done.branches) == (2, len(before["catalog"]) and done.commits, 3)
    there = Workspace.open(folder)
    assert isinstance(there.lake_folder, ObjectPath)
    last = audit.last(there.catalog, 1)[0]
    assert (last["action"], "secret" in last["detail_json"]) == ("migrate", False)
    lake = Lake(there)
    for ref in ("main", "dev", "v1"):  # another engine follows the addresses inside of the metadata
        value = there.history.get(ref, "tables/people")
        table = StaticTable.from_metadata(str(lake.location(value)), {"s3.endpoint": s3_server})
        assert table.scan().to_arrow().num_rows == len(before[f"{ref} rows"]["people"])
        assert table.location().startswith("s3://lake/")
    for path, _ in sizes(there.lake_folder):
        assert str(folder).encode() not in path.read_bytes()
    lake.append("people", rows("new"))  # it goes on there
    there.history.create_branch("later")
    forget(there, "people", {"id": "boris-3"})
    there.close()
    middle = seen(folder)
    migrate(Workspace.open(folder), catalog="sqlite", storage="disk")
    assert seen(folder) == middle
    back = Workspace.open(folder)
    assert (back.settings.catalog, back.settings.storage) == ("", "")
    assert [e["action"] for e in audit.last(back.catalog, 100)].count("migrate") == 2
    Lake(back).append("people", rows("newer"))
    for path, _ in sizes(back.lake_folder):
        assert b"s3://" not in path.read_bytes()
    back.close()


@pytest.mark.slow
def test_only_the_storage_or_only_the_catalog(filled: Workspace, database: str, s3: str, tmp_path: Path) -> None:
    before, folder = seen(tmp_path / "w"), tmp_path / "w"
    migrate(filled, storage=s3)
    one = Workspace.open(folder)
    assert (one.settings.catalog, one.settings.storage) == ("", s3)
    assert seen(folder) == before
    migrate(one, catalog=database)
    migrate(Workspace.open(folder), storage=str(tmp_path / "elsewhere"))
    assert seen(folder) == before
    assert (tmp_path / "elsewhere" / "lake").is_dir()


@pytest.mark.slow
def test_a_dry_run_tells_and_changes_nothing(filled: Workspace, database: str, s3: str, tmp_path: Path) -> None:
    said = migrate(filled, catalog=database, storage=s3, dry_run=True)
    assert said.dry_run
    assert said.files > 10
    assert said.file_bytes > 1000
    assert sum(said.rows.values()) > 20
    place = Workspace(tmp_path, type(filled.settings)(storage=s3)).storage
    assert list(sizes(place)) == []
    assert copying.found_at(database) is None
    assert 'catalog = ""' in settings_of(tmp_path / "w")
    assert not list((tmp_path / "w" / ".bascule").glob("moved-*"))


@pytest.mark.slow
def test_doing_it_again_does_nothing(filled: Workspace, s3: str, tmp_path: Path) -> None:
    assert migrate(filled, storage=s3).moved
    workspace = Workspace.open(tmp_path / "w")
    (workspace.storage / MARK).write_bytes(b"left by a kill after the switch")
    again = migrate(workspace, storage=s3)
    assert not again.moved
    assert not (Workspace.open(tmp_path / "w").storage / MARK).exists()


@pytest.mark.slow
def test_nobody_else_may_have_it_open(filled: Workspace, s3: str, tmp_path: Path) -> None:
    other = Workspace.open(tmp_path / "w")
    other.history.resolve("main")
    with pytest.raises(Busy, match="open elsewhere"):
        migrate(filled, storage=s3)
    other.close()
    with filled.alone(), pytest.raises(Busy, match="being moved"):
        other.history.resolve("main")
    migrate(filled, storage=s3)


@pytest.mark.slow
def test_a_connection_from_another_machine_stops_it(filled: Workspace, database: str, tmp_path: Path) -> None:
    import psycopg

    migrate(filled, catalog=database)
    workspace = Workspace.open(tmp_path / "w")
    with psycopg.connect(database.replace("+psycopg", "")), pytest.raises(Busy, match="in use by this machine"):
        migrate(workspace, catalog="sqlite")
    assert workspace.settings.catalog == Workspace.open(tmp_path / "w").settings.catalog


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_who_had_the_old_catalog_open_is_told(
    kind: str, filled: Workspace, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = request.getfixturevalue("database")
    if kind == "postgresql":
        migrate(filled, catalog=database)
        filled = Workspace.open(tmp_path / "w")
    late = filled.open_catalog()  # as a process of another machine would have it
    with late.read() as conn:
        conn.execute(select(runs)).all()
    monkeypatch.setattr(copying, "others", lambda catalog: [])
    migrate(filled, catalog=database if kind == "sqlite" else "sqlite")
    with pytest.raises(EnvironmentProblem, match="The workspace was moved"), late.write() as conn:
        conn.execute(insert(run_tags).values(subject=1, name=2, value="lost"))
    late.close()


@pytest.mark.slow
def test_a_place_that_holds_something_else_is_refused(
    filled: Workspace, database: str, s3: str, tmp_path: Path
) -> None:
    other = Workspace.create(tmp_path / "other", catalog=database, storage=s3)
    Lake(other).append("t", rows("x"))
    other.close()
    with pytest.raises(InputError, match="not empty"):
        migrate(filled, storage=s3)
    with pytest.raises(InputError, match="not empty"):
        migrate(filled, catalog=database)
    with pytest.raises(InputError, match="cannot live in 'mongodb'"):
        migrate(filled, catalog="mongodb://x")
    with pytest.raises(InputError, match="ftp"):
        migrate(filled, storage="ftp://x/y")
    assert 'storage = ""' in settings_of(tmp_path / "w")


@pytest.mark.slow
def test_what_postgresql_does_not_hold_is_named(filled: Workspace, database: str) -> None:
    with filled.catalog.write() as conn:
        conn.execute(insert(names).values(number=9, name="k" * 300))
    filled.close()
    with pytest.raises(InputError, match=r"'name' of 'names'.*250 characters"):
        migrate(filled, catalog=database, dry_run=True)


@pytest.mark.slow
def test_damage_is_not_carried_over(filled: Workspace, s3: str, tmp_path: Path) -> None:
    path = next(path for path, _ in sizes(filled.lake_folder) if path.name.endswith(".parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1  # the size stays, so only its name tells
    path.write_bytes(bytes(data))
    with pytest.raises(EnvironmentProblem, match="does not hold what its name says"):
        migrate(filled, storage=s3)
    assert 'storage = ""' in settings_of(tmp_path / "w")
    path.unlink()
    with pytest.raises(EnvironmentProblem, match="The lake is damaged"):
        migrate(filled, storage=s3)


@pytest.mark.slow
def test_position_deletes_of_another_engine_go_along(
    filled: Workspace, s3: str, s3_server: str, tmp_path: Path
) -> None:
    lake, path = Lake(filled), "tables/people"
    table = lake.table(filled.history.get("main", path))
    first, second, *_ = table.data_files()
    deleted = with_deletes(table, delete_file(table, [(str(first.path), 1), (str(second.path), 0)]))
    filled.history.commit("main", {path: lake.adopt(deleted.path, "people")}, message="Delete")
    lake.append("people", rows("after"))
    filled.close()
    before = seen(tmp_path / "w")
    migrate(filled, storage=s3)
    assert seen(tmp_path / "w") == before
    there = Workspace.open(tmp_path / "w")
    place = str(Lake(there).location(there.history.get("main", path)))
    found = StaticTable.from_metadata(place, {"s3.endpoint": s3_server}).scan().to_arrow()["id"].to_pylist()
    assert sorted(found) == ["after", "anna-0", "anna-2", "anna-3", "boris-1", "boris-3"]


@pytest.mark.slow
def test_a_catalog_that_was_only_made_is_as_good_as_none(filled: Workspace, database: str, tmp_path: Path) -> None:
    """As a copy leaves it that is killed before its first row."""
    Catalog.open(database).close()
    before = seen(tmp_path / "w")
    migrate(filled, catalog=database)
    assert seen(tmp_path / "w") == before


@pytest.mark.slow
def test_killed_at_any_moment_and_repeated(filled: Workspace, database: str, s3: str, tmp_path: Path) -> None:
    before, folder = seen(tmp_path / "w"), tmp_path / "w"
    started = settings_of(folder)
    switched, commands = 0, Commands(folder)
    for attempt in range(40):
        # Close together at first, where most of it happens.
        words = ("migrate", "--to-catalog", database, "--to-storage", s3)
        ended = commands.run(*words, kill_after=0.05 * 1.4**attempt)
        if settings_of(folder) != started:
            switched = attempt + 1
            break
        assert seen(folder) == before  # nothing has happened, and it can be used
        assert (ended.code, ended.out) == (-signal.SIGKILL, "")
    commands.close()
    assert switched > 2
    migrate(Workspace.open(folder), catalog=database, storage=s3)
    assert seen(folder) == before
    workspace = Workspace.open(folder)
    assert [e["action"] for e in audit.last(workspace.catalog, 100)].count("migrate") == 1
    assert not doctor.check(workspace).orphans
    workspace.close()


@pytest.mark.slow
def test_used_between_two_attempts(filled: Workspace, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the source let go of, and what was rewritten in place, is so in the copy too."""
    from bascule.project import migrating

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(migrating._Move, "_prove", stop)
        with pytest.raises(KeyboardInterrupt):
            migrate(filled, storage=s3)
    lake = Lake(filled)
    forget(filled, "people", {"id": "anna-3"})
    lake.append("people", rows("later"))
    filled.close()
    before = seen(tmp_path / "w")
    migrate(filled, storage=s3)
    assert seen(tmp_path / "w") == before
    there = Workspace.open(tmp_path / "w")
    assert all(b"anna-3" not in path.read_bytes() for path, _ in sizes(there.lake_folder))
    assert not doctor.check(there).orphans


@pytest.mark.slow
def test_a_whole_project_goes_on_where_it_is(trained: Path, database: str, s3: str) -> None:
    commands = Commands(trained)
    done = commands.done
    before = done("log", "--json").json()
    assert done("migrate", "--to-catalog", database, "--to-storage", s3, "--dry-run", "--json").json()["dry_run"]
    said = done("migrate", "--to-catalog", database, "--to-storage", s3)
    assert "proven to be the same" in said.out
    assert done("log", "--json").json() == before
    assert done("migrate", "--to-catalog", database, "--to-storage", s3, "--json").json()["moved"] is False
    done("doctor", "--deep")
    assert "no step of" in done("run").out  # every step's cache holds: nothing has changed
    done("reproduce", "delays")
    done("switch", "--create", "dev")
    write(trained / "data" / "depots.csv", "depot,opened\nnorth,1987\nsouth,2004\neast,2016\nwest,2020\n")
    done("run")
    done("switch", "main")
    done("merge", "dev")
    assert done("forget", "depots", "depot=west", "--json").json()["rows"] == 1
    done("doctor", "--deep")
    done("migrate", "--to-catalog", "sqlite", "--to-storage", "disk")
    done("doctor", "--deep")
    assert done("sql", "select count(*) n from depots", "--json").json()
    commands.close()


@pytest.mark.slow
def test_without_a_target_the_command_says_what_to_write(parcels: Path, bascule: Bascule) -> None:
    said = bascule("migrate")
    assert (said.code, "--to-catalog" in said.err) == (2, True)
