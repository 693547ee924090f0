"""`get_training_set`: features for any entity rows, as they were known then, kept as an immutable set."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from bascule.catalog import now
from bascule.durations import parse_duration
from bascule.errors import InputError, NotFound, suggestion
from bascule.features import FeatureSet, FeatureView, bind_view, build_feature_set
from bascule.features.columns import body, describe, family, feature_type, microseconds, quoted
from bascule.features.definitions import entity_of
from bascule.features.materialising import limited
from bascule.history import Commit, Workspace
from bascule.lake.engine import opened, told
from bascule.lake.inputs import reader
from bascule.lake.masking import hidden_names
from bascule.project.definitions import entities, read_by_query, request_view, view_sql, views
from bascule.project.engines import engine_rows, joining_engine
from bascule.project.file import ProjectFile
from bascule.project.place import Place
from bascule.project.tables import opened_for
from bascule.project.untyped import typed_rows
from bascule.seeing import Masked, current_role
from bascule.training.joined import (
    ROW_GROUP,
    Asked,
    JoinedSet,
    joined_batches,
    joined_rows,
    joined_sets,
    keep_joined,
    read_joined,
)

GIVEN = "entity_rows"
SPLITS = ("time", "entity", "folds")
_FILES = {".csv": "read_csv", ".parquet": "read_parquet", ".json": "read_json", ".jsonl": "read_json"}


class GivenSet:
    """A training set that was asked for: its record, and its rows in the order of the entity rows.

    Attributes:
        made: the record: id, name, features, types, splits, how it was asked for.
        notes: what its reader should know, one sentence each.
    """

    def __init__(self, workspace: Workspace, made: JoinedSet, notes: Sequence[str] = ()) -> None:
        self.made = made
        self.notes = tuple(notes)
        self._workspace = workspace

    @property
    def name(self) -> str:
        """`NAME@<first 8 of its id>`."""
        return self.made.name

    def __len__(self) -> int:
        return self.made.rows

    def batches(self, split: str | int | None = None) -> Iterator[pa.RecordBatch]:
        """Give the rows a batch at a time; of one split (`train`, `validation`, `test`) or fold, when it is named.

        Raises:
            Masked: the current role reads some columns masked, and these are rows as they are.
        """
        self._refuse_masked()
        return joined_batches(self._workspace, self.made, split)

    def to_arrow(self, split: str | int | None = None) -> pa.Table:
        """Return the rows as an Arrow table. Raises as `batches`."""
        self._refuse_masked()
        return joined_rows(self._workspace, self.made, split)

    def to_pandas(self, split: str | int | None = None) -> Any:
        """Return the rows as a pandas frame. Whole numbers stay so beside nulls: they are Arrow-backed columns."""
        import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore]

        return self.to_arrow(split).to_pandas(types_mapper=pd.ArrowDtype)

    def write(self, file: Path | str) -> None:
        """Write the rows to a Parquet file, as they are kept. Raises as `batches`."""
        self._refuse_masked()
        data = self._workspace.store
        with data.open(self.made.blob) as source, Path(file).open("wb") as target:
            shutil.copyfileobj(source, target)

    def as_dict(self) -> dict[str, Any]:
        """The record and the notes, JSON-able."""
        kept = {key: value for key, value in msgspec.to_builtins(self.made).items() if key != "feature_set"}
        return {**kept, "notes": list(self.notes)}

    def _refuse_masked(self) -> None:
        if hidden_names(self._workspace):
            raise Masked(
                f"The training set {self.name} holds rows as they are, and the role {current_role()} reads some "
                "columns masked.",
                hint='Read rows with SQL, which masks them: bascule sql "select …".',
            )


@dataclass(frozen=True)
class _Rows:
    """The entity rows: SQL over the tables of a state, or rows that were given."""

    sql: str
    told: str
    tables: frozenset[str]
    given: pa.Table | None = None


def get_training_set(
    place: Place,
    rows: Any,
    features: Sequence[str] = (),
    *,
    known_at: str | datetime | None = None,
    at: str | None = None,
    name: str = "",
    prediction_time: str | None = None,
    where: str = "",
    label: str = "",
    maturity: str | None = None,
    split: str = "",
    validation: str | float = 0.15,
    test: str | float = 0.15,
    group: Sequence[str] = (),
    folds: int = 5,
    seed: int = 0,
    engine: str = "",
) -> GivenSet:
    """Join features to entity rows as they were known then, and keep the result; `OpenProject` says more.

    Raises:
        InputError, NotFound: something cannot be used, or is not there; says which and what to do.
    """
    project, moment = place.file, moment_of(known_at)
    spark = joining_engine(project, engine)
    commit, notes = state_of(place, at, moment)
    entity_rows = entity_rows_of(place, rows)
    chosen = chosen_features(project, features)
    read = entity_rows.tables | {t for one in chosen for t in tables_of(project, one)}
    with opened_for(project, place.workspace, commit, sorted(read)) as connection:
        if entity_rows.given is not None:
            connection.register(GIVEN, entity_rows.given)
        sql = typed_rows(project, connection, entity_rows.sql, chosen, prediction_time)
        columns = describe(connection, sql, "The entity rows")
        time = time_of(project, columns, prediction_time)
        bound = bound_features(project, connection, sql, time, chosen, name, moment)
        group = tuple(group) or tuple(dict.fromkeys(key for entity in bound.entities for key in entity.keys))
        asked = Asked(
            name=name or (project.model.name if project.model else project.project.name),
            population=entity_rows.told,
            prediction_time=time,
            where=where,
            known_at=moment,
            label=label,
            maturity=parse_duration(maturity, key="maturity") if maturity else None,
            split=split,
            validation=validation if split in ("time", "entity") else 0.0,
            test=test if split in ("time", "entity") else 0.0,
            group=group if split in ("entity", "folds") else (),
            folds=folds if split == "folds" else 0,
            seed=seed if split in ("entity", "folds") else 0,
        )
        spine = _spine(connection, sql, columns, asked, moment if moment is not None else now())
        try:
            with engine_rows(place.workspace, commit, connection, bound, spine, spark) as found:
                made = keep_joined(
                    place.workspace,
                    found.to_arrow_reader(ROW_GROUP),
                    asked,
                    msgspec.to_builtins(bound),
                    commit_id=commit.id,
                )
        except (duckdb.Error, pa.ArrowException) as error:
            message = f"The training set cannot be computed: {str(error).splitlines()[0]}"
            raise InputError(message, hint="Correct the SQL, or the data.") from None
    return GivenSet(place.workspace, made, notes)


def given_sets(place: Place) -> list[GivenSet]:
    """Return the training sets that were asked for, the newest first."""
    return [GivenSet(place.workspace, made) for made in joined_sets(place.workspace)]


def given_set(place: Place, name: str) -> GivenSet:
    """Return a training set that was asked for, by its name or the beginning of its id."""
    return GivenSet(place.workspace, read_joined(place.workspace, name))


def moment_of(known_at: str | datetime | None) -> int | None:
    """Read a moment as µs since 1970 UTC. Raises `InputError`."""
    if known_at is None:
        return None
    try:
        found = known_at if isinstance(known_at, datetime) else datetime.fromisoformat(known_at)
    except ValueError:
        message = f"known_at is {known_at!r}, which is not a time."
        raise InputError(message, hint="Write it as 2013-07-01 or 2013-07-01T14:00:00Z.") from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return round((found - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


def state_of(place: Place, at: str | None, moment: int | None) -> tuple[Commit, list[str]]:
    """The state whose tables are read: the one asked for, else the branch's at the moment, else its present one."""
    history, branch = place.workspace.history, place.branch
    if at is not None or moment is None:
        return history.resolve(at or branch), []
    text = datetime.fromtimestamp(moment / 1e6, UTC).isoformat().replace("+00:00", "Z")
    try:
        return history.resolve(f"{branch}@{text}"), []
    except NotFound:
        note = f"{branch} has no state as old as {text}: its present tables are read, without what they date later"
        return history.resolve(branch), [note]


def entity_rows_of(place: Place, rows: Any) -> _Rows:
    """Read what is given as entity rows: SQL, a table's name, a file, or rows. Raises `InputError`, `NotFound`."""
    if not isinstance(rows, str | Path):
        table = reader(rows).read_all()
        return _Rows(f"SELECT * FROM {GIVEN}", f"{table.num_rows:,} rows that were given", frozenset(), table)
    text = str(rows).strip()
    if Path(text).suffix.lower() in _FILES and " " not in text:
        path = Path(text) if Path(text).is_absolute() else Path.cwd() / text
        if not path.is_file():
            raise InputError(f"There is no file {text}.", hint="Give a file of rows, a table's name, or a SELECT.")
        quoted_path = str(path).replace("'", "''")
        with opened() as connection, told(f"{text} cannot be read"):
            table = connection.sql(f"SELECT * FROM {_FILES[path.suffix.lower()]}('{quoted_path}')").to_arrow_table()
        return _Rows(f"SELECT * FROM {GIVEN}", f"the file {path.name}", frozenset(), table)
    if " " not in text and "\n" not in text:
        known = [path.removeprefix("tables/") for path in place.workspace.history.digests(place.branch, "tables/")]
        if text not in known:
            raise NotFound("table", text, known, hint="Give a table's name, a file of rows, or a SELECT.")
        text = f"SELECT * FROM {'.'.join(quoted(part) for part in text.rsplit('.', 1))}"
    return _Rows(body(text), body(text), read_by_query(text))


def chosen_features(project: ProjectFile, features: Sequence[str]) -> list[str]:
    """Views, features written `view.field` or `view:field`, and services, as views and features."""
    wanted = list(features) or (list(project.training.features) if project.training else list(project.views()))
    chosen: list[str] = []
    for one in wanted:
        service = one.removeprefix("service:").partition("@")[0]
        if one.startswith("service:") or (service in project.service and service not in project.features):
            if service not in project.service:
                raise NotFound("feature service", service, project.service)
            chosen += project.service[service].features
        else:
            chosen.append(one.replace(":", "."))
    if not chosen:
        raise InputError("There are no features to join.", hint="Name some, or write [features.NAME].")
    for one in chosen:
        view = one.partition(".")[0]
        if view not in project.features:
            raise NotFound("feature view", view, [*project.features, *project.service])
    return list(dict.fromkeys(chosen))


def tables_of(project: ProjectFile, feature: str) -> set[str]:
    """The tables that a view reads; of a request view those of the views in its expressions."""
    from bascule.features.expressions import references

    view = feature.partition(".")[0]
    if view in project.views():
        return set(read_by_query(view_sql(project, view)))
    texts = project.request_views()[view].expressions
    read = {one.split(".")[0] for name, text in texts.items() for one in references(text, name) if "." in one}
    return {table for name in read for table in read_by_query(view_sql(project, name))}


def time_of(project: ProjectFile, columns: dict[str, str], asked: str | None) -> str | None:
    """The column that says as of when features are read: the one asked for, the project's, or the only time."""
    if asked is not None:
        return asked
    usual = project.training.prediction_time if project.training else None
    if usual in columns:
        return usual
    times = [name for name, kind in columns.items() if family(feature_type(kind) or "VARCHAR") == "time"]
    return times[0] if len(times) == 1 else None


def bound_features(
    project: ProjectFile,
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    time: str | None,
    chosen: list[str],
    name: str,
    moment: int | None,
) -> FeatureSet:
    """The features that were chosen, bound to the tables; without what became known after a moment."""
    about = entities(project)
    defined: tuple[FeatureView, ...] = views(project)
    if moment is not None:
        needed = {one.partition(".")[0] for one in chosen} - set(project.request_views())
        whole = len(needed) != len({one.partition(".")[0] for one in chosen})
        defined = tuple(
            limited(bind_view(connection, view, entity_of(view, about)), moment)
            if view.name in needed or (whole and set(tables_of(project, view.name)) <= _visible(connection))
            else view
            for view in defined
        )
    return build_feature_set(
        connection,
        name=name or project.project.name,
        entities=about,
        views=defined,
        population=sql,
        prediction_time=time,
        features=chosen,
        request=request_view(project),
    )


def _visible(connection: duckdb.DuckDBPyConnection) -> set[str]:
    rows = connection.execute("SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    return {name if schema == "main" else f"{schema}.{name}" for schema, name in rows}


def _spine(connection: duckdb.DuckDBPyConnection, sql: str, columns: dict[str, str], asked: Asked, horizon: int) -> str:
    """The SQL of the entity rows that are wanted, with `label`, and `split` or `fold`, where these are asked for."""
    _check(columns, asked)
    rows = f"SELECT * FROM (\n{sql}\n)" + (f"\nWHERE ({asked.where})" if asked.where else "")
    time = None
    if asked.prediction_time is not None and asked.prediction_time in columns:
        time = microseconds(quoted(asked.prediction_time), columns[asked.prediction_time])
    added, star = [], "*"
    if asked.label:
        value = f"({asked.label})"
        if asked.maturity is not None:
            value = f"CASE WHEN {time} + {asked.maturity} <= {horizon} THEN {value} END"
        if asked.label == "label" and "label" in columns:
            star = f"* REPLACE ({value} AS label)"
        else:
            added.append(f"{value} AS label")
    describe(connection, f"SELECT {', '.join((star, *added))} FROM (\n{rows}\n)", "The entity rows")
    if asked.split:
        added.append(_split(connection, rows, asked, time))
    return f"SELECT {', '.join((star, *added))} FROM (\n{rows}\n)"


def _check(columns: dict[str, str], asked: Asked) -> None:
    if asked.split and asked.split not in SPLITS:
        hint = suggestion(asked.split, SPLITS, "split")
        raise InputError(f"split is {asked.split!r}: rows are divided by {', '.join(SPLITS)}.", hint=hint)
    needs = [("a split by time", asked.split == "time"), ("a maturity window", asked.maturity is not None)]
    for what, wanted in needs:
        if wanted and asked.prediction_time is None:
            raise InputError(f"{what[0].upper()}{what[1:]} needs a prediction time.", hint="Say which column it is.")
    if asked.maturity is not None and not asked.label:
        raise InputError("A maturity window needs a label.", hint='Say label = "COLUMN".')
    for column in asked.group:
        if column not in columns:
            raise NotFound("column of the entity rows", column, columns)
    if asked.split in ("entity", "folds") and not asked.group:
        raise InputError(f"split = {asked.split!r} needs a group.", hint='Say group = ["COLUMN"].')
    if asked.split == "folds" and not 2 <= asked.folds <= 1000:
        raise InputError(f"folds is {asked.folds}; there are 2 to 1000.", hint="Write folds = 5.")
    taken = [n for n, on in (("label", asked.label), ("split", asked.split in SPLITS[:2]), ("fold", asked.folds)) if on]
    for name in taken:
        if name in columns and not (name == asked.label == "label"):
            raise InputError(f"The entity rows have a column {name!r} already.", hint="Rename it with AS.")


def _split(connection: duckdb.DuckDBPyConnection, rows: str, asked: Asked, time: str | None) -> str:
    if asked.split == "time":
        return _by_time(connection, rows, asked, str(time))
    key = " || ':' || ".join(f"coalesce(length(CAST({c} AS VARCHAR)) || '.' || CAST({c} AS VARCHAR), '')"
                             for c in map(quoted, asked.group))  # fmt: skip
    place = f"md5_number_upper('{asked.seed}:' || {key})"
    if asked.split == "folds":
        return f"CAST({place} % {asked.folds} AS INTEGER) AS fold"
    test, validation = _share(asked.test, "test"), _share(asked.validation, "validation")
    if test + validation >= 1:
        raise InputError("test and validation leave nothing to train on.", hint="0.15 each is usual.")
    uniform = f"(CAST({place} AS DOUBLE) / {2.0**64!r})"
    return (
        f"CASE WHEN {uniform} < {test!r} THEN 'test' "
        f"WHEN {uniform} < {test + validation!r} THEN 'validation' ELSE 'train' END AS split"
    )


def _by_time(connection: duckdb.DuckDBPyConnection, rows: str, asked: Asked, time: str) -> str:
    spans = [size for size in (asked.test, asked.validation) if isinstance(size, str)]
    if len(spans) == 1:
        raise InputError("test and validation are a span and a share.", hint="Write both as 30d or both as 0.15.")
    if spans:
        sizes = [
            parse_duration(str(size), key=key) for size, key in ((asked.test, "test"), (asked.validation, "validation"))
        ]
        begins = f"max({time}) + 1 - {sizes[0]}, max({time}) + 1 - {sum(sizes)}"
    else:
        test, both = _share(asked.test, "test"), _share(asked.test, "test") + _share(asked.validation, "validation")
        if both >= 1:
            raise InputError("test and validation leave nothing to train on.", hint="0.15 each is usual.")
        begins = f"quantile_disc({time}, {1 - test!r}), quantile_disc({time}, {1 - both!r})"
    later, earlier = connection.execute(f"SELECT {begins} FROM (\n{rows}\n)").fetchall()[0]
    if later is None:
        raise InputError("No entity row has a prediction time, so none can be split by it.", hint="Look at the rows.")
    known = f"{time} + {asked.maturity or 0}"
    # A label that became known after the next split begins teaches what nobody could have known then.
    return (
        f"CASE WHEN {time} >= {later} THEN 'test' WHEN {time} >= {earlier} AND {known} < {later} THEN 'validation' "
        f"WHEN {time} < {earlier} AND {known} < {earlier} THEN 'train' END AS split"
    )


def _share(size: str | float, key: str) -> float:
    if isinstance(size, str) or not 0 < size < 1:
        raise InputError(f"{key} is {size!r}; it must be a share between 0 and 1.", hint="Write a share such as 0.15.")
    return float(size)
