"""Alembic migrations, run from Python: opening a catalog brings it up to date.

Each revision is a module in `versions/`, and goes forward only: to go back, restore the catalog from before.
A catalog made by a newer Bascule is refused, never guessed at.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, inspect, text

from bascule.errors import EnvironmentProblem

HEAD = "0010"


def migrate(engine: Engine) -> None:
    """Bring the schema to `HEAD`. Costs one query when it is there already.

    Raises:
        EnvironmentProblem: when the catalog has a revision that this release does not know.
    """
    current = _current(engine)
    if current == HEAD:
        return
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
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(7400002)"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def _current(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
