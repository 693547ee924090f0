"""Features that are computed from requests: what requests bring for them, noted beside the views that a store holds."""

from __future__ import annotations

import duckdb

from bascule.features import FeatureSet, RequestView, bind_view
from bascule.features.columns import describe
from bascule.features.definitions import entity_of
from bascule.features.expressions import references
from bascule.features.on_demand import request_set
from bascule.features.streams.events import EventType
from bascule.project.definitions import entities, population, read_by_query, request_view, view_tables, views
from bascule.project.file import ProjectFile
from bascule.project.streaming.assembling import streamed_views


def computed_view(project: ProjectFile) -> RequestView | None:
    """Return the project's expressions, unless it has none, or has a model and neither that nor a service asks them."""
    request = request_view(project)
    if request is None or project.training is None or project.model is None:
        return request
    asked = [*project.training.features, *(one for service in project.service.values() for one in service.features)]
    return request if request.name in {one.partition(".")[0] for one in asked} else None


def computed_tables(project: ProjectFile) -> list[str]:
    """Return the tables that say of which types are what the expressions read."""
    if (request := computed_view(project)) is None:
        return []
    found = {table for name in _views_read(project, request) for table in view_tables(project, name)}
    return sorted(found | (read_by_query(population(project)) if project.training is not None else frozenset()))


def computed_set(project: ProjectFile, connection: duckdb.DuckDBPyConnection) -> FeatureSet | None:
    """Return the expressions, bound to types; None where nobody asks them.

    Args:
        connection: sees `computed_tables`.

    Raises:
        InputError: an expression does not fit what it reads.
    """
    if (request := computed_view(project)) is None:
        return None
    known, about = {view.name: view for view in views(project)}, entities(project)
    read = _views_read(project, request)
    bound = [bind_view(connection, known[name], entity_of(known[name], about)) for name in read]
    for name, stream in project.stream.items():
        found = streamed_views(project, name, EventType(name, stream.columns, stream.time))
        bound += [view for view, _ in found]
    columns, time = {}, None
    if project.training is not None:
        columns = describe(connection, population(project), "[training] population")
        time = project.training.prediction_time
    return request_set(project.project.name, request, bound, about, columns, time or "prediction_time")


def _views_read(project: ProjectFile, request: RequestView) -> list[str]:
    """The views that expressions read, but for those that streams keep."""
    known = project.views()
    texts = request.expressions.items()
    read = {one.partition(".")[0] for name, text in texts for one in references(text, name) if "." in one}
    return sorted(name for name in read if name in known and known[name].hop is None)
