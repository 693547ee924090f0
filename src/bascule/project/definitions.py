"""From the sections of a project file to the objects of the features room."""

from __future__ import annotations

from functools import lru_cache

import duckdb
import msgspec

from bascule.errors import InputError, ProjectFileError
from bascule.features import Entity, FeatureSet, FeatureView, RequestView, build_feature_set, feature_view
from bascule.lake import sqltext
from bascule.project.file import ProjectFile


def entities(project: ProjectFile) -> tuple[Entity, ...]:
    """Return the project's entities."""
    return tuple(Entity(name, settings.keys) for name, settings in project.entity.items())


def views(project: ProjectFile) -> tuple[FeatureView, ...]:
    """Return the project's views over tables, with the text of their SQL.

    Raises:
        ProjectFileError, InputError: a file or a setting cannot be used.
    """
    found = []
    for name, settings in project.views().items():
        values = {key: value for key, value in msgspec.to_builtins(settings).items() if value not in (None, (), [], {})}
        values["sql"] = plain(project.sql("features", name, "sql"))
        found.append(feature_view(name, values))
    return tuple(found)


def request_view(project: ProjectFile) -> RequestView | None:
    """Return the project's features that are computed from a request, or None.

    Raises:
        ProjectFileError: there is more than one such view.
    """
    found = list(project.request_views().items())
    if len(found) > 1:
        raise project.problem(
            ("features", found[1][0]),
            f"there is a view of expressions already: [features.{found[0][0]}].",
            "Put all expressions into one view.",
        )
    return RequestView(found[0][0], dict(found[0][1].expressions)) if found else None


def feature_set(project: ProjectFile, connection: duckdb.DuckDBPyConnection) -> FeatureSet:
    """Return the features that the project's model reads, bound to the types that the tables give.

    Args:
        connection: sees the tables.

    Raises:
        InputError: a view's SQL cannot be run, or lacks a column that it names.
    """
    training, model = project.training, project.model
    if training is None or model is None:
        raise InputError("The project trains no model.", hint="Write [training] and [model] into bascule.toml.")
    chosen = set(training.features)
    request = request_view(project)
    return build_feature_set(
        connection,
        name=model.name,
        entities=entities(project),
        views=tuple(view for view in views(project) if view.name in chosen),
        request=request if request is not None and request.name in chosen else None,
        population=population(project),
        request_columns=training.request,
        prediction_time=training.prediction_time,
    )


def population(project: ProjectFile) -> str:
    """Return the text of the query that gives the examples."""
    return plain(project.sql("training", "population"))


def tables_read(project: ProjectFile) -> tuple[str, ...]:
    """Return the tables that the population and the chosen views read, by name.

    Raises:
        ProjectFileError: a query cannot be read, or reads something else than tables.
    """
    chosen = set(project.training.features) if project.training else set()
    keys: list[tuple[str, ...]] = [("features", name, "sql") for name in project.views() if name in chosen]
    if project.training is not None:
        keys.append(("training", "population"))
    return tuple(sorted({name for key in keys for name in _read_by(project, *key)}))


def plain(sql: str) -> str:
    """Return a query without what would not do inside parentheses: the closing semicolon."""
    return sql.strip().rstrip(";").rstrip()


def _read_by(project: ProjectFile, *key: str) -> set[str]:
    try:
        named, defined = _named(plain(project.sql(*key)))
    except ProjectFileError:
        raise
    except InputError as error:
        raise project.problem(key, error.message, error.hint) from None
    # A WITH clause may be called like the table that it reads, which is then an input all the same.
    return {name for name in named if name.casefold() not in defined or name in project.source}


@lru_cache(maxsize=256)
def _named(sql: str) -> tuple[frozenset[str], frozenset[str]]:
    with duckdb.connect() as connection:
        statement = sqltext.parse(connection, sql)
    return frozenset(table.text for table in statement.tables), statement.defined
