"""Training rows by Spark: the same as `training_rows` gives, with the views' part of the work on a cluster.

The examples are numbered here, and go to Spark as a Parquet file of their keys and times; Spark reads the tables'
files, runs the portable plan and writes what it found as Parquet; the two are put together here, where expressions are
computed and types are as they always are. So the rows are in their order, and are not held in memory.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from bascule.errors import BasculeError, EnvironmentProblem, InputError
from bascule.features.columns import body, describe, feature_type, first_line, microseconds, quoted
from bascule.features.definitions import FeatureSet
from bascule.features.point_in_time import check_spine, output_columns
from bascule.features.portable import rows_plan, written
from bascule.features.portable.plan import AT, ROW, SPINE
from bascule.lake.handing import Handed

INSTALL = "pip install 'pyspark>=4'"
_GIVEN = "__given"
_LOCAL = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": str(2 * (os.cpu_count() or 1)),
}
#: What the plan relies on, in any session.
_NEEDED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.parquet.fieldId.read.enabled": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}
_KINDS = {
    **{"boolean": "boolean", "int": "integer", "long": "long", "float": "float", "double": "double", "date": "date"},
    **{"timestamp": "timestamp_ntz", "timestamptz": "timestamp", "string": "string", "binary": "binary"},
}
_IDS = "parquet.field.id"


class SparkPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Which Spark.

    Attributes:
        master: where a session of this process runs, such as `local[*]` or `spark://HOST:7077`.
        remote: the address of a Spark Connect server, instead of it; it must see the workspace's folder.
        config: settings of the session.
    """

    master: str = "local[*]"
    remote: str = ""
    config: dict[str, str] = {}


def spark_session(place: SparkPlace) -> Any:
    """Return a session of its own on a Spark; the Spark itself is started if this process has none.

    Raises:
        EnvironmentProblem: PySpark or Java is not there, or the Spark does not answer.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions of pandas, which is not used here
            from pyspark.sql import SparkSession
    except ImportError:
        raise EnvironmentProblem(
            "The engine spark needs PySpark, which is not installed.",
            hint=f"Install it with: {INSTALL}. It needs Java 17 or newer.",
        ) from None
    builder = SparkSession.builder
    try:
        if place.remote:
            session = builder.remote(place.remote).create()
        else:
            local = _LOCAL if place.master.startswith("local") else {}
            for key, value in {**local, **place.config}.items():
                builder = builder.config(key, value)
            started = builder.appName("bascule").master(place.master).getOrCreate()
            session = started.newSession() if hasattr(started, "newSession") else started
        for key, value in {**(place.config if place.remote else {}), **_NEEDED}.items():
            session.conf.set(key, value)
    except Exception as error:
        where = place.remote or place.master
        raise EnvironmentProblem(
            f"There is no Spark at {where}: {first_line(error)}",
            hint="A Spark of one's own needs Java 17 or newer (JAVA_HOME). Look at [joins.spark] in bascule.toml.",
        ) from None
    return session


def spark_rows(
    connection: duckdb.DuckDBPyConnection,
    feature_set: FeatureSet,
    spine_sql: str,
    place: SparkPlace,
    tables: Mapping[str, Handed],
    folder: Path,
) -> duckdb.DuckDBPyRelation:
    """Join features to examples as `training_rows` does, with Spark.

    Sums, means and variances of doubles are added up in another order, and so may differ in their last digits; all else
    is equal.

    Args:
        tables: the tables that the views read.
        folder: an empty folder that Spark sees too. It must outlive the relation.

    Raises:
        InputError: as `training_rows`; or what a view's SQL says has no words in Spark, or fails there.
        EnvironmentProblem: there is no Spark.
    """
    columns = describe(connection, spine_sql, "The examples")
    check_spine(feature_set, columns)
    at = "CAST(NULL AS BIGINT)"
    if feature_set.prediction_time:
        at = microseconds(quoted(feature_set.prediction_time), columns[feature_set.prediction_time])
    keys = dict.fromkeys(key for view in feature_set.views for key in feature_set.entity(view).keys)
    kinds = {key: feature_type(columns[key]) or columns[key] for key in keys}
    plan = rows_plan(feature_set, kinds)
    views = {name: f"lake{number}" for number, name in enumerate(tables)}
    known = {name: _columns(connection, name) for name in tables}
    text, _ = written(plan, "spark", known.get, lambda name: views.get(name, name), pretty=False)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {_GIVEN} AS SELECT row_number() OVER () - 1 AS {ROW}, *, {at} AS {AT} "
        f"FROM (\n{body(spine_sql)}\n)"
    )
    spine, found = folder / "spine.parquet", folder / "found"
    own = "".join(f", CAST({quoted(key)} AS {kind}) AS {quoted(key)}" for key, kind in kinds.items())
    connection.execute(f"COPY (SELECT {ROW}, {AT}{own} FROM {_GIVEN}) TO {_text(spine)} (FORMAT parquet)")
    _run(place, text, {views[name]: table for name, table in tables.items()}, spine, found)
    files = sorted(found.glob("*.parquet"))
    rows = f"read_parquet([{', '.join(map(_text, files))}])"
    wanted, given = connection.execute(
        f"SELECT (SELECT count(*) FROM {_GIVEN}), (SELECT count(*) FROM {rows})"
    ).fetchall()[0]
    if wanted != given:
        raise EnvironmentProblem(
            f"Spark gave {given:,} rows for {wanted:,}.",
            hint=f"All of Spark's machines must write into {folder.parent}, and see the same folder there.",
        )
    names = [name for name in plan.outputs if name != ROW]
    said = "".join(f", CAST(f.{quoted(name)} AS {kind}) AS {quoted(name)}" for name, kind in _types(feature_set, names))
    joined = f"SELECT g.*{said} FROM {_GIVEN} g JOIN {rows} f USING ({ROW})"
    return connection.sql(f"SELECT {', '.join(output_columns(feature_set, columns))} FROM ({joined}) ORDER BY {ROW}")


def _types(feature_set: FeatureSet, names: list[str]) -> list[tuple[str, str]]:
    from bascule.features.binding import output_types

    known = {f"{view.name}__{field}": kind for view in feature_set.views for field, kind in output_types(view).items()}
    return [(name, known[name]) for name in names]


def _columns(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, str]:
    table = ".".join(quoted(part) for part in name.rsplit(".", 1))
    return describe(connection, f"SELECT * FROM {table}", f"Table {name}")


def _run(place: SparkPlace, text: str, tables: Mapping[str, Handed], spine: Path, found: Path) -> None:
    session = spark_session(place)
    # What goes wrong is said once, by the error; PySpark would print the whole query besides.
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
    left_out: dict[str, str] = {}
    try:
        for view, table in tables.items():
            _frame(session, table, left_out).createOrReplaceTempView(view)
        session.read.parquet(_address(spine)).createOrReplaceTempView(SPINE)
        session.sql(text).write.parquet(f"file://{found}", compression="zstd")
    except BasculeError:
        raise
    except Exception as error:
        hint = "Write the SQL so that both engines understand it, or use the engine duckdb."
        if left_out:
            hint += " Spark is not given " + ", ".join(f"{name} ({kind})" for name, kind in left_out.items()) + "."
        raise InputError(f"Spark cannot compute the features: {first_line(error)}", hint=hint) from None
    finally:
        if place.remote:
            session.stop()


def _frame(session: Any, table: Handed, left_out: dict[str, str]) -> Any:
    """Return a table's rows as a Spark frame; columns of types that Spark would read as something else are left out."""
    from pyspark.sql.types import StructType

    fields = []
    for number, name, kind in table.fields:
        known = _KINDS.get(kind, kind if kind.startswith("decimal(") else None) if isinstance(kind, str) else None
        if known is None:
            left_out[name] = kind if isinstance(kind, str) else kind["type"]
        else:
            fields.append({"name": name, "type": known, "nullable": True, "metadata": {_IDS: number}})
    by_ids = StructType.fromJson({"type": "struct", "fields": fields})
    by_names = StructType.fromJson({"type": "struct", "fields": [{**field, "metadata": {}} for field in fields]})
    frames = []
    for schema, files in ((by_ids, table.files), (by_names, table.copies)):
        if files:
            frames.append(session.read.schema(schema).parquet(*(_address(file) for file in files)))
    if not frames:
        return session.createDataFrame([], by_names)
    first, *others = frames
    for other in others:
        first = first.unionByName(other)
    return first


def _address(path: Path) -> str:
    """A file as Spark's readers take it, for whom some letters are patterns."""
    return "file://" + "".join(f"\\{letter}" if letter in "\\*?[]{}" else letter for letter in str(path))


def _text(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
