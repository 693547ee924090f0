"""Who joins features for a training set: DuckDB in this process, or Spark over the same files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from bascule.errors import InputError, NotFound, suggestion
from bascule.features import FeatureSet, training_rows
from bascule.features.spark import SparkPlace, spark_rows
from bascule.history import Commit, Workspace
from bascule.lake import Lake
from bascule.lake.engine import told
from bascule.lake.handing import Handed, handed
from bascule.lake.masking import hidden_names
from bascule.project.definitions import read_by_query
from bascule.project.file import ProjectFile
from bascule.seeing import Masked, current_role

ENGINES = ("duckdb", "spark")


def joining_engine(project: ProjectFile, asked: str = "") -> SparkPlace | None:
    """Return the Spark that joins features, or None for DuckDB.

    Args:
        asked: an engine by name; that of `[joins]` when empty.

    Raises:
        InputError: there is no such engine.
    """
    name, spark = asked or project.joins.engine, project.joins.spark
    if name not in ENGINES:
        raise InputError(
            f"There is no engine {name!r}: features are joined by {' or '.join(ENGINES)}.",
            hint=f"{suggestion(name, ENGINES, 'engine')} For a warehouse take its SQL: bascule features sql.".strip(),
        )
    if name == "duckdb":
        return None
    return SparkPlace(master=spark.master, remote=spark.remote, config=dict(spark.config))


@contextmanager
def engine_rows(
    workspace: Workspace,
    commit: Commit,
    connection: duckdb.DuckDBPyConnection,
    feature_set: FeatureSet,
    spine_sql: str,
    place: SparkPlace | None,
) -> Iterator[duckdb.DuckDBPyRelation]:
    """Join features to examples; what is given can be read inside of the block.

    Args:
        commit: the state whose tables the connection shows.
        place: the Spark that joins, or None for DuckDB.

    Raises:
        InputError, EnvironmentProblem: see `training_rows` and `spark_rows`; or a view's SQL fails on the data, also
            while the block reads the rows.
        Masked: the current role reads some columns masked, and Spark would read them as they are.
    """
    if place is None:
        with told("The features cannot be computed"):
            yield training_rows(connection, feature_set, spine_sql)
        return
    if hidden_names(workspace):
        raise Masked(
            f"Spark reads the tables' files as they are, and the role {current_role()} reads some columns masked.",
            hint="Ask for the training set with the engine duckdb.",
        )
    names = sorted({name for view in feature_set.views for name in read_by_query(view.sql)})
    with tempfile.TemporaryDirectory(dir=workspace.temporary_folder, prefix="spark-") as name:
        folder = Path(name)
        tables = _handed(workspace, commit, names, folder)
        yield spark_rows(connection, feature_set, spine_sql, place, tables, folder)


def _handed(workspace: Workspace, commit: Commit, names: Sequence[str], folder: Path) -> dict[str, Handed]:
    lake, found = Lake(workspace), {}
    for name in names:
        obj = workspace.history.read(commit, f"tables/{name}")
        if obj is None:
            raise NotFound("table", name, workspace.history.digests(commit, "tables/"))
        found[name] = handed(lake, obj, name, folder)
    return found
