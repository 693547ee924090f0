"""What a feature view is made from, column by column, and who reads each of its features."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from bascule.errors import NotFound
from bascule.features.expressions import references
from bascule.features.lineage import influence
from bascule.history import Workspace
from bascule.project.impact import feature_specs, tables_of, views_of
from bascule.project.viewing import SERVICES, VIEWS

Origin = tuple[str, str]


class FeatureSource(msgspec.Struct, frozen=True, kw_only=True):
    """One feature.

    Attributes:
        made_from: the columns that it is computed from, as `TABLE.COLUMN`; of an expression `view.feature`, or a column
            of the request.
        read_by: services, expressions and versions of models, as (kind, name).
    """

    feature: str
    made_from: tuple[str, ...]
    read_by: tuple[tuple[str, str], ...]


class ViewSource(msgspec.Struct, frozen=True, kw_only=True):
    """A feature view.

    Attributes:
        understood: whether its SQL was; else nothing is known of its columns.
        chosen_by: columns that choose its rows, name its entities or give its times: all features depend on them.
    """

    view: str
    understood: bool
    chosen_by: tuple[str, ...]
    features: tuple[FeatureSource, ...]


def sources_of(workspace: Workspace, ref: str, name: str) -> ViewSource:
    """Return what a view of a state is made from, and who reads it.

    Raises:
        NotFound: there is no such view.
    """
    history = workspace.history
    entries = dict(history.entries(ref, VIEWS))
    if VIEWS + name not in entries:
        raise NotFound("feature view", name, [path.removeprefix(VIEWS) for path in entries])
    view = entries[VIEWS + name]
    services = [(path.removeprefix(SERVICES), one["features"]) for path, one in history.entries(ref, SERVICES)]
    used = [("service", service, set(wanted)) for service, wanted in services]
    used += [("model", model, set(features)) for model, features in feature_specs(workspace, ref)]
    used += [
        ("expression", f"{path.removeprefix(VIEWS)}.{feature}", set(references(text, feature)))
        for path, one in entries.items()
        for feature, text in one.get("expressions", {}).items()
    ]
    if "expressions" in view:
        made = {feature: references(text, feature) for feature, text in view["expressions"].items()}
        return _told(name, True, (), {feature: tuple(sorted(set(read))) for feature, read in made.items()}, used)
    with tables_of(workspace, ref) as tables:
        [found] = views_of(workspace, ref, {VIEWS + name: view}, tables)
        made_of = influence(str(view["sql"]), tables)
    features = found.features()
    if made_of is None:
        return _told(name, False, (), dict.fromkeys(features, ()), used)
    named = [one.lower() for one in (*found.keys, view.get("event_time"), view.get("known_time")) if one]
    chosen = frozenset(made_of.rows).union(*(made_of.outputs.get(one, frozenset()) for one in named))
    made = {
        feature: _columns(made_of.outputs.get((column or "").lower(), frozenset()))
        for feature, column in features.items()
    }
    return _told(name, True, _columns(chosen), made, used)


def _columns(origins: Iterable[Origin]) -> tuple[str, ...]:
    return tuple(sorted(f"{table}.{column}".replace('"', "") for table, column in origins))


def _told(
    name: str,
    understood: bool,
    chosen: tuple[str, ...],
    made: dict[str, tuple[str, ...]],
    used: list[tuple[str, str, set[str]]],
) -> ViewSource:
    def readers(feature: str) -> tuple[tuple[str, str], ...]:
        either = {name, f"{name}.{feature}"}
        return tuple((kind, who) for kind, who, wanted in used if wanted & either)

    features = tuple(
        FeatureSource(feature=feature, made_from=columns, read_by=readers(feature)) for feature, columns in made.items()
    )
    return ViewSource(view=name, understood=understood, chosen_by=chosen, features=features)
