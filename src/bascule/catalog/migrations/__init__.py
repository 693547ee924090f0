"""Alembic migrations, run from Python: opening a catalog brings it up to date.

Each revision is a module in `versions/`, and goes forward only: to go back, restore the catalog from before.
A catalog made by a newer Bascule is refused, never guessed at. An empty database gets the newest schema at once, which
a test holds to what the revisions make of it one after another.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from bascule.catalog.schema import metadata
from bascule.errors import EnvironmentProblem

HEAD = "0010"
# As Alembic makes it.
VERSIONS = """CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"""
# What the revisions write beside tables: the experiment of clients that name none.
DEFAULT = """INSERT INTO experiments (id, name, artifact_location, lifecycle, created_at, updated_at)
    VALUES (0, 'Default', 'mlflow-artifacts:/0', 'active', 0, 0)"""


def migrate(engine: Engine) -> None:
    """Bring the schema to `HEAD`. Costs one query when it is there already.

    Raises:
        EnvironmentProblem: when the catalog has a revision that this release does not know.
    """
    with engine.connect() as connection:
        current = _current(connection)
    if current == HEAD or (current is None and _made(engine)):
        return
    _upgrade(engine, current)


def _made(engine: Engine) -> bool:
    """Make the newest schema in a database without tables; tell whether it was one."""
    with engine.connect() as connection:
        _lock(connection)
        if inspect(connection).get_table_names():
            return False
        metadata.create_all(connection, checkfirst=False)
        connection.exec_driver_sql(DEFAULT)
        connection.execute(text(VERSIONS))
        connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
        connection.commit()
        return True


def _upgrade(engine: Engine, current: str | None) -> None:
    # Alembic is slow to import, and it is needed once in a catalog's life.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise EnvironmentProblem(
            f"This catalog has schema {current}, which this release of Bascule does not know.",
            hint="Upgrade: pip install --upgrade bascule",
        )
    with engine.connect() as connection:
        _lock(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def _lock(connection: Connection) -> None:
    """Let one process at a time change the schema, until its transaction ends."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(7400002)"))


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
