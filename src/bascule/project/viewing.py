"""The features of a branch as people ask for them: who owns them, what they are, how fresh they are served."""

from __future__ import annotations

from typing import Any

import msgspec

from bascule.catalog import now
from bascule.durations import parse_duration
from bascule.errors import NotFound
from bascule.features.online import ViewRecord, current, open_online
from bascule.history import Workspace
from bascule.history.commits import Object
from bascule.project.definitions import ABOUT
from bascule.project.place import Place

VIEWS, SERVICES = "features/", "services/"


class FeatureInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One feature view of a branch.

    Attributes:
        kind: `rows` (the newest row counts), `windows`, `reference` (no time) or `request` (expressions).
        features: what it gives: fields, aggregates by window, or expressions; empty for a view of all columns of its
            query.
        freshness: how old the newest row may be, in microseconds; None when nothing is asked.
        newest: when the newest row that the online store holds became known (µs since 1970 UTC), or None.
        served: when the online store was last brought up to date (µs), or None.
        services: the feature services that it is in.
    """

    name: str
    kind: str
    entity: str
    features: tuple[str, ...]
    owner: str = ""
    tags: tuple[str, ...] = ()
    description: str = ""
    freshness: int | None = None
    newest: int | None = None
    served: int | None = None
    services: tuple[str, ...] = ()
    definition: dict[str, Any] = {}

    @property
    def age(self) -> int | None:
        """How old the newest row is now, in microseconds."""
        return None if self.newest is None else now() - self.newest

    @property
    def fresh(self) -> bool | None:
        """Whether the objective is met; None where none is set. What was never served does not meet it."""
        if self.freshness is None:
            return None
        return self.age is not None and self.age <= self.freshness

    def as_dict(self) -> dict[str, Any]:
        """Everything, JSON-able."""
        return {**msgspec.to_builtins(self), "age": self.age, "fresh": self.fresh}


class ServiceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One feature service: features that are asked for together. `version` grows when they change."""

    name: str
    version: int
    features: tuple[str, ...]
    owner: str = ""
    tags: tuple[str, ...] = ()
    description: str = ""


def list_features(place: Place, tag: str | None = None, owner: str | None = None) -> list[FeatureInfo]:
    """Return the branch's feature views by name; only those of a tag or an owner, when one is given."""
    found = features_at(place.workspace, place.branch)
    return [one for one in found if tag in (None, *one.tags) and owner in (None, one.owner)]


def features_at(workspace: Workspace, ref: str) -> list[FeatureInfo]:
    """Return the feature views of any state; only a branch has an online store, and so says how fresh they are."""
    history = workspace.history
    services = {one.name: one.features for one in services_at(workspace, ref)}
    is_branch = any(ref == one.name for one in history.branches())
    records = _records(workspace, ref) if is_branch else {}
    return [_info(path.removeprefix(VIEWS), view, records, services) for path, view in history.entries(ref, VIEWS)]


def read_feature(place: Place, name: str) -> FeatureInfo:
    """Return one feature view of the branch, with its definition.

    Raises:
        NotFound: there is none of that name.
    """
    found = {one.name: one for one in list_features(place)}
    view = name.split(".")[0].split(":")[0]
    if view not in found:
        raise NotFound("feature view", view, found, hint="" if found else "Run: bascule run")
    return found[view]


def list_services(place: Place) -> list[ServiceInfo]:
    """Return the branch's feature services by name."""
    return services_at(place.workspace, place.branch)


def services_at(workspace: Workspace, ref: str) -> list[ServiceInfo]:
    """Return the feature services of any state by name."""
    return [msgspec.convert(service, ServiceInfo) for _, service in workspace.history.entries(ref, SERVICES)]


def _records(workspace: Workspace, branch: str) -> dict[str, ViewRecord]:
    """What the branch's online store holds of each view: the definition that was brought up to date last."""
    if not workspace.has_online:
        return {}
    with open_online(workspace.online, workspace.namespace(branch)).snapshot() as snapshot:
        return current(snapshot)


def _info(name: str, view: Object, records: dict[str, ViewRecord], services: dict[str, tuple[str, ...]]) -> FeatureInfo:
    record = records.get(name)
    freshness = view.get("freshness")
    return FeatureInfo(
        name=name,
        kind=_kind(view),
        entity=view.get("entity", ""),
        features=outputs(view) or _held(view, record),
        owner=view.get("owner", ""),
        tags=tuple(view.get("tags", ())),
        description=view.get("description", ""),
        freshness=parse_duration(freshness) if freshness else None,
        newest=record.through if record else None,
        served=record.updated_at if record else None,
        services=tuple(s for s, chosen in services.items() if name in {one.split(".")[0] for one in chosen}),
        definition={key: value for key, value in view.items() if key not in ABOUT},
    )


def _held(view: Object, record: ViewRecord | None) -> tuple[str, ...]:
    """What a view without named fields gives: its query's columns, as far as it was materialised as it is."""
    bound = record.bound if record is not None else None
    return bound.outputs if bound is not None and bound.sql == view.get("sql") else ()


def _kind(view: Object) -> str:
    if "expressions" in view:
        return "request"
    return "windows" if view.get("windows") else "rows" if view.get("event_time") else "reference"


def outputs(view: Object) -> tuple[str, ...]:
    """The features of a view's object, as far as it names them."""
    from bascule.features.aggregates import parse_aggregate

    if "expressions" in view:
        return tuple(view["expressions"])
    if not view.get("windows"):
        return tuple(view.get("fields", ()))
    parsed = {name: parse_aggregate(text, name) for name, text in view["aggregates"].items()}
    return tuple(o for name, a in parsed.items() for window in view["windows"] for o in a.outputs(name, window))
