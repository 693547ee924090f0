"""From the sections of a project file to the objects of the features room."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import duckdb
import msgspec

from bascule.errors import InputError, ProjectFileError
from bascule.features import Entity, FeatureSet, FeatureView, RequestView, build_feature_set, feature_view
from bascule.features.expressions import references
from bascule.history.commits import canonical
from bascule.lake import sqltext
from bascule.lake.engine import opened
from bascule.project.file import ProjectFile
from bascule.project.step import Context, Terms
from bascule.store import digest_of

#: What is said about a view or a service and changes nothing that it gives.
ABOUT = ("owner", "tags", "description", "freshness")
_VIEW_NAME = re.compile(r"\bfeatures\s*\.\s*(?P<name>[A-Za-z]\w*)", re.IGNORECASE)


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
        for said in ("contract", *ABOUT):  # what is said about it, or asked of its rows, changes nothing in them
            values.pop(said, None)
        values["sql"] = view_sql(project, name)
        found.append(feature_view(name, values))
    return tuple(found)


def about(project: ProjectFile, name: str) -> dict[str, Any]:
    """Return what is said about a view or a service: owner, tags, description and how fresh it should be."""
    section = project.features.get(name) or project.service[name]
    said = {key: getattr(section, key, None) for key in ABOUT}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in said.items() if value}


def definition_terms(context: Context, beside: tuple[str, ...] = ()) -> Terms:
    """Return what a model reads of the definitions, as terms of a cache key: what is said about them is left out.

    Args:
        beside: paths of further definitions.
    """
    terms = {}
    for path in (*definitions_read(context.project), *beside):
        held = context.object(path)
        terms[f"definition:{path}"] = (
            digest_of(canonical({key: value for key, value in held.items() if key not in ABOUT})) if held else ""
        )
    return terms


def view_sql(project: ProjectFile, name: str) -> str:
    """Return the SQL of a view, with the views that it reads as `features.NAME` written into it.

    Raises:
        ProjectFileError: a file cannot be used, or views read each other in a circle.
    """
    parts: dict[str, str] = {}
    text = _gather(project, name, (), parts)
    if not parts:
        return text
    given = ",\n".join(f"{_quoted(f'features.{view}')} AS (\n{sql}\n)" for view, sql in parts.items())
    return f"WITH {given}\nSELECT * FROM (\n{text}\n)"


def _gather(project: ProjectFile, name: str, above: tuple[str, ...], parts: dict[str, str]) -> str:
    """The SQL of a view with others by their quoted names; these are put into `parts`, each after those it reads."""
    if name in above:
        circle = " → ".join((*above[above.index(name) :], name))
        raise project.problem(("features", above[-1], "sql"), f"these views read each other: {circle}.")
    text, views = plain(project.sql("features", name, "sql")), project.views()
    for match in reversed(list(_VIEW_NAME.finditer(text))):
        view = match["name"]
        if view not in views or not _is_name(text, match.start()):
            continue
        if view not in parts:
            sql = _gather(project, view, (*above, name), parts)
            parts[view] = sql
        text = f"{text[: match.start()]}{_quoted(f'features.{view}')}{text[match.end() :]}"
    return text


def _is_name(text: str, place: int) -> bool:
    """Tell whether a name begins at a place, and no comment, string or longer name goes over it."""
    offset = len(text[:place].encode())
    return any(at == offset and kind == duckdb.token_type.identifier for at, kind in duckdb.tokenize(text))


def _quoted(name: str) -> str:
    return f'"{name}"'


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
    return build_feature_set(
        connection,
        name=model.name,
        entities=entities(project),
        views=views(project),
        population=population(project),
        prediction_time=training.prediction_time,
        features=training.features,
        request=request_view(project),
        request_columns=training.request,
    )


def population(project: ProjectFile) -> str:
    """Return the text of the query that gives the examples."""
    return plain(project.sql("training", "population"))


def definitions_read(project: ProjectFile) -> tuple[str, ...]:
    """Return the paths in the history of the feature views that the model reads, and of their entities."""
    known, read = project.views(), _features_read(project)
    about = dict.fromkeys(known[name].entity for name in read if name in known)
    return (*(f"features/{name}" for name in read), *(f"entities/{name}" for name in about))


def _features_read(project: ProjectFile) -> tuple[str, ...]:
    """The views that are chosen, and those that their expressions read."""
    chosen = dict.fromkeys(project.training.features if project.training else ())
    for name, view in project.request_views().items():
        if name in chosen:
            for feature, text in view.expressions.items():
                read = references(text, f"[features.{name}] expressions.{feature}")
                chosen |= dict.fromkeys(column.split(".")[0] for column in read if "." in column)
    return tuple(chosen)


def view_tables(project: ProjectFile, name: str) -> tuple[str, ...]:
    """Return the tables that one view reads, by name.

    Raises:
        ProjectFileError: its query cannot be read, or reads something else than tables.
    """
    return tuple(sorted(_read_by(project, "features", name, "sql")))


def tables_read(project: ProjectFile) -> tuple[str, ...]:
    """Return the tables that the population and the views read, by name.

    Raises:
        ProjectFileError: a query cannot be read, or reads something else than tables.
    """
    chosen, known = _features_read(project), project.views()
    keys: list[tuple[str, ...]] = [("features", name, "sql") for name in chosen if name in known]
    if project.training is not None:
        keys.append(("training", "population"))
    return tuple(sorted({name for key in keys for name in _read_by(project, *key)}))


def readers_of(project: ProjectFile, table: str) -> list[tuple[str, ...]]:
    """Return the keys of the queries that read a table: those of the views, then the population's."""
    keys: list[tuple[str, ...]] = [("features", name, "sql") for name in project.views()]
    if project.training is not None:
        keys.append(("training", "population"))
    return [key for key in keys if table in _read_by(project, *key)]


def read_by_query(sql: str) -> frozenset[str]:
    """Return the tables that a query reads, by name.

    Raises:
        InputError: it cannot be read.
    """
    named, defined = _named(plain(sql))
    return frozenset(name.partition("@")[0] for name in named if name.casefold() not in defined)


def plain(sql: str) -> str:
    """Return a query without what would not do inside parentheses: the closing semicolon."""
    return sql.strip().rstrip(";").rstrip()


def _read_by(project: ProjectFile, *key: str) -> set[str]:
    try:
        named, defined = _named(view_sql(project, key[1]) if key[0] == "features" else plain(project.sql(*key)))
    except ProjectFileError:
        raise
    except InputError as error:
        raise project.problem(key, error.message, error.hint) from None
    # A WITH clause may be called like the table that it reads, which is then an input all the same.
    return {name for name in named if name.casefold() not in defined or name in project.source}


@lru_cache(maxsize=256)
def _named(sql: str) -> tuple[frozenset[str], frozenset[str]]:
    with opened() as connection:
        statement = sqltext.parse(connection, sql)
    return frozenset(table.text for table in statement.tables), statement.defined
