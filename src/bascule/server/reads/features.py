"""Features and streams of a state: views, services and streams, and one view with all that is known of it."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import select

from bascule.catalog.schema import training_sets
from bascule.errors import BasculeError, NotFound
from bascule.features.definitions import SEPARATOR
from bascule.history import Workspace
from bascule.lake.masking import hidden_names
from bascule.monitoring.skew import MONITOR
from bascule.project.sourcing import ViewSource, sources_of
from bascule.project.viewing import FeatureInfo, ServiceInfo, features_at, services_at
from bascule.server.reads.monitoring import Measure, measures

SKEW = "skew"
NEWEST = 40  # training sets that are looked through for one that has a view
MOST_KEPT = 200
_known: dict[tuple[str, str, tuple[str, ...]], tuple[Statistic, ...]] = {}


class Statistic(msgspec.Struct, frozen=True, kw_only=True):
    """What the newest training set that has a feature says of it; least, greatest and mean are of numbers."""

    feature: str
    type: str
    rows: int
    nulls: int
    distinct: int | None = None
    least: float | None = None
    mean: float | None = None
    greatest: float | None = None


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of a view's features over one training set; `hidden` when the reader sees masks, and so none."""

    training_set: str = ""
    features: tuple[Statistic, ...] = ()
    hidden: bool = False


class ViewPage(msgspec.Struct, frozen=True, kw_only=True):
    """One view: what it is, what it is made from and who reads it, how its values lie, and how it was served."""

    view: FeatureInfo
    source: ViewSource
    statistics: Statistics
    skew: list[Measure]


def list_views(ws: Workspace, ref: str) -> list[FeatureInfo]:
    """The feature views of a state."""
    return features_at(ws, ref)


def list_services(ws: Workspace, ref: str) -> list[ServiceInfo]:
    """The feature services of a state."""
    return services_at(ws, ref)


def get_view(ws: Workspace, ref: str, name: str) -> ViewPage:
    """Return one view with all that is known of it.

    Raises:
        NotFound: there is no such view at this state.
    """
    found = {one.name: one for one in features_at(ws, ref)}
    if name not in found:
        raise NotFound("feature view", name, list(found))
    own = f"{name}{SEPARATOR}"
    skew = [one for one in measures(ws, ref, MONITOR, measure=SKEW) if one.subject.startswith(own)]
    return ViewPage(view=found[name], source=sources_of(ws, ref, name), statistics=_statistics(ws, own), skew=skew)


def _statistics(ws: Workspace, own: str) -> Statistics:
    if hidden_names(ws):  # a feature is made of columns, and its least value may be somebody's
        return Statistics(hidden=True)
    sets = training_sets.c
    with ws.catalog.read() as conn:
        query = select(sets.name, sets.blob, sets.columns_json).order_by(sets.created_at.desc()).limit(NEWEST)
        rows = conn.execute(query).all()
    for row in rows:
        features = msgspec.json.decode(row.columns_json).get("features", ())
        wanted = tuple(one for one in features if one.startswith(own))
        if wanted:
            try:
                return Statistics(training_set=row.name, features=_measured(ws, row.blob, wanted))
            except (BasculeError, pa.ArrowException, OSError):  # the file was let go of: an older set may be there
                continue
    return Statistics()


def _measured(ws: Workspace, blob: str, wanted: tuple[str, ...]) -> tuple[Statistic, ...]:
    """Statistics of some columns of a file, which never changes: each is looked at once."""
    key = (str(ws.folder), blob, wanted)
    if key not in _known:
        with ws.store.open(blob) as file:
            table = pq.read_table(file, columns=list(wanted))
        if len(_known) >= MOST_KEPT:
            _known.clear()
        _known[key] = tuple(_statistic(name, table.column(name)) for name in wanted)
    return _known[key]


def _statistic(name: str, column: pa.ChunkedArray) -> Statistic:
    kind = column.type
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    figures: dict[str, float | None] = {}
    if number or pa.types.is_boolean(kind):
        values = column.cast(pa.float64()) if not pa.types.is_boolean(kind) else column.cast(pa.int8())
        ends = pc.min_max(values).as_py()
        mean = pc.mean(values).as_py()
        figures = {"least": ends["min"], "greatest": ends["max"], "mean": mean}
    return Statistic(
        feature=name.partition(SEPARATOR)[2],
        type=str(kind),
        rows=len(column),
        nulls=column.null_count,
        distinct=pc.count_distinct(column).as_py(),
        **{key: None if value is None else float(value) for key, value in figures.items()},
    )
